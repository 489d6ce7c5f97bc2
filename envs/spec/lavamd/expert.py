"""Potentials near the speed of the special function units, which take the exponentials.

Three neighbours along x lie side by side in memory, so a program goes through nine runs of up to
three boxes, BLOCK_J particles at a time. The change of base is in the factor: exp(-α s) =
2^(-α log2(e) s). Sums stay apart until the end.
"""

import torch
import triton
import triton.language as tl

BLOCK_I = 32  # particles of the box handled at once
BLOCK_J = 32  # particles around it handled at once
NUM_WARPS = 4


@triton.jit
def lavamd_kernel(
    position_ptr, charge_ptr, v_ptr, factor, side, particles,
    BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr,
):  # fmt: skip
    """A block of the particles of one box."""
    box = tl.program_id(1)
    i = tl.program_id(0) * BLOCK_I + tl.arange(0, BLOCK_I)
    inside = i < particles
    at = box * particles + i
    x = tl.load(position_ptr + at * 3, mask=inside, other=0.0)[:, None]
    y = tl.load(position_ptr + at * 3 + 1, mask=inside, other=0.0)[:, None]
    z = tl.load(position_ptr + at * 3 + 2, mask=inside, other=0.0)[:, None]
    bx, by, bz = box % side, box // side % side, box // side // side
    left, right = tl.maximum(bx - 1, 0), tl.minimum(bx + 2, side)
    lane = tl.arange(0, BLOCK_J)
    total = tl.zeros((BLOCK_I, BLOCK_J), dtype=tl.float32)
    for nz in range(tl.maximum(bz - 1, 0), tl.minimum(bz + 2, side)):
        for ny in range(tl.maximum(by - 1, 0), tl.minimum(by + 2, side)):
            line = (nz * side + ny) * side
            last = (line + right) * particles
            for start in range((line + left) * particles, last, BLOCK_J):
                j = start + lane
                mask = j < last
                ox = tl.load(position_ptr + j * 3, mask=mask, other=0.0)[None, :]
                oy = tl.load(position_ptr + j * 3 + 1, mask=mask, other=0.0)[None, :]
                oz = tl.load(position_ptr + j * 3 + 2, mask=mask, other=0.0)[None, :]
                q = tl.load(charge_ptr + j, mask=mask, other=0.0)[None, :]
                dx, dy, dz = x - ox, y - oy, z - oz
                total += q * tl.exp2(factor * (dx * dx + dy * dy + dz * dz))
    tl.store(v_ptr + at, tl.sum(total, axis=1), mask=inside)


def lavamd(position: torch.Tensor, charge: torch.Tensor, alpha: float) -> torch.Tensor:
    """Potentials of (side, side, side, particles)."""
    side, particles = charge.shape[0], charge.shape[3]
    v = torch.empty_like(charge)
    lavamd_kernel[(triton.cdiv(particles, BLOCK_I), side * side * side)](
        position, charge, v, -alpha * 1.4426950408889634, side, particles, BLOCK_I, BLOCK_J,
        num_warps=NUM_WARPS,
    )  # fmt: skip
    return v
