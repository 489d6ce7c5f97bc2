"""Residual sum and layer norm at the speed of memory.

Rows of up to BLOCK columns are held in registers: read once, written once, with the variance
around the mean. Longer rows are read three times, of which L2 answers two.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096  # columns handled at once
ROWS = 1  # rows handled at once, where they are short
NUM_WARPS = 2


@triton.jit
def short_rows_kernel(
    x_ptr, residual_ptr, weight_ptr, bias_ptr, y_ptr, rows, cols, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows that fit into a block."""
    col = tl.arange(0, BLOCK)[None, :]
    mask = col < cols
    # The last program repeats the last row instead of leaving the matrix, and writes the same
    # values to it again: so no mask depends on the row.
    row = tl.minimum(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows - 1)
    offsets = (row.to(tl.int64) * cols)[:, None] + col
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0, eviction_policy="evict_first")
    residual = tl.load(residual_ptr + offsets, mask=mask, other=0.0, eviction_policy="evict_first")
    # Asked for before the sums are known.
    weight = tl.load(weight_ptr + col, mask=mask, other=0.0, eviction_policy="evict_last")
    bias = tl.load(bias_ptr + col, mask=mask, other=0.0, eviction_policy="evict_last")
    h = x.to(tl.float32) + residual.to(tl.float32)
    distance = tl.where(mask, h - tl.sum(h, axis=1, keep_dims=True) / cols, 0.0)
    scale = tl.rsqrt(tl.sum(distance * distance, axis=1, keep_dims=True) / cols + eps)
    y = distance * scale * weight.to(tl.float32) + bias.to(tl.float32)
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def added(x_ptr, residual_ptr, offsets, mask):
    """A block of x + residual in float32."""
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    return x + tl.load(residual_ptr + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def long_rows_kernel(
    x_ptr, residual_ptr, weight_ptr, bias_ptr, y_ptr, cols, eps, BLOCK: tl.constexpr
):
    """One row of several blocks."""
    lane = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * cols
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK):
        total += added(x_ptr, residual_ptr, row + start + lane, start + lane < cols)
    mean = tl.sum(total, axis=0) / cols
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK):
        mask = start + lane < cols
        distance = added(x_ptr, residual_ptr, row + start + lane, mask) - mean
        squares += tl.where(mask, distance * distance, 0.0)
    scale = tl.rsqrt(tl.sum(squares, axis=0) / cols + eps)
    for start in tl.range(0, cols, BLOCK):
        col = start + lane
        mask = col < cols
        weight = tl.load(weight_ptr + col, mask=mask, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + col, mask=mask, other=0.0).to(tl.float32)
        distance = added(x_ptr, residual_ptr, row + col, mask) - mean
        y = distance * scale * weight + bias
        tl.store(y_ptr + row + col, y.to(y_ptr.dtype.element_ty), mask=mask)


def bert_residual_layer_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Layer norm of x + residual, both (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        short_rows_kernel[(triton.cdiv(rows, ROWS),)](
            x, residual, weight, bias, y, rows, cols, 1e-12, ROWS, block, num_warps=NUM_WARPS
        )
    else:
        long_rows_kernel[(rows,)](
            x, residual, weight, bias, y, cols, 1e-12, BLOCK, num_warps=NUM_WARPS
        )  # fmt: skip
    return y
