"""The gradients of layer normalisation at the speed of memory.

Each program keeps the weights and its share of the sums over rows in registers, and goes through
its rows: both matrices are read once and dx is written once. A second launch adds the shares up.
"""

import torch
import triton
import triton.language as tl

STAGES = 2  # rows on their way
NUM_WARPS = 8
PROGRAMS = 264  # each takes every PROGRAMS-th row


@triton.jit
def rows_kernel(
    x_ptr, weight_ptr, mean_ptr, rstd_ptr, dy_ptr, dx_ptr, dbias_ptr, dweight_ptr, rows, cols,
    BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """dx of every num_programs-th row, and this program's share of the sums over rows."""
    lane = tl.arange(0, BLOCK)
    mask = lane < cols
    weight = tl.load(weight_ptr + lane, mask=mask, other=0.0).to(tl.float32)
    dweight = tl.zeros((BLOCK,), dtype=tl.float32)
    dbias = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in tl.range(tl.program_id(0), rows, tl.num_programs(0), num_stages=STAGES):
        at = tl.cast(row, tl.int64) * cols + lane
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + at, mask=mask, other=0.0).to(tl.float32)
        rstd = tl.load(rstd_ptr + row)
        normal = tl.where(mask, (x - tl.load(mean_ptr + row)) * rstd, 0.0)
        dweight += dy * normal
        dbias += dy
        g = dy * weight
        along = tl.sum(g * normal, axis=0) / cols
        dx = rstd * (g - tl.sum(g, axis=0) / cols - normal * along)
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    share = tl.program_id(0) * cols + lane
    tl.store(dweight_ptr + share, dweight, mask=mask)
    tl.store(dbias_ptr + share, dbias, mask=mask)


@triton.jit
def sums_kernel(shares_ptr, out_ptr, count, cols, DEPTH: tl.constexpr, BLOCK: tl.constexpr):
    """The sum of all shares, for a block of columns."""
    col = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[None, :]
    depth = tl.arange(0, DEPTH)[:, None]
    total = tl.zeros((DEPTH, BLOCK), dtype=tl.float32)
    for start in range(0, count, DEPTH):
        mask = (start + depth < count) & (col < cols)
        total += tl.load(shares_ptr + (start + depth) * cols + col, mask=mask, other=0.0)
    sums = tl.sum(total, axis=0)[None, :]
    tl.store(out_ptr + col, sums.to(out_ptr.dtype.element_ty), mask=col < cols)


def layer_norm_backward(
    x: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor, dy: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """dx, dweight and dbias of (rows, cols)."""
    rows, cols = x.shape
    programs = min(PROGRAMS, rows)
    dx = torch.empty_like(x)
    shares = torch.empty((2, programs, cols), device=x.device, dtype=torch.float32)
    dweight = torch.empty_like(weight)
    dbias = torch.empty_like(weight)
    rows_kernel[(programs,)](
        x, weight, mean, rstd, dy, dx, shares[1], shares[0], rows, cols,
        triton.next_power_of_2(cols), STAGES, num_warps=NUM_WARPS,
    )  # fmt: skip
    grid = (triton.cdiv(cols, 64),)
    sums_kernel[grid](shares[0], dweight, programs, cols, 32, 64)
    sums_kernel[grid](shares[1], dbias, programs, cols, 32, 64)
    return dx, dweight, dbias
