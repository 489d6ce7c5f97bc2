"""Cutoff Coulomb potential near the speed of the arithmetic units.

A program takes PLANES planes of a cell's lattice points, so that there are enough programs for all
multiprocessors, and goes through the atoms of the 27 cells around. The choice of what is within
reach costs a maximum: max(1 - r², 0)² is nothing beyond the cutoff.
"""

import torch
import triton
import triton.language as tl

PLANES = 2  # of the eight of a cell
NUM_WARPS = 2
UNROLL = 4  # atoms whose loads are asked for together


@triton.jit
def cutcp_kernel(atoms_ptr, v_ptr, cells, PLANES: tl.constexpr, UNROLL: tl.constexpr):
    """PLANES planes of the points of one cell."""
    cell = tl.program_id(1)
    cx, cy, cz = cell % cells, cell // cells % cells, cell // cells // cells
    point = tl.arange(0, 64 * PLANES)
    i, j, k = point % 8, point // 8 % 8, tl.program_id(0) * PLANES + point // 64
    x, y, z = i * 0.125, j * 0.125, k * 0.125
    total = tl.zeros((64 * PLANES,), dtype=tl.float32)
    for nz in range(tl.maximum(cz - 1, 0), tl.minimum(cz + 2, cells)):
        for ny in range(tl.maximum(cy - 1, 0), tl.minimum(cy + 2, cells)):
            for nx in range(tl.maximum(cx - 1, 0), tl.minimum(cx + 2, cells)):
                at = atoms_ptr + ((nz * cells + ny) * cells + nx) * 32
                rz, ry, rx = z - (nz - cz), y - (ny - cy), x - (nx - cx)
                for _ in tl.range(0, 8, UNROLL):
                    for _ in tl.static_range(UNROLL):
                        dz, dy, dx = rz - tl.load(at), ry - tl.load(at + 1), rx - tl.load(at + 2)
                        square = dz * dz + dy * dy + dx * dx
                        left = tl.maximum(1.0 - square, 0.0)
                        total += tl.load(at + 3) * tl.rsqrt(square) * left * left
                        at += 4
    out = ((cz * 8 + k) * cells * 8 + cy * 8 + j) * cells * 8 + cx * 8 + i
    tl.store(v_ptr + out, total)


def cutcp(atoms: torch.Tensor) -> torch.Tensor:
    """Potential on the lattice of (C, C, C, 8, 4) atoms."""
    cells = atoms.shape[0]
    v = torch.empty((cells * 8, cells * 8, cells * 8), device=atoms.device, dtype=atoms.dtype)
    grid = (8 // PLANES, cells * cells * cells)
    cutcp_kernel[grid](atoms, v, cells, PLANES, UNROLL, num_warps=NUM_WARPS)
    return v
