"""Residual sum and RMS norm at the speed of memory.

Rows of up to BLOCK columns are held in registers: two matrices read once, two written once.
Longer rows read their sum again, from the end that is still in L2 towards the beginning.
"""

import torch
import triton
import triton.language as tl

BLOCK = 8192  # columns handled at once
ROWS = 1  # rows handled at once, where they are short
NUM_WARPS = 8


@triton.jit
def short_rows_kernel(
    x_ptr, residual_ptr, weight_ptr, y_ptr, h_ptr, rows, cols, eps,
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
    # Asked for before the sum is known.
    weight = tl.load(weight_ptr + col, mask=mask, other=0.0, eviction_policy="evict_last")
    h = (x.to(tl.float32) + residual.to(tl.float32)).to(h_ptr.dtype.element_ty)
    tl.store(h_ptr + offsets, h, mask=mask)
    h = h.to(tl.float32)
    scale = tl.rsqrt(tl.sum(h * h, axis=1, keep_dims=True) / cols + eps)
    y = h * scale * weight.to(tl.float32)
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def long_rows_kernel(x_ptr, residual_ptr, weight_ptr, y_ptr, h_ptr, cols, eps, BLOCK: tl.constexpr):
    """One row of several blocks."""
    lane = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * cols
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        x += tl.load(residual_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        h = x.to(h_ptr.dtype.element_ty)
        tl.store(h_ptr + row + start + lane, h, mask=mask)
        squares += h.to(tl.float32) * h.to(tl.float32)
    scale = tl.rsqrt(tl.sum(squares, axis=0) / cols + eps)
    last = (cols - 1) // BLOCK * BLOCK
    for back in tl.range(0, cols, BLOCK):
        col = last - back + lane
        mask = col < cols
        # Added again and not read from h: another thread may have stored it.
        x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        x += tl.load(residual_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + col, mask=mask, other=0.0).to(tl.float32)
        h = x.to(h_ptr.dtype.element_ty).to(tl.float32)
        # The result is not read again here: let it leave L2 before the input does.
        tl.store(
            y_ptr + row + col, (h * scale * weight).to(y_ptr.dtype.element_ty), mask=mask,
            eviction_policy="evict_first",
        )  # fmt: skip


def llama_residual_rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """RMS norm of x + residual, and the sum itself, of (rows, cols) matrices."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    h = torch.empty_like(x)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        short_rows_kernel[(triton.cdiv(rows, ROWS),)](
            x, residual, weight, y, h, rows, cols, 1e-5, ROWS, block, num_warps=NUM_WARPS
        )
    else:
        long_rows_kernel[(rows,)](
            x, residual, weight, y, h, cols, 1e-5, BLOCK, num_warps=NUM_WARPS
        )  # fmt: skip
    return y, h
