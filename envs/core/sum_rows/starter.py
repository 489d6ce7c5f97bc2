"""Row sums, plainly: a program adds up its row, a block at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def sum_rows_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    """One row."""
    row = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    total = 0.0
    for start in range(0, cols, BLOCK):
        col = start + lane
        x = tl.load(x_ptr + row.to(tl.int64) * cols + col, mask=col < cols, other=0.0)
        total += tl.sum(x.to(tl.float32), axis=0)
    tl.store(y_ptr + row, total.to(y_ptr.dtype.element_ty))


def sum_rows(x: torch.Tensor) -> torch.Tensor:
    """Sum of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty((rows,), device=x.device, dtype=x.dtype)
    sum_rows_kernel[(rows,)](x, y, cols, BLOCK=256, num_warps=2)
    return y
