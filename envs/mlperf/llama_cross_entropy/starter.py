"""Cross entropy, plainly: a program reads its row twice, a block at a time."""

import torch
import triton
import triton.language as tl


@triton.jit
def cross_entropy_kernel(logits_ptr, target_ptr, loss_ptr, cols, BLOCK: tl.constexpr):
    """One row: its maximum, then the sum of its exponentials."""
    row = tl.program_id(0)
    logits_ptr += row.to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)

    largest = -float("inf")
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        z = tl.load(logits_ptr + start + lane, mask=mask, other=-float("inf")).to(tl.float32)
        largest = tl.maximum(largest, tl.max(z, axis=0))

    total = 0.0
    for start in range(0, cols, BLOCK):
        mask = start + lane < cols
        z = tl.load(logits_ptr + start + lane, mask=mask, other=-float("inf")).to(tl.float32)
        total += tl.sum(tl.exp(z - largest), axis=0)

    chosen = tl.load(logits_ptr + tl.load(target_ptr + row)).to(tl.float32)
    tl.store(loss_ptr + row, tl.log(total) - (chosen - largest))


def llama_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of every row of (rows, cols) logits."""
    rows, cols = logits.shape
    loss = torch.empty((rows,), device=logits.device, dtype=torch.float32)
    cross_entropy_kernel[(rows,)](logits, target, loss, cols, BLOCK=1024)
    return loss
