"""The gradients of causal attention for Hopper, after "FlashAttention-2" (Dao, arXiv 2307.08691).

Three launches: the sums delta; dk and dv, whose programs keep a block of keys and go through the
queries that see it; dq, whose programs keep a block of queries and go through the keys they see.
Probabilities are computed anew from the scores. Only blocks on the diagonal or at the end take a
mask. Softmax works in powers of two, so that the scale 1/sqrt(d) and the change of base are one
factor.
"""

import math

import torch
import triton
import triton.language as tl

BLOCK_KEYS = 128  # keys that a program of dk and dv keeps
BLOCK_QUERIES = 128  # queries that a program of dq keeps
STEP = 32  # queries or keys that it goes through at a time
NUM_WARPS = 8
NUM_STAGES = 2

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def delta_kernel(
    out_ptr, dout_ptr, dlse_ptr, delta_ptr, rows, DIM: tl.constexpr, BLOCK: tl.constexpr
):
    """delta_i = sum(out_i * dout_i) - dlse_i of BLOCK rows of all heads."""
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    at = row[:, None] * DIM + tl.arange(0, DIM)[None, :]
    out = tl.load(out_ptr + at, mask=row[:, None] < rows, other=0.0).to(tl.float32)
    dout = tl.load(dout_ptr + at, mask=row[:, None] < rows, other=0.0).to(tl.float32)
    dlse = tl.load(dlse_ptr + row, mask=row < rows, other=0.0)
    tl.store(delta_ptr + row, tl.sum(out * dout, axis=1) - dlse, mask=row < rows)


@triton.jit
def keys_step(
    dk, dv, k, v, q_ptr, dout_ptr, lse_ptr, delta_ptr, first, last, keys, seq, scale,
    MASKED: tl.constexpr, DIM: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Adds what queries first..last-1 give to the gradients of a block of keys."""
    dims = tl.arange(0, DIM)
    for start in tl.range(first, last, STEP):
        queries = start + tl.arange(0, STEP)
        at = queries[:, None] * DIM + dims[None, :]
        if MASKED:
            q = tl.load(q_ptr + at, mask=queries[:, None] < seq, other=0.0)
            dout = tl.load(dout_ptr + at, mask=queries[:, None] < seq, other=0.0)
            lse = tl.load(lse_ptr + queries, mask=queries < seq, other=0.0)
            delta = tl.load(delta_ptr + queries, mask=queries < seq, other=0.0)
        else:
            q, dout = tl.load(q_ptr + at), tl.load(dout_ptr + at)
            lse, delta = tl.load(lse_ptr + queries), tl.load(delta_ptr + queries)
        # Transposed, keys by queries, so that both sums take it as it is.
        p = tl.exp2(tl.dot(k, q.T) * (scale * LOG2_E) - (lse * LOG2_E)[None, :])
        if MASKED:
            seen = (queries[None, :] >= keys[:, None]) & (queries < seq)[None, :]
            p = tl.where(seen, p, 0.0)
        dv = tl.dot(p.to(dout.dtype), dout, dv)
        ds = p * (tl.dot(v, dout.T) - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk)
    return dk, dv


@triton.jit
def keys_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, seq, scale,
    DIM: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """dk and dv of BLOCK keys of one head."""
    head = tl.program_id(1).to(tl.int64) * seq
    q_ptr += head * DIM
    dout_ptr += head * DIM
    lse_ptr += head
    delta_ptr += head
    first = tl.program_id(0) * BLOCK
    keys = first + tl.arange(0, BLOCK)
    at = head * DIM + keys[:, None] * DIM + tl.arange(0, DIM)[None, :]
    k = tl.load(k_ptr + at, mask=keys[:, None] < seq, other=0.0)
    v = tl.load(v_ptr + at, mask=keys[:, None] < seq, other=0.0)
    dk = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    dv = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    # On the diagonal, then below it, then what is left at the end.
    below = min(first + BLOCK, seq)
    full = below + tl.maximum(seq - below, 0) // STEP * STEP
    dk, dv = keys_step(
        dk, dv, k, v, q_ptr, dout_ptr, lse_ptr, delta_ptr, first, below, keys, seq, scale,
        True, DIM, STEP,
    )  # fmt: skip
    dk, dv = keys_step(
        dk, dv, k, v, q_ptr, dout_ptr, lse_ptr, delta_ptr, below, full, keys, seq, scale,
        False, DIM, STEP,
    )  # fmt: skip
    dk, dv = keys_step(
        dk, dv, k, v, q_ptr, dout_ptr, lse_ptr, delta_ptr, full, seq, keys, seq, scale,
        True, DIM, STEP,
    )  # fmt: skip
    tl.store(dv_ptr + at, dv.to(dv_ptr.dtype.element_ty), mask=keys[:, None] < seq)
    tl.store(dk_ptr + at, (dk * scale).to(dk_ptr.dtype.element_ty), mask=keys[:, None] < seq)


@triton.jit
def queries_step(
    dq, q, dout, lse, delta, k_ptr, v_ptr, first, last, queries, seq, scale,
    MASKED: tl.constexpr, DIM: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Adds what keys first..last-1 give to the gradient of a block of queries."""
    dims = tl.arange(0, DIM)
    for start in tl.range(first, last, STEP):
        keys = start + tl.arange(0, STEP)
        at = keys[:, None] * DIM + dims[None, :]
        if MASKED:
            k = tl.load(k_ptr + at, mask=keys[:, None] < seq, other=0.0)
            v = tl.load(v_ptr + at, mask=keys[:, None] < seq, other=0.0)
        else:
            k, v = tl.load(k_ptr + at), tl.load(v_ptr + at)
        p = tl.exp2(tl.dot(q, k.T) * (scale * LOG2_E) - (lse * LOG2_E)[:, None])
        if MASKED:
            p = tl.where(keys[None, :] <= queries[:, None], p, 0.0)
        ds = p * (tl.dot(dout, v.T) - delta[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq)
    return dq


@triton.jit
def queries_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dq_ptr, seq, scale,
    DIM: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """dq of BLOCK queries of one head; the last, which see the most keys, start first."""
    head = tl.program_id(1).to(tl.int64) * seq
    k_ptr += head * DIM
    v_ptr += head * DIM
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK
    queries = first + tl.arange(0, BLOCK)
    inside = queries < seq
    at = head * DIM + queries[:, None] * DIM + tl.arange(0, DIM)[None, :]
    q = tl.load(q_ptr + at, mask=inside[:, None], other=0.0)
    dout = tl.load(dout_ptr + at, mask=inside[:, None], other=0.0)
    lse = tl.load(lse_ptr + head + queries, mask=inside, other=0.0)
    delta = tl.load(delta_ptr + head + queries, mask=inside, other=0.0)
    dq = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    dq = queries_step(
        dq, q, dout, lse, delta, k_ptr, v_ptr, 0, first, queries, seq, scale, False, DIM, STEP
    )
    dq = queries_step(
        dq, q, dout, lse, delta, k_ptr, v_ptr, first, min(first + BLOCK, seq), queries, seq, scale,
        True, DIM, STEP,
    )  # fmt: skip
    tl.store(dq_ptr + at, (dq * scale).to(dq_ptr.dtype.element_ty), mask=inside[:, None])


def causal_attention_backward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor, lse: torch.Tensor,
    dout: torch.Tensor, dlse: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """dq, dk and dv of causal attention over contiguous (B, H, S, D), D a power of two."""
    batch, heads, seq, dim = q.shape
    scale = 1 / math.sqrt(dim)
    delta = torch.empty_like(lse)
    dq, dk, dv = torch.empty_like(q), torch.empty_like(q), torch.empty_like(q)
    rows = batch * heads * seq
    delta_kernel[(triton.cdiv(rows, 64),)](out, dout, dlse, delta, rows, dim, 64)
    keys_kernel[(triton.cdiv(seq, BLOCK_KEYS), batch * heads)](
        q, k, v, dout, lse, delta, dk, dv, seq, scale, dim, BLOCK_KEYS, STEP,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    queries_kernel[(triton.cdiv(seq, BLOCK_QUERIES), batch * heads)](
        q, k, v, dout, lse, delta, dq, seq, scale, dim, BLOCK_QUERIES, STEP,
        num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    return dq, dk, dv
