"""The smoother, plainly: one program a block of a line."""

import torch
import triton
import triton.language as tl


@triton.jit
def smooth_kernel(
    x_ptr, rhs_ptr, bz_ptr, by_ptr, bx_ptr, inverse_ptr, out_ptr, nz, ny, nx, BLOCK: tl.constexpr
):
    """A block of a line."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    j, k = tl.program_id(1), tl.program_id(2)
    mask = i < nx
    at = (k * ny + j) * nx + i
    west, east = (k * ny + j) * nx + (i + nx - 1) % nx, (k * ny + j) * nx + (i + 1) % nx
    north, south = (k * ny + (j + ny - 1) % ny) * nx + i, (k * ny + (j + 1) % ny) * nx + i
    below, above = ((k + nz - 1) % nz * ny + j) * nx + i, ((k + 1) % nz * ny + j) * nx + i
    x = tl.load(x_ptr + at, mask=mask, other=0.0)
    flow = tl.load(rhs_ptr + at, mask=mask, other=0.0)
    beta = tl.load(bz_ptr + at, mask=mask, other=0.0)
    flow += beta * (tl.load(x_ptr + below, mask=mask, other=0.0) - x)
    beta = tl.load(bz_ptr + above, mask=mask, other=0.0)
    flow += beta * (tl.load(x_ptr + above, mask=mask, other=0.0) - x)
    beta = tl.load(by_ptr + at, mask=mask, other=0.0)
    flow += beta * (tl.load(x_ptr + north, mask=mask, other=0.0) - x)
    beta = tl.load(by_ptr + south, mask=mask, other=0.0)
    flow += beta * (tl.load(x_ptr + south, mask=mask, other=0.0) - x)
    beta = tl.load(bx_ptr + at, mask=mask, other=0.0)
    flow += beta * (tl.load(x_ptr + west, mask=mask, other=0.0) - x)
    beta = tl.load(bx_ptr + east, mask=mask, other=0.0)
    flow += beta * (tl.load(x_ptr + east, mask=mask, other=0.0) - x)
    inverse = tl.load(inverse_ptr + at, mask=mask, other=0.0)
    tl.store(out_ptr + at, x + 2.0 / 3.0 * inverse * flow, mask=mask)


def hpgmg_smooth(
    x: torch.Tensor, rhs: torch.Tensor, beta_z: torch.Tensor, beta_y: torch.Tensor,
    beta_x: torch.Tensor, inverse: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """A Jacobi step on (nz, ny, nx)."""
    nz, ny, nx = x.shape
    out = torch.empty_like(x)
    smooth_kernel[(triton.cdiv(nx, 128), ny, nz)](
        x, rhs, beta_z, beta_y, beta_x, inverse, out, nz, ny, nx, BLOCK=128
    )
    return out
