"""The gradient of a row softmax, plainly: two passes over each row."""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_backward_kernel(y_ptr, dy_ptr, dx_ptr, cols, BLOCK: tl.constexpr):
    """One row."""
    row = tl.program_id(0).to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)
    total = 0.0
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        y = tl.load(y_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        total += tl.sum(y * dy, axis=0)
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        y = tl.load(y_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        dx = y * (dy - total)
        tl.store(dx_ptr + row + start + lane, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def softmax_backward(y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    """Gradient of the softmax y of (rows, cols)."""
    rows, cols = y.shape
    dx = torch.empty_like(y)
    softmax_backward_kernel[(rows,)](y, dy, dx, cols, BLOCK=512)
    return dx
