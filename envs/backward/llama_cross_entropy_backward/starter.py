"""The gradient of the cross entropy, plainly: one program a block of a row."""

import torch
import triton
import triton.language as tl


@triton.jit
def cross_entropy_backward_kernel(
    logits_ptr, target_ptr, lse_ptr, dloss_ptr, dlogits_ptr, cols, BLOCK: tl.constexpr
):
    """A block of a row."""
    row = tl.program_id(1)
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = col < cols
    at = row.to(tl.int64) * cols + col
    z = tl.load(logits_ptr + at, mask=mask, other=0.0).to(tl.float32)
    lse, dloss = tl.load(lse_ptr + row), tl.load(dloss_ptr + row)
    target = tl.load(target_ptr + row)
    p = tl.exp(z - lse)
    d = tl.where(col == target, p - 1.0, p) * dloss
    tl.store(dlogits_ptr + at, d.to(dlogits_ptr.dtype.element_ty), mask=mask)


def llama_cross_entropy_backward(
    logits: torch.Tensor, target: torch.Tensor, lse: torch.Tensor, dloss: torch.Tensor
) -> torch.Tensor:
    """Gradient of the cross entropy of (rows, cols) logits."""
    rows, cols = logits.shape
    dlogits = torch.empty_like(logits)
    cross_entropy_backward_kernel[(triton.cdiv(cols, 256), rows)](
        logits, target, lse, dloss, dlogits, cols, BLOCK=256
    )
    return dlogits
