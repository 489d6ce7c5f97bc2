"""Rotary embedding at the speed of memory: HEADS heads of a token share its angles."""

import torch
import triton
import triton.language as tl

HEADS = 16  # heads handled at once
NUM_WARPS = 4


@triton.jit
def llama_rope_kernel(
    x_ptr, cos_ptr, sin_ptr, y_ptr, heads, half, HEADS: tl.constexpr, BLOCK: tl.constexpr
):
    """HEADS heads of one token."""
    token = tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, BLOCK)[None, :]
    head = tl.program_id(0) * HEADS + tl.arange(0, HEADS)[:, None]
    offsets = (token * heads + head) * 2 * half + lane
    mask = (head < heads) & (lane < half)
    first = tl.load(x_ptr + offsets, mask=mask, eviction_policy="evict_first").to(tl.float32)
    second = tl.load(x_ptr + offsets + half, mask=mask, eviction_policy="evict_first")
    second = second.to(tl.float32)
    cos = tl.load(cos_ptr + token * half + lane, mask=lane < half).to(tl.float32)
    sin = tl.load(sin_ptr + token * half + lane, mask=lane < half).to(tl.float32)
    dtype = y_ptr.dtype.element_ty
    tl.store(y_ptr + offsets, (first * cos - second * sin).to(dtype), mask=mask)
    tl.store(y_ptr + offsets + half, (second * cos + first * sin).to(dtype), mask=mask)


def llama_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates the halves of every head of (T, H, D) by (T, D/2) angles."""
    tokens, heads, dim = x.shape
    y = torch.empty_like(x)
    llama_rope_kernel[(triton.cdiv(heads, HEADS), tokens)](
        x, cos, sin, y, heads, dim // 2, HEADS, triton.next_power_of_2(dim // 2),
        num_warps=NUM_WARPS,
    )  # fmt: skip
    return y
