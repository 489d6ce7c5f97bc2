"""Row prefix sums, plainly: a program scans its row block by block and carries the total."""

import torch
import triton
import triton.language as tl


@triton.jit
def cumsum_rows_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    """One row."""
    row = tl.program_id(0).to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)
    carry = 0.0
    for start in range(0, cols, BLOCK):
        col = start + lane
        mask = col < cols
        x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        y = carry + tl.cumsum(x, axis=0)
        tl.store(y_ptr + row + col, y.to(y_ptr.dtype.element_ty), mask=mask)
        carry += tl.sum(x, axis=0)


def cumsum_rows(x: torch.Tensor) -> torch.Tensor:
    """Inclusive prefix sum of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    cumsum_rows_kernel[(rows,)](x, y, cols, BLOCK=512)
    return y
