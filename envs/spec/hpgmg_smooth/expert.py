"""The smoother at the speed of memory.

A program goes along z through PLANES planes of a tile. The planes of x around it and the face
between them stay in registers, so that a plane costs one read of every array; neighbours in the
plane come from the L1 cache.
"""

import torch
import triton
import triton.language as tl

BLOCK_Y = 4
BLOCK_X = 128
PLANES = 16  # that a program goes through
NUM_WARPS = 4


@triton.jit
def smooth_kernel(
    x_ptr, rhs_ptr, bz_ptr, by_ptr, bx_ptr, inverse_ptr, out_ptr, nz, ny, nx,
    BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr, PLANES: tl.constexpr,
):  # fmt: skip
    """PLANES planes of a tile."""
    i = (tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X))[None, :]
    j = (tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y))[:, None]
    mask = (j < ny) & (i < nx)
    here = j * nx + i
    west, east = j * nx + tl.where(i > 0, i - 1, nx - 1), j * nx + tl.where(i < nx - 1, i + 1, 0)
    north = tl.where(j > 0, j - 1, ny - 1) * nx + i
    south = tl.where(j < ny - 1, j + 1, 0) * nx + i
    plane = tl.cast(ny, tl.int64) * nx
    first = tl.program_id(2) * PLANES
    last = min(first + PLANES, nz)
    before = tl.where(first > 0, first - 1, nz - 1) * plane
    below = tl.load(x_ptr + before + here, mask=mask, other=0.0)
    x = tl.load(x_ptr + first * plane + here, mask=mask, other=0.0)
    bz_below = tl.load(bz_ptr + first * plane + here, mask=mask, other=0.0)
    for k in tl.range(first, last):
        at = k * plane
        after = tl.where(k < nz - 1, k + 1, 0) * plane
        above = tl.load(x_ptr + after + here, mask=mask, other=0.0)
        bz_above = tl.load(bz_ptr + after + here, mask=mask, other=0.0)
        rhs = tl.load(rhs_ptr + at + here, mask=mask, other=0.0, eviction_policy="evict_first")
        inverse = tl.load(
            inverse_ptr + at + here, mask=mask, other=0.0, eviction_policy="evict_first"
        )
        flow = rhs + bz_below * (below - x) + bz_above * (above - x)
        beta = tl.load(by_ptr + at + here, mask=mask, other=0.0)
        flow += beta * (tl.load(x_ptr + at + north, mask=mask, other=0.0) - x)
        beta = tl.load(by_ptr + at + south, mask=mask, other=0.0)
        flow += beta * (tl.load(x_ptr + at + south, mask=mask, other=0.0) - x)
        beta = tl.load(bx_ptr + at + here, mask=mask, other=0.0)
        flow += beta * (tl.load(x_ptr + at + west, mask=mask, other=0.0) - x)
        beta = tl.load(bx_ptr + at + east, mask=mask, other=0.0)
        flow += beta * (tl.load(x_ptr + at + east, mask=mask, other=0.0) - x)
        out = x + 2.0 / 3.0 * inverse * flow
        tl.store(out_ptr + at + here, out, mask=mask, eviction_policy="evict_first")
        below = x
        x = above
        bz_below = bz_above


def hpgmg_smooth(
    x: torch.Tensor, rhs: torch.Tensor, beta_z: torch.Tensor, beta_y: torch.Tensor,
    beta_x: torch.Tensor, inverse: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """A Jacobi step on (nz, ny, nx)."""
    nz, ny, nx = x.shape
    out = torch.empty_like(x)
    grid = (triton.cdiv(nx, BLOCK_X), triton.cdiv(ny, BLOCK_Y), triton.cdiv(nz, PLANES))
    smooth_kernel[grid](
        x, rhs, beta_z, beta_y, beta_x, inverse, out, nz, ny, nx, BLOCK_Y, BLOCK_X, PLANES,
        num_warps=NUM_WARPS,
    )  # fmt: skip
    return out
