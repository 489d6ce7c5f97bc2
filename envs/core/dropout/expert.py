"""Dropout from a seed at the speed of memory.

The hash costs some ten integer operations an element, which hide behind the bytes as long as
enough loads are under way: a thread has several of 16 bytes. Bits are compared as unsigned words,
so nothing is widened.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096  # elements handled at once
NUM_WARPS = 8
PROGRAMS = 0  # each takes every PROGRAMS-th block; 0: one program a block


@triton.jit
def dropout_kernel(x_ptr, seed_ptr, y_ptr, n, threshold, scale, BLOCK: tl.constexpr):
    """Every num_programs-th block of y."""
    seed = tl.load(seed_ptr).to(tl.uint32)
    lane = tl.arange(0, BLOCK)
    for block in tl.range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        offsets = block * BLOCK + lane
        mask = offsets < n
        x = tl.load(x_ptr + offsets, mask=mask, other=0.0, eviction_policy="evict_first")
        h = offsets.to(tl.uint32) + seed
        h ^= h >> 16
        h *= 0x85EBCA6B
        h ^= h >> 13
        h *= 0xC2B2AE35
        h ^= h >> 16
        y = tl.where(h >= threshold.to(tl.uint32), x.to(tl.float32) * scale, 0.0)
        tl.store(
            y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask,
            eviction_policy="evict_first",
        )  # fmt: skip


def dropout(x: torch.Tensor, p: float, seed: torch.Tensor) -> torch.Tensor:
    """Dropout of a vector with probability p."""
    y = torch.empty_like(x)
    n = x.numel()
    blocks = triton.cdiv(n, BLOCK)
    grid = (min(blocks, PROGRAMS) if PROGRAMS else blocks,)
    dropout_kernel[grid](
        x, seed, y, n, int(p * 2**32), 1.0 / (1.0 - p), BLOCK, num_warps=NUM_WARPS
    )  # fmt: skip
    return y
