"""Masked attention for Hopper: tiles by the copy engine, and no work for padding.

Each program takes BLOCK_M queries of one head and goes through the sentence's keys alone. All tiles
but the last are full of keys and need no mask. Softmax works in powers of two, so that the scale
1/sqrt(d) and the change of base are one factor.
"""

import math

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

BLOCK_M = 128
BLOCK_N = 128
NUM_WARPS = 8
NUM_STAGES = 3


@triton.jit
def attend(
    acc, total, highest, q, k_desc, v_desc, head_row, first, last, length, scale,
    MASKED: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Folds keys first..last-1 into the running sums of a block of queries."""
    for start in tl.range(first, last, BLOCK_N):
        k = k_desc.load([head_row + start, 0])
        scores = tl.dot(q, k.T)
        if MASKED:
            cols = start + tl.arange(0, BLOCK_N)
            scores = tl.where(cols[None, :] < length, scores, float("-inf"))
        # Every tile has a key that counts, so `highest` is finite from the first one on.
        new_highest = tl.maximum(highest, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - new_highest[:, None])
        shrink = tl.exp2(highest - new_highest)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None]
        v = v_desc.load([head_row + start, 0])
        acc = tl.dot(weights.to(v.dtype), v, acc)
        highest = new_highest
    return acc, total, highest


@triton.jit
def masked_attention_kernel(
    q_desc, k_desc, v_desc, lengths_ptr, out_ptr, heads, seq, scale,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head; the descriptors see all heads as rows of one matrix."""
    head_row = tl.program_id(1) * seq
    row = tl.program_id(0) * BLOCK_M
    length = tl.load(lengths_ptr + tl.program_id(1) // heads)
    q = q_desc.load([head_row + row, 0])
    acc = tl.zeros((BLOCK_M, HEAD_DIM), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    highest = tl.full((BLOCK_M,), float("-inf"), dtype=tl.float32)
    full = length // BLOCK_N * BLOCK_N
    acc, total, highest = attend(
        acc, total, highest, q, k_desc, v_desc, head_row, 0, full, length, scale, False, BLOCK_N
    )
    acc, total, highest = attend(
        acc, total, highest, q, k_desc, v_desc, head_row, full, length, length, scale, True, BLOCK_N
    )

    # By pointers: the copy engine would write padding rows over the next head.
    rows = row + tl.arange(0, BLOCK_M)
    at_rows = (head_row + rows).to(tl.int64)[:, None] * HEAD_DIM + tl.arange(0, HEAD_DIM)[None, :]
    out = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at_rows, out, mask=rows[:, None] < seq)


def bert_masked_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Attention of (B, H, S, D) over the first keys of each sentence, D a power of two."""
    batch, heads, seq, head_dim = q.shape
    out = torch.empty_like(q)

    def tiles(x: torch.Tensor, rows: int) -> TensorDescriptor:
        return TensorDescriptor.from_tensor(x.view(-1, head_dim), [rows, head_dim])

    masked_attention_kernel[(triton.cdiv(seq, BLOCK_M), batch * heads)](
        tiles(q, BLOCK_M), tiles(k, BLOCK_N), tiles(v, BLOCK_N), lengths, out, heads, seq,
        math.log2(math.e) / math.sqrt(head_dim), head_dim, BLOCK_M, BLOCK_N,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return out
