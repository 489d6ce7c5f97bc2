"""Row argmax at the speed of memory.

Every lane keeps its own best value and where it was, and only the lanes are compared at the end:
a step costs a comparison and two choices. A lane keeps the first of equal values, and so does the
reduction, which prefers the smaller column.
"""

import torch
import triton
import triton.language as tl

BLOCK = 2048  # columns handled at once
ROWS = 1  # rows handled at once
NUM_WARPS = 4
STAGES = 3  # blocks on their way through shared memory


@triton.jit
def better(value, col, other_value, other_col):
    """The larger of two values, or the one of the smaller column."""
    other_wins = (other_value > value) | ((other_value == value) & (other_col < col))
    return tl.where(other_wins, other_value, value), tl.where(other_wins, other_col, col)


@triton.jit
def argmax_rows_kernel(
    x_ptr, y_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr
):
    """ROWS rows."""
    # The last program repeats the last row instead of leaving the matrix, and writes the same
    # values to it again: so no mask depends on the row.
    row = tl.minimum(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows - 1)
    offsets = (row.to(tl.int64) * cols)[:, None]
    lane = tl.arange(0, BLOCK)[None, :]
    best = tl.full((ROWS, BLOCK), -float("inf"), dtype=tl.float32)
    where = tl.zeros((ROWS, BLOCK), dtype=tl.int32) + lane
    for start in tl.range(0, cols, BLOCK, num_stages=STAGES):
        col = start + lane
        x = tl.load(
            x_ptr + offsets + col, mask=col < cols, other=-float("inf"),
            eviction_policy="evict_first",
        ).to(tl.float32)  # fmt: skip
        larger = x > best
        best = tl.where(larger, x, best)
        where = tl.where(larger, col, where)
    _, first = tl.reduce((best, where), 1, better)
    tl.store(y_ptr + row, first.to(tl.int64))


def argmax_rows(x: torch.Tensor) -> torch.Tensor:
    """Position of the first maximum of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty((rows,), device=x.device, dtype=torch.int64)
    block = min(BLOCK, triton.next_power_of_2(cols))
    argmax_rows_kernel[(triton.cdiv(rows, ROWS),)](
        x, y, rows, cols, ROWS, block, STAGES, num_warps=NUM_WARPS
    )
    return y
