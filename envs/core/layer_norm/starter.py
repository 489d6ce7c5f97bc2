"""Layer normalisation, plainly: a program reads its row three times, a block at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, y_ptr, cols, eps, BLOCK: tl.constexpr):
    """One row: its mean, the variance around it, then the result."""
    row = tl.program_id(0).to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)

    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, cols, BLOCK):
        col = start + lane
        total += tl.load(x_ptr + row + col, mask=col < cols, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / cols

    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, cols, BLOCK):
        col = start + lane
        x = tl.load(x_ptr + row + col, mask=col < cols, other=0.0).to(tl.float32)
        centred = tl.where(col < cols, x - mean, 0.0)
        squares += centred * centred
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / cols + eps)

    for start in range(0, cols, BLOCK):
        col = start + lane
        mask = col < cols
        x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + col, mask=mask, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + col, mask=mask, other=0.0).to(tl.float32)
        y = (x - mean) * scale * weight + bias
        tl.store(y_ptr + row + col, y.to(y_ptr.dtype.element_ty), mask=mask)


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Normalise every row of (rows, cols); weight and bias are (cols,)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    layer_norm_kernel[(rows,)](x, weight, bias, y, cols, 1e-5, BLOCK=512)
    return y
