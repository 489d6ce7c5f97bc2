"""Cross entropy at the speed of memory: one read of the logits.

Maximum and sum are found together (the online softmax of Milakov and Gimelshein, arXiv
1805.02867). The sum is kept per lane and in powers of two, so a step reduces the maximum alone.
"""

import torch
import triton
import triton.language as tl

BLOCK = 8192  # columns handled at once
NUM_WARPS = 8
STAGES = 2  # blocks on their way through shared memory

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def cross_entropy_kernel(
    logits_ptr, target_ptr, loss_ptr, cols, BLOCK: tl.constexpr, STAGES: tl.constexpr
):
    """One row."""
    row = tl.program_id(0)
    logits_ptr += row.to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)
    # Asked for first, so that nothing waits for it at the end.
    chosen = tl.load(logits_ptr + tl.load(target_ptr + row)).to(tl.float32)

    # Finite, so that a first block of nothing but -inf gives 0 and not NaN.
    largest = -3.0e38
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in tl.range(0, cols, BLOCK, num_stages=STAGES):
        mask = start + lane < cols
        z = tl.load(
            logits_ptr + start + lane, mask=mask, other=-float("inf"),
            eviction_policy="evict_first",
        ).to(tl.float32)  # fmt: skip
        larger = tl.maximum(largest, tl.max(z, axis=0))
        shifted = tl.exp2((z - larger) * LOG2_E)
        total = total * tl.exp2((largest - larger) * LOG2_E) + shifted
        largest = larger
    loss = tl.log2(tl.sum(total, axis=0)) * LN_2 - (chosen - largest)
    tl.store(loss_ptr + row, loss)


def llama_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of every row of (rows, cols) logits."""
    rows, cols = logits.shape
    loss = torch.empty((rows,), device=logits.device, dtype=torch.float32)
    block = min(BLOCK, triton.next_power_of_2(cols))
    cross_entropy_kernel[(rows,)](
        logits, target, loss, cols, block, STAGES, num_warps=NUM_WARPS
    )  # fmt: skip
    return loss
