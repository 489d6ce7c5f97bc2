"""RMS normalisation, plainly: a program reads its row twice, a block at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def rms_norm_kernel(x_ptr, weight_ptr, y_ptr, cols, eps, BLOCK: tl.constexpr):
    """One row: its mean square, then the result."""
    row = tl.program_id(0).to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)

    squares = 0.0
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        squares += tl.sum(x * x, axis=0)
    scale = tl.rsqrt(squares / cols + eps)

    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        x = tl.load(x_ptr + row + start + lane, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + start + lane, mask=mask, other=0.0).to(tl.float32)
        y = x * scale * weight
        tl.store(y_ptr + row + start + lane, y.to(y_ptr.dtype.element_ty), mask=mask)


def rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Normalise every row of (rows, cols); weight is (cols,)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    rms_norm_kernel[(rows,)](x, weight, y, cols, 1e-6, BLOCK=512)
    return y
