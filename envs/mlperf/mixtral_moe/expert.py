"""A mixture of experts in two launches: products of the tokens that chose an expert, then sums.

A program takes one expert, a block of columns and SPAN tokens. It finds those that chose the
expert, brings them to the front with a sort in registers, and multiplies them BLOCK_M at a time: no
list goes through memory. Rows of x are gathered, tiles of the weights come by the copy engine
(TMA). Products leave two rows for each token, which the second launch adds up.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

BLOCK_M = 128
BLOCK_N = 256
BLOCK_K = 64
SPAN = 4096  # tokens that a program looks through
NUM_WARPS = 8
NUM_STAGES = 3


@triton.jit
def slots_of(logits_ptr, expert, first, tokens, experts, SPAN: tl.constexpr):
    """Slots of the tokens that chose an expert, in order, and how many they are.

    A slot is twice the token, and one more where the expert is its second choice.
    """
    token = first + tl.arange(0, SPAN)
    best = tl.full((SPAN,), float("-inf"), dtype=tl.float32)
    second = tl.full((SPAN,), float("-inf"), dtype=tl.float32)
    best_at = tl.zeros((SPAN,), dtype=tl.int32)
    second_at = tl.zeros((SPAN,), dtype=tl.int32)
    for e in range(experts):
        logit = tl.load(
            logits_ptr + token * experts + e, mask=token < tokens, other=float("-inf")
        )  # fmt: skip
        is_best, is_second = logit > best, logit > second
        second_at = tl.where(is_best, best_at, tl.where(is_second, e, second_at))
        second = tl.where(is_best, best, tl.where(is_second, logit, second))
        best_at = tl.where(is_best, e, best_at)
        best = tl.where(is_best, logit, best)
    own = ((best_at == expert) | (second_at == expert)) & (token < tokens)
    slot = token * 2 + (second_at == expert).to(tl.int32)
    count = tl.sum(own.to(tl.int32), axis=0)
    return tl.sort(tl.where(own, slot, 0x7FFFFFFF)), count


@triton.jit
def shares_of(logits_ptr, token, is_second, own, experts):
    """Shares of tokens' experts in the result: the softmax of the two best logits."""
    best = tl.full(token.shape, float("-inf"), dtype=tl.float32)
    second = tl.full(token.shape, float("-inf"), dtype=tl.float32)
    for e in range(experts):
        logit = tl.load(logits_ptr + token * experts + e, mask=own, other=0.0)
        second = tl.where(logit > best, best, tl.maximum(second, logit))
        best = tl.maximum(best, logit)
    share = 1.0 / (1.0 + tl.exp(second - best))
    return tl.where(is_second, 1.0 - share, share)


@triton.jit
def product_kernel(
    x_ptr, logits_ptr, w_desc, rows_ptr, tokens, dim, hidden, experts,
    SPAN: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A block of columns of one expert's products with those of SPAN tokens that chose it."""
    expert = tl.program_id(2)
    col = tl.program_id(0) * BLOCK_N
    slots, count = slots_of(
        logits_ptr, expert, tl.program_id(1) * SPAN, tokens, experts, SPAN
    )  # fmt: skip
    cols = col + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    for start in range(0, count, BLOCK_M):
        place = start + tl.arange(0, BLOCK_M)
        own = place < count
        slot = tl.where(own, tl.gather(slots, tl.minimum(place, SPAN - 1), 0), 0)
        share = shares_of(logits_ptr, slot // 2, slot % 2 == 1, own, experts)
        x_ptrs = x_ptr + (slot // 2)[:, None] * dim + inner[None, :]
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for k in range(0, dim, BLOCK_K):
            x = tl.load(x_ptrs, mask=own[:, None] & (k + inner < dim)[None, :], other=0.0)
            w = w_desc.load([expert, k, col]).reshape(BLOCK_K, BLOCK_N)
            acc = tl.dot(x, w, acc)
            x_ptrs += BLOCK_K
        tl.store(
            rows_ptr + slot.to(tl.int64)[:, None] * hidden + cols[None, :],
            (acc * share[:, None]).to(rows_ptr.dtype.element_ty),
            mask=own[:, None] & (cols < hidden)[None, :],
        )


@triton.jit
def add_kernel(rows_ptr, out_ptr, hidden, BLOCK: tl.constexpr):
    """The sum of a token's two rows."""
    token = tl.program_id(1).to(tl.int64)
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = col < hidden
    first = tl.load(rows_ptr + token * 2 * hidden + col, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(rows_ptr + (token * 2 + 1) * hidden + col, mask=mask, other=0.0)
    out = (first + second.to(tl.float32)).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + token * hidden + col, out, mask=mask)


def mixtral_moe(x: torch.Tensor, logits: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Two of the experts (E, D, H) for each token of (T, D)."""
    tokens, dim = x.shape
    experts, _, hidden = w.shape
    rows = torch.empty((tokens * 2, hidden), device=x.device, dtype=x.dtype)
    out = torch.empty((tokens, hidden), device=x.device, dtype=x.dtype)
    span = min(SPAN, max(16, triton.next_power_of_2(tokens)))
    # Programs of one expert run together and find its weights in L2.
    grid = (triton.cdiv(hidden, BLOCK_N), triton.cdiv(tokens, span), experts)
    product_kernel[grid](
        x, logits, TensorDescriptor.from_tensor(w, [1, BLOCK_K, BLOCK_N]), rows,
        tokens, dim, hidden, experts, span, BLOCK_M, BLOCK_N, BLOCK_K,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    add_kernel[(triton.cdiv(hidden, 2048), tokens)](rows, out, hidden, 2048)
    return out
