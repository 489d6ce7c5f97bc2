"""A seven-point stencil, plainly: one program a block of a line, all neighbours loaded."""

import torch
import triton
import triton.language as tl


@triton.jit
def stencil7_kernel(u_ptr, out_ptr, c0, c1, nz, ny, nx, BLOCK: tl.constexpr):
    """A block of a line."""
    x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y, z = tl.program_id(1), tl.program_id(2)
    at = (z.to(tl.int64) * ny + y) * nx + x
    mask = x < nx
    inside = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1) & (z > 0) & (z < nz - 1)
    centre = tl.load(u_ptr + at, mask=mask)
    around = tl.load(u_ptr + at - 1, mask=inside, other=0.0)
    around += tl.load(u_ptr + at + 1, mask=inside, other=0.0)
    around += tl.load(u_ptr + at - nx, mask=inside, other=0.0)
    around += tl.load(u_ptr + at + nx, mask=inside, other=0.0)
    around += tl.load(u_ptr + at - ny * nx, mask=inside, other=0.0)
    around += tl.load(u_ptr + at + ny * nx, mask=inside, other=0.0)
    tl.store(out_ptr + at, tl.where(inside, c1 * around - c0 * centre, centre), mask=mask)


def stencil7(u: torch.Tensor, c0: float, c1: float) -> torch.Tensor:
    """A step of the stencil on (nz, ny, nx)."""
    nz, ny, nx = u.shape
    out = torch.empty_like(u)
    stencil7_kernel[(triton.cdiv(nx, 128), ny, nz)](u, out, c0, c1, nz, ny, nx, BLOCK=128)
    return out
