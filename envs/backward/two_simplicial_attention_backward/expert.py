"""The gradients of 2-simplicial attention without atomics.

One head of keys serves all heads of the queries, so the rows of every product are heads: a program
of dq keeps one query's, and a program of dk and dv keeps a block of keys and goes through the
queries that see them, with all of their heads. k2 and v2 are multiplied into the operand that
changes anyway. The second window's gradients are the same computation with the windows exchanged.
Softmax works in powers of two.
"""

import math

import torch
import triton
import triton.language as tl

BLOCK_H = 16  # heads handled at once
BLOCK_1 = 64  # keys of the first window handled at once
BLOCK_2 = 32  # keys of the second window that a program keeps
NUM_WARPS = 4

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def delta_kernel(
    out_ptr, dout_ptr, dlse_ptr, delta_ptr, rows, DIM: tl.constexpr, BLOCK: tl.constexpr
):
    """sum(out * dout) - dlse of BLOCK (query, head) rows."""
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    at = row[:, None] * DIM + tl.arange(0, DIM)[None, :]
    out = tl.load(out_ptr + at, mask=row[:, None] < rows, other=0.0).to(tl.float32)
    dout = tl.load(dout_ptr + at, mask=row[:, None] < rows, other=0.0).to(tl.float32)
    dlse = tl.load(dlse_ptr + row, mask=row < rows, other=0.0)
    tl.store(delta_ptr + row, tl.sum(out * dout, axis=1) - dlse, mask=row < rows)


@triton.jit
def queries_kernel(
    q_ptr, k_ptr, k2_ptr, v_ptr, v2_ptr, lse_ptr, delta_ptr, dout_ptr, dq_ptr, seq, heads, w1, w2,
    scale, DIM: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dq of BLOCK_H heads of one query: all k of the second window for each tile of the first."""
    query = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    head = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)
    dims = tl.arange(0, DIM)
    row = (batch * seq + query) * heads + head
    at = row[:, None] * DIM + dims[None, :]
    inside = head < heads
    q = tl.load(q_ptr + at, mask=inside[:, None], other=0.0)
    dout = tl.load(dout_ptr + at, mask=inside[:, None], other=0.0)
    lse = tl.load(lse_ptr + row, mask=inside, other=0.0)
    delta = tl.load(delta_ptr + row, mask=inside, other=0.0)
    dq = tl.zeros((BLOCK_H, DIM), dtype=tl.float32)
    for start in range(max(0, query - w1 + 1), query + 1, BLOCK):
        first = start + tl.arange(0, BLOCK)
        at_first = (batch * seq + first)[:, None] * DIM + dims[None, :]
        seen = first <= query
        k = tl.load(k_ptr + at_first, mask=seen[:, None], other=0.0)
        v = tl.load(v_ptr + at_first, mask=seen[:, None], other=0.0)
        for second in range(max(0, query - w2 + 1), query + 1):
            at_second = (batch * seq + second) * DIM + dims
            k2 = tl.load(k2_ptr + at_second)
            v2 = tl.load(v2_ptr + at_second)
            p = tl.exp2(
                tl.dot(q * k2[None, :], tl.trans(k)) * (scale * LOG2_E) - (lse * LOG2_E)[:, None]
            )
            p = tl.where(seen[None, :], p, 0.0)
            ds = p * (tl.dot(dout * v2[None, :], tl.trans(v)) - delta[:, None])
            dq += tl.dot(ds.to(k.dtype), k) * k2[None, :].to(tl.float32)
    tl.store(dq_ptr + at, (dq * scale).to(dq_ptr.dtype.element_ty), mask=inside[:, None])


@triton.jit
def keys_kernel(
    q_ptr, k_ptr, k2_ptr, v_ptr, v2_ptr, lse_ptr, delta_ptr, dout_ptr, dk_ptr, dv_ptr, seq, heads,
    w1, w2, scale, DIM: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What BLOCK_H heads give to dk and dv of BLOCK keys of the first window.

    The two windows have like parts: with k and k2, v and v2, w1 and w2 exchanged it is dk2 and dv2.
    """
    start = tl.program_id(0) * BLOCK
    batch = tl.program_id(1).to(tl.int64)
    first = start + tl.arange(0, BLOCK)
    dims = tl.arange(0, DIM)
    at_first = (batch * seq + first)[:, None] * DIM + dims[None, :]
    k = tl.load(k_ptr + at_first, mask=first[:, None] < seq, other=0.0)
    v = tl.load(v_ptr + at_first, mask=first[:, None] < seq, other=0.0)
    head = tl.program_id(2) * BLOCK_H + tl.arange(0, BLOCK_H)
    inside = head < heads
    dk = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    dv = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    for query in range(start, min(start + BLOCK + w1 - 1, seq)):
        seen = (first <= query) & (first > query - w1)
        row = (batch * seq + query) * heads + head
        at = row[:, None] * DIM + dims[None, :]
        q = tl.load(q_ptr + at, mask=inside[:, None], other=0.0)
        dout = tl.load(dout_ptr + at, mask=inside[:, None], other=0.0)
        lse = tl.load(lse_ptr + row, mask=inside, other=0.0)
        delta = tl.load(delta_ptr + row, mask=inside, other=0.0)
        for second in range(max(0, query - w2 + 1), query + 1):
            at_second = (batch * seq + second) * DIM + dims
            q_k2 = q * tl.load(k2_ptr + at_second)[None, :]
            dout_v2 = dout * tl.load(v2_ptr + at_second)[None, :]
            # Transposed, keys by heads, so that both sums take it as it is.
            p = tl.exp2(tl.dot(k, tl.trans(q_k2)) * (scale * LOG2_E) - (lse * LOG2_E)[None, :])
            p = tl.where(seen[:, None] & inside[None, :], p, 0.0)
            ds = p * (tl.dot(v, tl.trans(dout_v2)) - delta[None, :])
            dv += tl.dot(p.to(v.dtype), dout_v2)
            dk += tl.dot(ds.to(k.dtype), q_k2)
    # A share of the sums over all heads.
    at = (tl.program_id(2) * tl.num_programs(1) * seq * DIM).to(tl.int64) + at_first
    tl.store(dk_ptr + at, dk * scale, mask=first[:, None] < seq)
    tl.store(dv_ptr + at, dv, mask=first[:, None] < seq)


@triton.jit
def sums_kernel(shares_ptr, out_ptr, count, size, BLOCK: tl.constexpr):
    """The sum of all shares."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for share in range(count):
        total += tl.load(shares_ptr + share * size + at, mask=at < size, other=0.0)
    tl.store(out_ptr + at, total.to(out_ptr.dtype.element_ty), mask=at < size)


def two_simplicial_attention_backward(
    q: torch.Tensor, k: torch.Tensor, k2: torch.Tensor, v: torch.Tensor, v2: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, dout: torch.Tensor, dlse: torch.Tensor, w1: int, w2: int,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """dq, dk, dk2, dv and dv2 of (B, S, H, D) queries over one (B, S, 1, D) head of keys."""
    batch, seq, heads, dim = q.shape
    scale = 1 / math.sqrt(dim)
    delta = torch.empty_like(lse)
    dq, dk, dk2 = torch.empty_like(q), torch.empty_like(k), torch.empty_like(k)
    dv, dv2 = torch.empty_like(k), torch.empty_like(k)
    rows = batch * seq * heads
    delta_kernel[(triton.cdiv(rows, 64),)](out, dout, dlse, delta, rows, dim, 64)
    block_h = min(BLOCK_H, max(16, triton.next_power_of_2(heads)))
    queries_kernel[(triton.cdiv(heads, block_h), seq, batch)](
        q,
        k,
        k2,
        v,
        v2,
        lse,
        delta,
        dout,
        dq,
        seq,
        heads,
        w1,
        w2,
        scale,
        dim,
        block_h,
        BLOCK_1,
        num_warps=NUM_WARPS,
    )
    groups = triton.cdiv(heads, block_h)
    shares = torch.empty((4, groups, *k.shape), device=k.device, dtype=torch.float32)
    keys_kernel[(triton.cdiv(seq, BLOCK_1), batch, groups)](
        q, k, k2, v, v2, lse, delta, dout, shares[0], shares[1], seq, heads, w1, w2, scale,
        dim, block_h, BLOCK_1, num_warps=NUM_WARPS,
    )  # fmt: skip
    keys_kernel[(triton.cdiv(seq, BLOCK_2), batch, groups)](
        q, k2, k, v2, v, lse, delta, dout, shares[2], shares[3], seq, heads, w2, w1, scale,
        dim, block_h, BLOCK_2, num_warps=NUM_WARPS,
    )  # fmt: skip
    for index, total in enumerate((dk, dv, dk2, dv2)):
        size = total.numel()
        sums_kernel[(triton.cdiv(size, 1024),)](shares[index], total, groups, size, 1024)
    return dq, dk, dk2, dv, dv2
