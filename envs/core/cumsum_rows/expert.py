"""Row prefix sums near the speed of memory.

Rows of up to BLOCK columns are scanned in one go. Longer ones go block by block and carry the
total; the next blocks are fetched while this one is scanned.
"""

import torch
import triton
import triton.language as tl

BLOCK = 1024  # columns scanned at once
ROWS = 1  # rows handled at once
NUM_WARPS = 4
STAGES = 3  # blocks on their way through shared memory


@triton.jit
def cumsum_rows_kernel(
    x_ptr, y_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr
):
    """ROWS rows."""
    # The last program repeats the last row instead of leaving the matrix, and writes the same
    # values to it again: so no mask depends on the row.
    row = tl.minimum(tl.program_id(0) * ROWS + tl.arange(0, ROWS), rows - 1)
    lane = tl.arange(0, BLOCK)[None, :]
    offsets = (row.to(tl.int64) * cols)[:, None] + lane
    carry = tl.zeros((ROWS, 1), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK, num_stages=STAGES):
        mask = start + lane < cols
        x = tl.load(x_ptr + offsets + start, mask=mask, other=0.0).to(tl.float32)
        y = carry + tl.cumsum(x, axis=1)
        tl.store(y_ptr + offsets + start, y.to(y_ptr.dtype.element_ty), mask=mask)
        carry += tl.sum(x, axis=1, keep_dims=True)


def cumsum_rows(x: torch.Tensor) -> torch.Tensor:
    """Inclusive prefix sum of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    block = min(BLOCK, triton.next_power_of_2(cols))
    grid = (triton.cdiv(rows, ROWS),)
    cumsum_rows_kernel[grid](x, y, rows, cols, ROWS, block, STAGES, num_warps=NUM_WARPS)
    return y
