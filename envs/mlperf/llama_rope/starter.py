"""Rotary embedding, plainly: one program a head of a token."""

import torch
import triton
import triton.language as tl


@triton.jit
def llama_rope_kernel(x_ptr, cos_ptr, sin_ptr, y_ptr, heads, half, BLOCK: tl.constexpr):
    """One head of one token."""
    token = tl.program_id(1).to(tl.int64)
    row = (token * heads + tl.program_id(0)) * 2 * half
    lane = tl.arange(0, BLOCK)
    mask = lane < half
    cos = tl.load(cos_ptr + token * half + lane, mask=mask, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + token * half + lane, mask=mask, other=0.0).to(tl.float32)
    first = tl.load(x_ptr + row + lane, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + row + half + lane, mask=mask, other=0.0).to(tl.float32)
    dtype = y_ptr.dtype.element_ty
    tl.store(y_ptr + row + lane, (first * cos - second * sin).to(dtype), mask=mask)
    tl.store(y_ptr + row + half + lane, (second * cos + first * sin).to(dtype), mask=mask)


def llama_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates the halves of every head of (T, H, D) by (T, D/2) angles."""
    tokens, heads, dim = x.shape
    y = torch.empty_like(x)
    llama_rope_kernel[(heads, tokens)](
        x, cos, sin, y, heads, dim // 2, BLOCK=triton.next_power_of_2(dim // 2)
    )
    return y
