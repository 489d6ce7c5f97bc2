"""Row log-softmax at the speed of memory.

Rows of up to BLOCK columns are held in registers: read once, written once. Longer rows are read
twice: once for the maximum and the sum together (the online softmax of Milakov and Gimelshein,
arXiv 1805.02867), then, from the end that is still in L2 towards the beginning, for the result.
"""

import torch
import triton
import triton.language as tl

BLOCK = 8192  # columns handled at once
ROWS = 1  # rows handled at once, where they are short
NUM_WARPS = 8
STAGES = 1  # blocks of a long row on their way through shared memory


@triton.jit
def row_offsets(rows, cols, ROWS: tl.constexpr):
    """Offsets of this program's rows, (ROWS, 1).

    The last program repeats the last row instead of leaving the matrix, and writes the same values
    to it again: so no mask depends on the row.
    """
    row = tl.minimum(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows - 1)
    return (row.to(tl.int64) * cols)[:, None]


@triton.jit
def short_rows_kernel(x_ptr, y_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Rows that fit into a block."""
    col = tl.arange(0, BLOCK)[None, :]
    mask = col < cols
    offsets = row_offsets(rows, cols, ROWS) + col
    x = tl.load(x_ptr + offsets, mask=mask, other=-float("inf")).to(tl.float32)
    x -= tl.max(x, axis=1, keep_dims=True)
    y = x - tl.log(tl.sum(tl.exp(x), axis=1, keep_dims=True))
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def long_rows_kernel(
    x_ptr, y_ptr, rows, cols, BLOCK: tl.constexpr, STAGES: tl.constexpr
):  # fmt: skip
    """One row of several blocks."""
    lane = tl.arange(0, BLOCK)
    row = tl.program_id(0).to(tl.int64) * cols
    # Finite, so that a first block of nothing but -inf gives 0 and not NaN.
    largest = -3.0e38
    # The sum is kept per lane: only the maximum is reduced in every step.
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK, num_stages=STAGES):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=-float("inf")).to(tl.float32)
        larger = tl.maximum(largest, tl.max(x, axis=0))
        total = total * tl.exp(largest - larger) + tl.exp(x - larger)
        largest = larger
    shift = largest + tl.log(tl.sum(total, axis=0))
    last = (cols - 1) // BLOCK * BLOCK
    for back in tl.range(0, cols, BLOCK, num_stages=STAGES):
        start = last - back
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        # The result is not read again here: let it leave L2 before the input does.
        tl.store(
            y_ptr + row + start + lane, (x - shift).to(y_ptr.dtype.element_ty), mask=mask,
            eviction_policy="evict_first",
        )  # fmt: skip


def log_softmax(x: torch.Tensor) -> torch.Tensor:
    """Log-softmax of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        grid = (triton.cdiv(rows, ROWS),)
        short_rows_kernel[grid](x, y, rows, cols, ROWS, block, num_warps=NUM_WARPS)
    else:
        long_rows_kernel[(rows,)](x, y, rows, cols, BLOCK, STAGES, num_warps=NUM_WARPS)
    return y
