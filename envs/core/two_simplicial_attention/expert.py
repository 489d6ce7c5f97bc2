"""2-simplicial attention for Hopper: all heads of a query share one tile of keys.

One head of keys serves all heads of the queries, so a tile's rows are consecutive (query, head)
pairs. A tile of keys and values of the first window is loaded once and stays in shared memory
while every position k of the second window passes over it. Per k that costs two matrix products,

    scores = (q ∘ k2_k) Kᵀ        acc += (weights V) ∘ v2_k

with k2 and v2 multiplied into the narrow operands, which are in registers anyway, and not into
the tiles of K and V, which would have to go through shared memory again. Softmax works in powers
of two, so that the scale 1/sqrt(d) and the change of base are one factor.
"""

import math

import torch
import triton
import triton.language as tl

BLOCK_M = 64
BLOCK_N = 128
NUM_WARPS = 4
NUM_STAGES = 2


@triton.jit
def attend(
    acc, total, highest, q, k_t, v, k2_ptr, v2_ptr, first, last, queries, positions, w1, w2,
    scale, MASKED: tl.constexpr, HEAD_DIM: tl.constexpr,
):  # fmt: skip
    """Folds pairs of one tile of the first window and k = first..last-1 into the running sums.

    Args:
        queries: position of each row's query, (BLOCK_M,).
        positions: positions j of the tile, (BLOCK_N,).
        MASKED: whether some of the pairs lie outside the windows of some of the rows.
    """
    dims = tl.arange(0, HEAD_DIM)
    k2_next = tl.load(k2_ptr + first * HEAD_DIM + dims)
    v2_next = tl.load(v2_ptr + first * HEAD_DIM + dims)
    for second in tl.range(first, last):
        k2 = k2_next
        v2 = v2_next.to(tl.float32)
        # Asked for one round ahead, so that nothing waits for memory.
        ahead = min(second + 1, last - 1) * HEAD_DIM + dims
        k2_next = tl.load(k2_ptr + ahead)
        v2_next = tl.load(v2_ptr + ahead)
        scores = tl.dot(q * k2[None, :], k_t)
        if MASKED:
            age = queries[:, None] - positions[None, :]
            seen = (age >= 0) & (age < w1)
            seen = seen & ((second <= queries) & (second > queries - w2))[:, None]
            scores = tl.where(seen, scores, float("-inf"))
        # `highest` starts finite: a row may see nothing of a whole tile.
        new_highest = tl.maximum(highest, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - new_highest[:, None])
        shrink = tl.exp2(highest - new_highest)
        total = total * shrink + tl.sum(weights, 1)
        sums = tl.dot(weights.to(v.dtype), v)
        acc = acc * shrink[:, None] + sums * v2[None, :]
        highest = new_highest
    return acc, total, highest


@triton.jit
def two_simplicial_attention_kernel(
    q_ptr, k_ptr, k2_ptr, v_ptr, v2_ptr, out_ptr, seq, heads, w1, w2, scale,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    ONE_QUERY: tl.constexpr,
):  # fmt: skip
    """BLOCK_M consecutive (query, head) rows of one batch.

    ONE_QUERY says that all rows of every tile belong to the same query: then the windows of the
    rows are one window, and only a tile that reaches past its end needs a mask.
    """
    batch = tl.program_id(1).to(tl.int64)
    q_ptr += batch * seq * heads * HEAD_DIM
    out_ptr += batch * seq * heads * HEAD_DIM
    k_ptr += batch * seq * HEAD_DIM
    k2_ptr += batch * seq * HEAD_DIM
    v_ptr += batch * seq * HEAD_DIM
    v2_ptr += batch * seq * HEAD_DIM

    rows = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, HEAD_DIM)
    at_rows = rows[:, None] * HEAD_DIM + dims[None, :]
    inside = rows[:, None] < seq * heads
    q = tl.load(q_ptr + at_rows, mask=inside, other=0.0)

    # Rows past the end act as heads of the last query and are not stored.
    queries = tl.minimum((rows // heads).to(tl.int32), seq - 1)
    earliest = tl.program_id(0) * BLOCK_M // heads
    latest = min((tl.program_id(0) * BLOCK_M + BLOCK_M - 1) // heads, seq - 1)
    k_first = max(earliest - w2 + 1, 0)

    acc = tl.zeros((BLOCK_M, HEAD_DIM), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    highest = tl.full((BLOCK_M,), -1e30, dtype=tl.float32)
    for start in tl.range(max(earliest - w1 + 1, 0), latest + 1, BLOCK_N):
        positions = start + tl.arange(0, BLOCK_N)
        at_tile = positions[:, None] * HEAD_DIM + dims[None, :]
        k = tl.load(k_ptr + at_tile, mask=positions[:, None] <= latest, other=0.0)
        v = tl.load(v_ptr + at_tile, mask=positions[:, None] <= latest, other=0.0)
        if ONE_QUERY and start + BLOCK_N <= latest + 1:
            acc, total, highest = attend(
                acc, total, highest, q, k.T, v, k2_ptr, v2_ptr, k_first, latest + 1,
                queries, positions, w1, w2, scale, False, HEAD_DIM,
            )  # fmt: skip
        else:
            acc, total, highest = attend(
                acc, total, highest, q, k.T, v, k2_ptr, v2_ptr, k_first, latest + 1,
                queries, positions, w1, w2, scale, True, HEAD_DIM,
            )  # fmt: skip

    out = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at_rows, out, mask=inside)


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
    grid = (triton.cdiv(seq * heads, BLOCK_M), batch)
    two_simplicial_attention_kernel[grid](
        q, k, k2, v, v2, out, seq, heads, w1, w2, math.log2(math.e) / math.sqrt(head_dim),
        head_dim, BLOCK_M, BLOCK_N, heads % BLOCK_M == 0,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return out
