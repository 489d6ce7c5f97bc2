"""Row softmax at the speed of memory.

Rows of up to BLOCK columns are held in registers: read once, written once. Longer rows are read
twice: once for the maximum and the sum together (the online softmax of Milakov and Gimelshein,
arXiv 1805.02867), then, from the end that is still in L2 towards the beginning, for the result.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096  # columns handled at once
ROWS = 1  # rows handled at once
NUM_WARPS = 8
PROGRAMS = 0  # each takes every PROGRAMS-th group of rows; 0: one program a group
STAGES = 1  # blocks on their way through shared memory, in whichever loop has several


@triton.jit
def row_offsets(group, rows, cols, ROWS: tl.constexpr):
    """Offsets of a group's rows, (ROWS, 1).

    The last group repeats the last row instead of leaving the matrix, and writes the same values
    to it again: so no mask depends on the row.
    """
    row = tl.minimum(group * ROWS + tl.arange(0, ROWS), rows - 1)
    return (row.to(tl.int64) * cols)[:, None]


@triton.jit
def short_rows_kernel(
    x_ptr, y_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr
):
    """Rows that fit into a block."""
    col = tl.arange(0, BLOCK)[None, :]
    mask = col < cols
    groups = tl.cdiv(rows, ROWS)
    for group in tl.range(tl.program_id(0), groups, tl.num_programs(0), num_stages=STAGES):
        offsets = row_offsets(group, rows, cols, ROWS) + col
        x = tl.load(x_ptr + offsets, mask=mask, other=-float("inf")).to(tl.float32)
        y = tl.exp(x - tl.max(x, axis=1, keep_dims=True))
        y = y * (1.0 / tl.sum(y, axis=1, keep_dims=True))
        tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def long_rows_kernel(
    x_ptr, y_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr
):
    """Rows of several blocks."""
    lane = tl.arange(0, BLOCK)[None, :]
    for group in tl.range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        offsets = row_offsets(group, rows, cols, ROWS) + lane
        # Finite, so that a first block of nothing but -inf gives 0 and not NaN.
        largest = tl.full((ROWS, 1), -3.0e38, dtype=tl.float32)
        # The sum is kept per lane: only the maximum is reduced in every step.
        total = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
        for start in tl.range(0, cols, BLOCK, num_stages=STAGES):
            x = tl.load(x_ptr + offsets + start, mask=start + lane < cols, other=-float("inf"))
            x = x.to(tl.float32)
            larger = tl.maximum(largest, tl.max(x, axis=1, keep_dims=True))
            total = total * tl.exp(largest - larger) + tl.exp(x - larger)
            largest = larger
        scale = 1.0 / tl.sum(total, axis=1, keep_dims=True)
        last = (cols - 1) // BLOCK * BLOCK
        for back in tl.range(0, cols, BLOCK, num_stages=STAGES):
            start = last - back
            mask = start + lane < cols
            x = tl.load(x_ptr + offsets + start, mask=mask, other=-float("inf")).to(tl.float32)
            y = tl.exp(x - largest) * scale
            # The result is not read again here: let it leave L2 before the input does.
            tl.store(
                y_ptr + offsets + start,
                y.to(y_ptr.dtype.element_ty),
                mask=mask,
                eviction_policy="evict_first",
            )


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    groups = triton.cdiv(rows, ROWS)
    grid = (min(groups, PROGRAMS) if PROGRAMS else groups,)
    if cols <= BLOCK:
        block = triton.next_power_of_2(cols)
        stages = STAGES if PROGRAMS else 1  # a single group leaves nothing to overlap
        short_rows_kernel[grid](x, y, rows, cols, ROWS, block, stages, num_warps=NUM_WARPS)
    else:
        long_rows_kernel[grid](x, y, rows, cols, ROWS, BLOCK, STAGES, num_warps=NUM_WARPS)
    return y
