"""w = A p and p·w, plainly: a block of a row a program, sums of rows, then their sum."""

import torch
import triton
import triton.language as tl


@triton.jit
def matvec_kernel(p_ptr, kx_ptr, ky_ptr, w_ptr, sums_ptr, ny, nx, BLOCK: tl.constexpr):
    """A block of a row of w, and its share of the scalar product."""
    x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.program_id(1)
    mask = x < nx
    at = y * nx + x
    p = tl.load(p_ptr + at, mask=mask, other=0.0)
    w = p
    inner = mask & (x > 0)
    west = tl.load(p_ptr + at - 1, mask=inner, other=0.0)
    w += tl.load(kx_ptr + at, mask=inner, other=0.0) * (p - west)
    inner = x < nx - 1
    east = tl.load(p_ptr + at + 1, mask=inner, other=0.0)
    w += tl.load(kx_ptr + at + 1, mask=inner, other=0.0) * (p - east)
    inner = mask & (y > 0)
    north = tl.load(p_ptr + at - nx, mask=inner, other=0.0)
    w += tl.load(ky_ptr + at, mask=inner, other=0.0) * (p - north)
    inner = mask & (y < ny - 1)
    south = tl.load(p_ptr + at + nx, mask=inner, other=0.0)
    w += tl.load(ky_ptr + at + nx, mask=inner, other=0.0) * (p - south)
    tl.store(w_ptr + at, w, mask=mask)
    share = tl.sum(tl.where(mask, p * w, 0.0), axis=0)
    tl.store(sums_ptr + y * tl.num_programs(0) + tl.program_id(0), share)


@triton.jit
def sum_kernel(sums_ptr, total_ptr, count, BLOCK: tl.constexpr):
    """The sum of all shares."""
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, count, BLOCK):
        lane = start + tl.arange(0, BLOCK)
        total += tl.load(sums_ptr + lane, mask=lane < count, other=0.0)
    tl.store(total_ptr, tl.sum(total, axis=0))


def tealeaf_matvec(
    p: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """w = A p of (ny, nx), and p·w."""
    ny, nx = p.shape
    w = torch.empty_like(p)
    blocks = triton.cdiv(nx, 256)
    sums = torch.empty((ny * blocks,), device=p.device, dtype=torch.float32)
    total = torch.empty((1,), device=p.device, dtype=torch.float32)
    matvec_kernel[(blocks, ny)](p, kx, ky, w, sums, ny, nx, BLOCK=256)
    sum_kernel[(1,)](sums, total, ny * blocks, BLOCK=1024)
    return w, total
