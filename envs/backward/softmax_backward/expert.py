"""The gradient of a row softmax at the speed of memory.

Rows of up to BLOCK columns are held in registers: both matrices read once, the result written once.
Longer rows are read twice, the second time from the end that is still in L2 towards the beginning.
"""

import torch
import triton
import triton.language as tl

BLOCK = 8192  # columns handled at once
ROWS = 1  # rows handled at once, where they are short
NUM_WARPS = 8


@triton.jit
def short_rows_kernel(
    y_ptr, dy_ptr, dx_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Rows that fit into a block."""
    col = tl.arange(0, BLOCK)[None, :]
    mask = col < cols
    # The last program repeats the last row instead of leaving the matrix, and writes the same
    # values to it again: so no mask depends on the row.
    row = tl.minimum(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows - 1)
    at = (row.to(tl.int64) * cols)[:, None] + col
    y = tl.load(y_ptr + at, mask=mask, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + at, mask=mask, other=0.0).to(tl.float32)
    dx = y * (dy - tl.sum(y * dy, axis=1, keep_dims=True))
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)


@triton.jit
def long_rows_kernel(y_ptr, dy_ptr, dx_ptr, cols, BLOCK: tl.constexpr):
    """One row of several blocks."""
    lane = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * cols
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK):
        mask = start + lane < cols
        y = tl.load(y_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        total += y * tl.load(dy_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
    shift = tl.sum(total, axis=0)
    last = (cols - 1) // BLOCK * BLOCK
    for back in tl.range(0, cols, BLOCK):
        col = last - back + lane
        mask = col < cols
        y = tl.load(y_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        # The result is not read again here: let it leave L2 before the inputs do.
        tl.store(
            dx_ptr + row + col, (y * (dy - shift)).to(dx_ptr.dtype.element_ty), mask=mask,
            eviction_policy="evict_first",
        )  # fmt: skip


def softmax_backward(y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    """Gradient of the softmax y of (rows, cols)."""
    rows, cols = y.shape
    dx = torch.empty_like(y)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        short_rows_kernel[(triton.cdiv(rows, ROWS),)](
            y, dy, dx, rows, cols, ROWS, block, num_warps=NUM_WARPS
        )
    else:
        long_rows_kernel[(rows,)](y, dy, dx, cols, BLOCK, num_warps=NUM_WARPS)
    return dx
