"""Potentials, plainly: a program takes a box, and one particle of its neighbours at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def lavamd_kernel(
    position_ptr, charge_ptr, v_ptr, alpha, side, particles, BLOCK: tl.constexpr
):  # fmt: skip
    """A block of the particles of one box."""
    box = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = i < particles
    at = box * particles + i
    x = tl.load(position_ptr + at * 3, mask=mask, other=0.0)
    y = tl.load(position_ptr + at * 3 + 1, mask=mask, other=0.0)
    z = tl.load(position_ptr + at * 3 + 2, mask=mask, other=0.0)
    bx, by, bz = box % side, box // side % side, box // side // side
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for nz in range(tl.maximum(bz - 1, 0), tl.minimum(bz + 2, side)):
        for ny in range(tl.maximum(by - 1, 0), tl.minimum(by + 2, side)):
            for nx in range(tl.maximum(bx - 1, 0), tl.minimum(bx + 2, side)):
                first = ((nz * side + ny) * side + nx) * particles
                for j in range(particles):
                    dx = x - tl.load(position_ptr + (first + j) * 3)
                    dy = y - tl.load(position_ptr + (first + j) * 3 + 1)
                    dz = z - tl.load(position_ptr + (first + j) * 3 + 2)
                    square = dx * dx + dy * dy + dz * dz
                    total += tl.load(charge_ptr + first + j) * tl.exp(-alpha * square)
    tl.store(v_ptr + at, total, mask=mask)


def lavamd(position: torch.Tensor, charge: torch.Tensor, alpha: float) -> torch.Tensor:
    """Potentials of (side, side, side, particles)."""
    side, particles = charge.shape[0], charge.shape[3]
    v = torch.empty_like(charge)
    lavamd_kernel[(side * side * side, triton.cdiv(particles, 64))](
        position, charge, v, alpha, side, particles, BLOCK=64
    )
    return v
