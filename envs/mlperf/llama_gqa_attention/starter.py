"""A plain grouped-query attention: one program per block of queries, one pass over the keys."""

import math

import torch
import triton
import triton.language as tl


@triton.jit
def gqa_attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, group, seq, scale,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head."""
    head = tl.program_id(1).to(tl.int64) * seq * HEAD_DIM
    key_head = (tl.program_id(1) // group).to(tl.int64) * seq * HEAD_DIM
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, HEAD_DIM)
    at_rows = head + rows[:, None] * HEAD_DIM + dims[None, :]
    q = tl.load(q_ptr + at_rows, mask=rows[:, None] < seq, other=0.0)

    highest = tl.full((BLOCK_M,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, HEAD_DIM), dtype=tl.float32)
    for start in range(0, (tl.program_id(0) + 1) * BLOCK_M, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        at_cols = key_head + cols[:, None] * HEAD_DIM + dims[None, :]
        k = tl.load(k_ptr + at_cols, mask=cols[:, None] < seq, other=0.0)
        v = tl.load(v_ptr + at_cols, mask=cols[:, None] < seq, other=0.0)
        scores = tl.dot(q, tl.trans(k)) * scale
        scores = tl.where(cols[None, :] <= rows[:, None], scores, float("-inf"))
        new_highest = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.exp(scores - new_highest[:, None])
        shrink = tl.exp(highest - new_highest)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None] + tl.dot(weights.to(v.dtype), v)
        highest = new_highest

    out = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at_rows, out, mask=rows[:, None] < seq)


def llama_gqa_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of (B, H, S, D) queries over (B, K, S, D) keys, D a power of two."""
    batch, heads, seq, head_dim = q.shape
    out = torch.empty_like(q)
    grid = (triton.cdiv(seq, 64), batch * heads)
    gqa_attention_kernel[grid](
        q, k, v, out, heads // k.shape[1], seq, 1 / math.sqrt(head_dim),
        HEAD_DIM=head_dim, BLOCK_M=64, BLOCK_N=32,
    )  # fmt: skip
    return out
