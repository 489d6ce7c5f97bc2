"""Row log-softmax, plainly: a program reads its row three times, a block at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def log_softmax_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    """One row: its maximum, the sum of its exponentials, then the differences."""
    row = tl.program_id(0).to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)

    largest = -float("inf")
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=-float("inf")).to(tl.float32)
        largest = tl.maximum(largest, tl.max(x, axis=0))

    total = 0.0
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=-float("inf")).to(tl.float32)
        total += tl.sum(tl.exp(x - largest), axis=0)

    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=-float("inf")).to(tl.float32)
        y = x - largest - tl.log(total)
        tl.store(y_ptr + row + start + lane, y.to(y_ptr.dtype.element_ty), mask=mask)


def log_softmax(x: torch.Tensor) -> torch.Tensor:
    """Log-softmax of every row of (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    log_softmax_kernel[(rows,)](x, y, cols, BLOCK=512)
    return y
