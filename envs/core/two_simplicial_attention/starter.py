"""A plain 2-simplicial attention: one program per query and 16 of its heads."""

import math

import torch
import triton
import triton.language as tl


@triton.jit
def two_simplicial_attention_kernel(
    q_ptr, k_ptr, k2_ptr, v_ptr, v2_ptr, out_ptr, seq, heads, w1, w2, scale,
    HEAD_DIM: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """BLOCK_H heads of one query: for each k of the second window, all j of the first."""
    query = tl.program_id(0)
    batch = tl.program_id(2).to(tl.int64)
    head = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    dims = tl.arange(0, HEAD_DIM)
    at_heads = ((batch * seq + query) * heads + head)[:, None] * HEAD_DIM + dims[None, :]
    q = tl.load(q_ptr + at_heads, mask=head[:, None] < heads, other=0.0)

    highest = tl.full((BLOCK_H,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_H,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_H, HEAD_DIM), dtype=tl.float32)
    for second in range(max(0, query - w2 + 1), query + 1):
        at_second = (batch * seq + second) * HEAD_DIM + dims
        k2 = tl.load(k2_ptr + at_second)
        v2 = tl.load(v2_ptr + at_second)
        for start in range(max(0, query - w1 + 1), query + 1, BLOCK_N):
            first = start + tl.arange(0, BLOCK_N)
            at_first = (batch * seq + first)[:, None] * HEAD_DIM + dims[None, :]
            k = tl.load(k_ptr + at_first, mask=first[:, None] <= query, other=0.0)
            v = tl.load(v_ptr + at_first, mask=first[:, None] <= query, other=0.0)
            scores = tl.dot(q * k2[None, :], tl.trans(k)) * scale
            scores = tl.where(first[None, :] <= query, scores, float("-inf"))
            new_highest = tl.maximum(highest, tl.max(scores, 1))
            weights = tl.exp(scores - new_highest[:, None])
            shrink = tl.exp(highest - new_highest)
            total = total * shrink + tl.sum(weights, 1)
            sums = tl.dot(weights.to(v.dtype), v)
            acc = acc * shrink[:, None] + sums * v2[None, :].to(tl.float32)
            highest = new_highest

    out = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at_heads, out, mask=head[:, None] < heads)


def two_simplicial_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    k2: torch.Tensor,
    v: torch.Tensor,
    v2: torch.Tensor,
    w1: int,
    w2: int,
) -> torch.Tensor:
    """2-simplicial attention of (B, S, H, D) queries over one (B, S, 1, D) head of keys."""
    batch, seq, heads, head_dim = q.shape
    out = torch.empty_like(q)
    grid = (seq, triton.cdiv(heads, 16), batch)
    two_simplicial_attention_kernel[grid](
        q, k, k2, v, v2, out, seq, heads, w1, w2, 1 / math.sqrt(head_dim),
        HEAD_DIM=head_dim, BLOCK_H=16, BLOCK_N=32,
    )  # fmt: skip
    return out
