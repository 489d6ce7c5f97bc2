"""The gradients of causal attention, plainly: blocks of keys and of queries, every block masked."""

import math

import torch
import triton
import triton.language as tl


@triton.jit
def probabilities(q, k, lse, queries, keys, seq, scale):
    """p of a block of queries and a block of keys."""
    p = tl.exp(tl.dot(q, tl.trans(k)) * scale - lse[:, None])
    seen = (keys[None, :] <= queries[:, None]) & (queries[:, None] < seq)
    return tl.where(seen, p, 0.0)


@triton.jit
def load_rows(x_ptr, rows, seq, DIM: tl.constexpr):
    """Rows of one head."""
    at = rows[:, None] * DIM + tl.arange(0, DIM)[None, :]
    return tl.load(x_ptr + at, mask=rows[:, None] < seq, other=0.0)


@triton.jit
def store_rows(x_ptr, x, rows, seq, DIM: tl.constexpr):
    """Rows of one head."""
    at = rows[:, None] * DIM + tl.arange(0, DIM)[None, :]
    tl.store(x_ptr + at, x.to(x_ptr.dtype.element_ty), mask=rows[:, None] < seq)


@triton.jit
def queries_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, dout_ptr, dlse_ptr, dq_ptr, seq, scale,
    DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dq of BLOCK queries of one head."""
    head = tl.program_id(1).to(tl.int64) * seq
    queries = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    q = load_rows(q_ptr + head * DIM, queries, seq, DIM)
    dout = load_rows(dout_ptr + head * DIM, queries, seq, DIM)
    out = load_rows(out_ptr + head * DIM, queries, seq, DIM)
    lse = tl.load(lse_ptr + head + queries, mask=queries < seq, other=0.0)
    delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), axis=1)
    delta -= tl.load(dlse_ptr + head + queries, mask=queries < seq, other=0.0)
    dq = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    for start in range(0, (tl.program_id(0) + 1) * BLOCK, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        k = load_rows(k_ptr + head * DIM, keys, seq, DIM)
        v = load_rows(v_ptr + head * DIM, keys, seq, DIM)
        p = probabilities(q, k, lse, queries, keys, seq, scale)
        ds = p * (tl.dot(dout, tl.trans(v)) - delta[:, None])
        dq += tl.dot(ds.to(k.dtype), k)
    store_rows(dq_ptr + head * DIM, dq * scale, queries, seq, DIM)


@triton.jit
def keys_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, dout_ptr, dlse_ptr, dk_ptr, dv_ptr, seq, scale,
    DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dk and dv of BLOCK keys of one head."""
    head = tl.program_id(1).to(tl.int64) * seq
    keys = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = load_rows(k_ptr + head * DIM, keys, seq, DIM)
    v = load_rows(v_ptr + head * DIM, keys, seq, DIM)
    dk = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    dv = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    for start in range(tl.program_id(0) * BLOCK, seq, BLOCK):
        queries = start + tl.arange(0, BLOCK)
        q = load_rows(q_ptr + head * DIM, queries, seq, DIM)
        dout = load_rows(dout_ptr + head * DIM, queries, seq, DIM)
        out = load_rows(out_ptr + head * DIM, queries, seq, DIM)
        lse = tl.load(lse_ptr + head + queries, mask=queries < seq, other=0.0)
        delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), axis=1)
        delta -= tl.load(dlse_ptr + head + queries, mask=queries < seq, other=0.0)
        p = probabilities(q, k, lse, queries, keys, seq, scale)
        ds = p * (tl.dot(dout, tl.trans(v)) - delta[:, None])
        dv += tl.dot(tl.trans(p.to(dout.dtype)), dout)
        dk += tl.dot(tl.trans(ds.to(q.dtype)), q)
    store_rows(dk_ptr + head * DIM, dk * scale, keys, seq, DIM)
    store_rows(dv_ptr + head * DIM, dv, keys, seq, DIM)


def causal_attention_backward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor, lse: torch.Tensor,
    dout: torch.Tensor, dlse: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """dq, dk and dv of causal attention over contiguous (B, H, S, D), D a power of two."""
    batch, heads, seq, dim = q.shape
    scale = 1 / math.sqrt(dim)
    dq, dk, dv = torch.empty_like(q), torch.empty_like(q), torch.empty_like(q)
    grid = (triton.cdiv(seq, 32), batch * heads)
    queries_kernel[grid](q, k, v, out, lse, dout, dlse, dq, seq, scale, DIM=dim, BLOCK=32)
    keys_kernel[grid](q, k, v, out, lse, dout, dlse, dk, dv, seq, scale, DIM=dim, BLOCK=32)
    return dq, dk, dv
