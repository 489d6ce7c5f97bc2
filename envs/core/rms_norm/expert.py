"""RMS normalisation at the speed of memory.

Rows of up to BLOCK columns are held in registers: read once, written once. Longer rows are read
twice, the second time from the end that is still in L2 towards the beginning.
"""

import torch
import triton
import triton.language as tl

BLOCK = 8192  # columns handled at once
ROWS = 1  # rows handled at once, where they are short
NUM_WARPS = 8


@triton.jit
def short_rows_kernel(
    x_ptr, weight_ptr, y_ptr, rows, cols, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Rows that fit into a block."""
    col = tl.arange(0, BLOCK)[None, :]
    mask = col < cols
    # The last program repeats the last row instead of leaving the matrix, and writes the same
    # values to it again: so no mask depends on the row.
    row = tl.minimum(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows - 1)
    offsets = (row.to(tl.int64) * cols)[:, None] + col
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0, eviction_policy="evict_first")
    # Asked for before the sum is known.
    weight = tl.load(weight_ptr + col, mask=mask, other=0.0, eviction_policy="evict_last")
    x = x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=1, keep_dims=True) / cols + eps)
    y = x * scale * weight.to(tl.float32)
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def long_rows_kernel(x_ptr, weight_ptr, y_ptr, cols, eps, BLOCK: tl.constexpr):
    """One row of several blocks."""
    lane = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * cols
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK):
        x = tl.load(x_ptr + row + start + lane, mask=start + lane < cols, other=0.0)
        squares += x.to(tl.float32) * x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(squares, axis=0) / cols + eps)
    last = (cols - 1) // BLOCK * BLOCK
    for back in tl.range(0, cols, BLOCK):
        col = last - back + lane
        mask = col < cols
        x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + col, mask=mask, other=0.0).to(tl.float32)
        # The result is not read again here: let it leave L2 before the input does.
        tl.store(
            y_ptr + row + col, (x * scale * weight).to(y_ptr.dtype.element_ty), mask=mask,
            eviction_policy="evict_first",
        )  # fmt: skip


def rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Normalise every row of (rows, cols); weight is (cols,)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        short_rows_kernel[(triton.cdiv(rows, ROWS),)](
            x, weight, y, rows, cols, 1e-6, ROWS, block, num_warps=NUM_WARPS
        )
    else:
        long_rows_kernel[(rows,)](x, weight, y, cols, 1e-6, BLOCK, num_warps=NUM_WARPS)
    return y
