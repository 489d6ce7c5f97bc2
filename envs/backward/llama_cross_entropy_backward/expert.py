"""The gradient of the cross entropy at the speed of memory.

With the logarithm of the sum at hand it is elementwise: a program takes a wide block of one row,
and what a row has but once costs it three loads.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096  # columns handled at once
NUM_WARPS = 8


@triton.jit
def cross_entropy_backward_kernel(
    logits_ptr, target_ptr, lse_ptr, dloss_ptr, dlogits_ptr, cols, BLOCK: tl.constexpr
):
    """A block of a row."""
    row = tl.program_id(1)
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = col < cols
    at = row.to(tl.int64) * cols + col
    z = tl.load(logits_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first").to(tl.float32)
    lse, dloss = tl.load(lse_ptr + row), tl.load(dloss_ptr + row)
    target = tl.load(target_ptr + row)
    p = tl.exp2((z - lse) * 1.4426950408889634)
    d = tl.where(col == target, p - 1.0, p) * dloss
    tl.store(
        dlogits_ptr + at,
        d.to(dlogits_ptr.dtype.element_ty),
        mask=mask,
        eviction_policy="evict_first",
    )


def llama_cross_entropy_backward(
    logits: torch.Tensor, target: torch.Tensor, lse: torch.Tensor, dloss: torch.Tensor
) -> torch.Tensor:
    """Gradient of the cross entropy of (rows, cols) logits."""
    rows, cols = logits.shape
    dlogits = torch.empty_like(logits)
    cross_entropy_backward_kernel[(triton.cdiv(cols, BLOCK), rows)](
        logits, target, lse, dloss, dlogits, cols, BLOCK, num_warps=NUM_WARPS
    )
    return dlogits
