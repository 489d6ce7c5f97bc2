"""Residual sum and layer norm, plainly: a program goes through its row three times."""

import torch
import triton
import triton.language as tl


@triton.jit
def added(x_ptr, residual_ptr, offsets, mask):
    """A block of x + residual in float32."""
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    return x + tl.load(residual_ptr + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def residual_layer_norm_kernel(
    x_ptr, residual_ptr, weight_ptr, bias_ptr, y_ptr, cols, eps, BLOCK: tl.constexpr
):
    """One row: its mean, its variance, then the result."""
    row = tl.program_id(0).to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)

    total = 0.0
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        total += tl.sum(added(x_ptr, residual_ptr, row + start + lane, mask), axis=0)
    mean = total / cols

    squares = 0.0
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        h = added(x_ptr, residual_ptr, row + start + lane, mask)
        distance = tl.where(mask, h - mean, 0.0)
        squares += tl.sum(distance * distance, axis=0)
    scale = 1.0 / tl.sqrt(squares / cols + eps)

    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        h = added(x_ptr, residual_ptr, row + start + lane, mask)
        weight = tl.load(weight_ptr + start + lane, mask=mask, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + start + lane, mask=mask, other=0.0).to(tl.float32)
        y = (h - mean) * scale * weight + bias
        tl.store(y_ptr + row + start + lane, y.to(y_ptr.dtype.element_ty), mask=mask)


def bert_residual_layer_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Layer norm of x + residual, both (rows, cols)."""
    rows, cols = x.shape
    y = torch.empty_like(x)
    residual_layer_norm_kernel[(rows,)](x, residual, weight, bias, y, cols, 1e-12, BLOCK=512)
    return y
