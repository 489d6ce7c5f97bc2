"""Grouped-query attention for Hopper: tiles by the copy engine, no mask below the diagonal.

Each program takes BLOCK_M queries of one head. Keys that all of its queries see come first and
need no mask; the tiles on the diagonal follow. Heads that share keys run together and find them in
L2. Softmax works in powers of two, so that the scale 1/sqrt(d) and the change of base are one
factor.
"""

import math

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

BLOCK_M = 128
BLOCK_N = 64
GROUP_HEADS = 8
NUM_WARPS = 8
NUM_STAGES = 3


@triton.jit
def attend(
    acc, total, highest, q, k_desc, v_desc, key_row, first, last, rows, scale,
    MASKED: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Folds keys first..last-1 into the running sums of a block of queries."""
    for start in tl.range(first, last, BLOCK_N):
        k = k_desc.load([key_row + start, 0])
        scores = tl.dot(q, k.T)
        if MASKED:
            cols = start + tl.arange(0, BLOCK_N)
            scores = tl.where(cols[None, :] <= rows[:, None], scores, float("-inf"))
        # Every query sees the first key of its first tile, so `highest` is finite from there on.
        new_highest = tl.maximum(highest, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - new_highest[:, None])
        shrink = tl.exp2(highest - new_highest)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None]
        v = v_desc.load([key_row + start, 0])
        acc = tl.dot(weights.to(v.dtype), v, acc)
        highest = new_highest
    return acc, total, highest


@triton.jit
def gqa_attention_kernel(
    q_desc, k_desc, v_desc, out_ptr, heads, group, seq, scale,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head; the descriptors see all heads as rows of one matrix."""
    # GROUP_HEADS heads run at a time, so that their keys and values stay in L2; within a group
    # the last queries, which see the most keys, start first and the short programs fill the end.
    blocks = tl.cdiv(seq, BLOCK_M)
    first_head = tl.program_id(0) // (GROUP_HEADS * blocks) * GROUP_HEADS
    width = min(heads - first_head, GROUP_HEADS)
    within = tl.program_id(0) % (GROUP_HEADS * blocks)
    head = first_head + within % width
    head_row, key_row = head * seq, head // group * seq
    row = (blocks - 1 - within // width) * BLOCK_M

    rows = row + tl.arange(0, BLOCK_M)
    q = q_desc.load([head_row + row, 0])
    acc = tl.zeros((BLOCK_M, HEAD_DIM), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    highest = tl.full((BLOCK_M,), float("-inf"), dtype=tl.float32)
    # Tiles that reach past the end of a head hold the next head's keys: the mask hides them.
    diagonal = row // BLOCK_N * BLOCK_N
    acc, total, highest = attend(
        acc, total, highest, q, k_desc, v_desc, key_row, 0, diagonal, rows, scale,
        False, BLOCK_N,
    )  # fmt: skip
    acc, total, highest = attend(
        acc, total, highest, q, k_desc, v_desc, key_row, diagonal, min(row + BLOCK_M, seq),
        rows, scale, True, BLOCK_N,
    )  # fmt: skip

    # By pointers: the copy engine would write padding rows over the next head.
    at_rows = (head_row + rows).to(tl.int64)[:, None] * HEAD_DIM + tl.arange(0, HEAD_DIM)[None, :]
    out = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at_rows, out, mask=rows[:, None] < seq)


def llama_gqa_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of (B, H, S, D) queries over (B, K, S, D) keys, D a power of two."""
    batch, heads, seq, head_dim = q.shape
    out = torch.empty_like(q)

    def tiles(x: torch.Tensor, rows: int) -> TensorDescriptor:
        return TensorDescriptor.from_tensor(x.view(-1, head_dim), [rows, head_dim])

    gqa_attention_kernel[(batch * heads * triton.cdiv(seq, BLOCK_M),)](
        tiles(q, BLOCK_M), tiles(k, BLOCK_N), tiles(v, BLOCK_N), out, batch * heads,
        heads // k.shape[1], seq,
        math.log2(math.e) / math.sqrt(head_dim), head_dim, BLOCK_M, BLOCK_N, GROUP_HEADS,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return out
