"""Row argmax, plainly: a block at a time, with the best so far."""

import torch
import triton
import triton.language as tl


@triton.jit
def argmax_rows_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    """One row."""
    row = tl.program_id(0)
    x_ptr += row.to(tl.int64) * cols
    best = -float("inf")
    where = 0
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + col, mask=col < cols, other=-float("inf")).to(tl.float32)
        value, index = tl.max(x, axis=0, return_indices=True)
        where = tl.where(value > best, start + index, where)
        best = tl.maximum(best, value)
    tl.store(y_ptr + row, where.to(tl.int64))


def argmax_rows(x: torch.Tensor) -> torch.Tensor:
    """Position of the first maximum of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty((rows,), device=x.device, dtype=torch.int64)
    argmax_rows_kernel[(rows,)](x, y, cols, BLOCK=512)
    return y
