"""Dropout from a seed, plainly: one program a block."""

import torch
import triton
import triton.language as tl


@triton.jit
def dropout_kernel(x_ptr, seed_ptr, y_ptr, n, threshold, scale, BLOCK: tl.constexpr):
    """One block of y."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    h = offsets.to(tl.uint32) + tl.load(seed_ptr).to(tl.uint32)
    h ^= h >> 16
    h *= 0x85EBCA6B
    h ^= h >> 13
    h *= 0xC2B2AE35
    h ^= h >> 16
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    y = tl.where(h.to(tl.int64) >= threshold, x * scale, 0.0)
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


def dropout(x: torch.Tensor, p: float, seed: torch.Tensor) -> torch.Tensor:
    """Dropout of a vector with probability p."""
    y = torch.empty_like(x)
    n = x.numel()
    dropout_kernel[(triton.cdiv(n, 256),)](
        x, seed, y, n, int(p * 2**32), 1.0 / (1.0 - p), BLOCK=256
    )
    return y
