"""A lattice Boltzmann step at the speed of memory: every distribution read once and written once.

A program takes BLOCK points in the order of memory, across lines where these are short, so that no
lane is idle; all nineteen loads are asked for before the first is used. What is written is shifted
by the velocity, whole lines but for their ends.
"""

import torch
import triton
import triton.language as tl

BLOCK = 128  # points handled at once
NUM_WARPS = 4


@triton.jit
def put(at, f, feq, omega, mask):
    """Stores a distribution as it is after its collision."""
    tl.store(at, f - omega * (f - feq), mask=mask)


@triton.jit
def equilibrium(weight, along, square):
    """w ρ (1 + 3 e·u + 9/2 (e·u)² - 3/2 u²) for weight = w ρ and square = 1 - 3/2 u²."""
    return weight * (square + along * (3.0 + 4.5 * along))


@triton.jit
def lbm_kernel(f_ptr, out_ptr, omega, nz, ny, nx, BLOCK: tl.constexpr):
    """BLOCK points in the order of memory."""
    size = tl.cast(nz, tl.int64) * ny * nx
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = point < size
    x, line = point % nx, point // nx
    y, z = line % ny, line // ny
    here = point
    f0 = tl.load(f_ptr + 0 * size + here, mask=mask, other=1.0)
    f1 = tl.load(f_ptr + 1 * size + here, mask=mask, other=1.0)
    f2 = tl.load(f_ptr + 2 * size + here, mask=mask, other=1.0)
    f3 = tl.load(f_ptr + 3 * size + here, mask=mask, other=1.0)
    f4 = tl.load(f_ptr + 4 * size + here, mask=mask, other=1.0)
    f5 = tl.load(f_ptr + 5 * size + here, mask=mask, other=1.0)
    f6 = tl.load(f_ptr + 6 * size + here, mask=mask, other=1.0)
    f7 = tl.load(f_ptr + 7 * size + here, mask=mask, other=1.0)
    f8 = tl.load(f_ptr + 8 * size + here, mask=mask, other=1.0)
    f9 = tl.load(f_ptr + 9 * size + here, mask=mask, other=1.0)
    f10 = tl.load(f_ptr + 10 * size + here, mask=mask, other=1.0)
    f11 = tl.load(f_ptr + 11 * size + here, mask=mask, other=1.0)
    f12 = tl.load(f_ptr + 12 * size + here, mask=mask, other=1.0)
    f13 = tl.load(f_ptr + 13 * size + here, mask=mask, other=1.0)
    f14 = tl.load(f_ptr + 14 * size + here, mask=mask, other=1.0)
    f15 = tl.load(f_ptr + 15 * size + here, mask=mask, other=1.0)
    f16 = tl.load(f_ptr + 16 * size + here, mask=mask, other=1.0)
    f17 = tl.load(f_ptr + 17 * size + here, mask=mask, other=1.0)
    f18 = tl.load(f_ptr + 18 * size + here, mask=mask, other=1.0)
    rho = f0 + f1 + f2 + f3 + f4 + f5 + f6 + f7 + f8 + f9
    rho += f10 + f11 + f12 + f13 + f14 + f15 + f16 + f17 + f18
    inverse = 1.0 / rho
    uz = (f5 + f11 + f12 + f15 + f16 - f6 - f13 - f14 - f17 - f18) * inverse
    uy = (f3 + f7 + f8 + f15 + f17 - f4 - f9 - f10 - f16 - f18) * inverse
    ux = (f1 + f7 + f9 + f11 + f13 - f2 - f8 - f10 - f12 - f14) * inverse
    square = 1.0 - 1.5 * (uz * uz + uy * uy + ux * ux)
    rest, axis, edge = rho / 3.0, rho / 18.0, rho / 36.0
    z_up, z_down = tl.where(z < nz - 1, z + 1, 0), tl.where(z > 0, z - 1, nz - 1)
    y_up, y_down = tl.where(y < ny - 1, y + 1, 0), tl.where(y > 0, y - 1, ny - 1)
    x_up, x_down = tl.where(x < nx - 1, x + 1, 0), tl.where(x > 0, x - 1, nx - 1)
    at = out_ptr + 0 * size + (z * ny + y) * nx + x
    put(at, f0, rest * square, omega, mask)
    at = out_ptr + 1 * size + (z * ny + y) * nx + x_up
    put(at, f1, equilibrium(axis, ux, square), omega, mask)
    at = out_ptr + 2 * size + (z * ny + y) * nx + x_down
    put(at, f2, equilibrium(axis, -ux, square), omega, mask)
    at = out_ptr + 3 * size + (z * ny + y_up) * nx + x
    put(at, f3, equilibrium(axis, uy, square), omega, mask)
    at = out_ptr + 4 * size + (z * ny + y_down) * nx + x
    put(at, f4, equilibrium(axis, -uy, square), omega, mask)
    at = out_ptr + 5 * size + (z_up * ny + y) * nx + x
    put(at, f5, equilibrium(axis, uz, square), omega, mask)
    at = out_ptr + 6 * size + (z_down * ny + y) * nx + x
    put(at, f6, equilibrium(axis, -uz, square), omega, mask)
    at = out_ptr + 7 * size + (z * ny + y_up) * nx + x_up
    put(at, f7, equilibrium(edge, uy + ux, square), omega, mask)
    at = out_ptr + 8 * size + (z * ny + y_up) * nx + x_down
    put(at, f8, equilibrium(edge, uy - ux, square), omega, mask)
    at = out_ptr + 9 * size + (z * ny + y_down) * nx + x_up
    put(at, f9, equilibrium(edge, -uy + ux, square), omega, mask)
    at = out_ptr + 10 * size + (z * ny + y_down) * nx + x_down
    put(at, f10, equilibrium(edge, -uy - ux, square), omega, mask)
    at = out_ptr + 11 * size + (z_up * ny + y) * nx + x_up
    put(at, f11, equilibrium(edge, uz + ux, square), omega, mask)
    at = out_ptr + 12 * size + (z_up * ny + y) * nx + x_down
    put(at, f12, equilibrium(edge, uz - ux, square), omega, mask)
    at = out_ptr + 13 * size + (z_down * ny + y) * nx + x_up
    put(at, f13, equilibrium(edge, -uz + ux, square), omega, mask)
    at = out_ptr + 14 * size + (z_down * ny + y) * nx + x_down
    put(at, f14, equilibrium(edge, -uz - ux, square), omega, mask)
    at = out_ptr + 15 * size + (z_up * ny + y_up) * nx + x
    put(at, f15, equilibrium(edge, uz + uy, square), omega, mask)
    at = out_ptr + 16 * size + (z_up * ny + y_down) * nx + x
    put(at, f16, equilibrium(edge, uz - uy, square), omega, mask)
    at = out_ptr + 17 * size + (z_down * ny + y_up) * nx + x
    put(at, f17, equilibrium(edge, -uz + uy, square), omega, mask)
    at = out_ptr + 18 * size + (z_down * ny + y_down) * nx + x
    put(at, f18, equilibrium(edge, -uz - uy, square), omega, mask)


def lbm_d3q19(f: torch.Tensor, omega: float) -> torch.Tensor:
    """A step on (19, nz, ny, nx)."""
    _, nz, ny, nx = f.shape
    out = torch.empty_like(f)
    grid = (triton.cdiv(nz * ny * nx, BLOCK),)
    lbm_kernel[grid](f, out, omega, nz, ny, nx, BLOCK, num_warps=NUM_WARPS)
    return out
