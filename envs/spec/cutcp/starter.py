"""Cutoff Coulomb potential, plainly: a cell's points a program, one atom at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def cutcp_kernel(atoms_ptr, v_ptr, cells):
    """The 512 points of one cell."""
    cell = tl.program_id(0)
    cx, cy, cz = cell % cells, cell // cells % cells, cell // cells // cells
    point = tl.arange(0, 512)
    i, j, k = point % 8, point // 8 % 8, point // 64
    x, y, z = i / 8.0, j / 8.0, k / 8.0
    total = tl.zeros((512,), dtype=tl.float32)
    for nz in range(tl.maximum(cz - 1, 0), tl.minimum(cz + 2, cells)):
        for ny in range(tl.maximum(cy - 1, 0), tl.minimum(cy + 2, cells)):
            for nx in range(tl.maximum(cx - 1, 0), tl.minimum(cx + 2, cells)):
                for place in range(8):
                    at = atoms_ptr + (((nz * cells + ny) * cells + nx) * 8 + place) * 4
                    dz = z - (tl.load(at) + (nz - cz))
                    dy = y - (tl.load(at + 1) + (ny - cy))
                    dx = x - (tl.load(at + 2) + (nx - cx))
                    square = dz * dz + dy * dy + dx * dx
                    left = 1.0 - square
                    value = tl.load(at + 3) / tl.sqrt(square) * left * left
                    total += tl.where(square < 1.0, value, 0.0)
    out = ((cz * 8 + k) * cells * 8 + cy * 8 + j) * cells * 8 + cx * 8 + i
    tl.store(v_ptr + out, total)


def cutcp(atoms: torch.Tensor) -> torch.Tensor:
    """Potential on the lattice of (C, C, C, 8, 4) atoms."""
    cells = atoms.shape[0]
    v = torch.empty((cells * 8, cells * 8, cells * 8), device=atoms.device, dtype=atoms.dtype)
    cutcp_kernel[(cells * cells * cells,)](atoms, v, cells)
    return v
