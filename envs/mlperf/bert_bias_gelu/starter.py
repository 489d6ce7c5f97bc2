"""Bias and GELU, plainly: one program a block of a row."""

import torch
import triton
import triton.language as tl


@triton.jit
def bert_bias_gelu_kernel(x_ptr, bias_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    """One block of a row of y = gelu(x + bias)."""
    row = tl.program_id(0).to(tl.int64) * cols
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = col < cols
    x = tl.load(x_ptr + row + col, mask=mask, other=0.0).to(tl.float32)
    x += tl.load(bias_ptr + col, mask=mask, other=0.0).to(tl.float32)
    y = x * 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
    tl.store(y_ptr + row + col, y.to(y_ptr.dtype.element_ty), mask=mask)


def bert_bias_gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """gelu(x + bias) of (rows, cols) and (cols,)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    bert_bias_gelu_kernel[(rows, triton.cdiv(cols, 256))](x, bias, y, cols, BLOCK=256)
    return y
