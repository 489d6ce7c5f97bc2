# mypy: ignore-errors
"""Scaled dot-product attention, with an optional mask or bias, grouped heads, and causal or not."""

import torch
import triton
import triton.language as tl


@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, out_ptr, heads, group, rows, cols, scale,
    q_batch, q_head, q_row, q_col, k_batch, k_head, k_row, k_col, v_batch, v_head, v_row, v_col,
    bias_batch, bias_head, bias_row, bias_col, out_batch, out_head, out_row, out_col,
    depth, value_depth,
    BIAS: tl.constexpr, BOOLEAN: tl.constexpr, CAUSAL: tl.constexpr, EVEN: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr,
    DEPTH: tl.constexpr, VALUE_DEPTH: tl.constexpr,
):  # fmt: skip
    """BLOCK_ROWS queries of a head against all keys, with a running maximum and sum.

    `scale` holds a factor log2(e): exponentials are of base two. EVEN: blocks hold the sizes
    without a rest, so that nothing is masked for its place.
    """
    # Batches of a head side by side: they may share a bias, which is larger than all the rest.
    batches = tl.num_programs(1) // heads
    batch = (tl.program_id(1) % batches).to(tl.int64)
    head = (tl.program_id(1) // batches).to(tl.int64)
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inner = tl.arange(0, DEPTH)
    wide = tl.arange(0, VALUE_DEPTH)
    q_ptrs = q_ptr + batch * q_batch + head * q_head + row[:, None].to(tl.int64) * q_row
    q_ptrs += inner[None, :] * q_col
    if EVEN:
        q = tl.load(q_ptrs)
    else:
        q = tl.load(q_ptrs, mask=(row[:, None] < rows) & (inner[None, :] < depth), other=0.0)
    k_base = k_ptr + batch * k_batch + head // group * k_head
    v_base = v_ptr + batch * v_batch + head // group * v_head
    bias_base = bias_ptr + batch * bias_batch + head * bias_head
    best = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    acc = tl.zeros((BLOCK_ROWS, VALUE_DEPTH), tl.float32)
    end = cols
    if CAUSAL:
        end = min(cols, (tl.program_id(0) + 1) * BLOCK_ROWS)
    for start in range(0, end, BLOCK_COLS):
        col = start + tl.arange(0, BLOCK_COLS)
        k_ptrs = k_base + col[None, :].to(tl.int64) * k_row + inner[:, None] * k_col
        v_ptrs = v_base + col[:, None].to(tl.int64) * v_row + wide[None, :] * v_col
        if EVEN:
            k = tl.load(k_ptrs)
        else:
            k = tl.load(k_ptrs, mask=(col[None, :] < cols) & (inner[:, None] < depth), other=0.0)
        scores = tl.dot(q, k, input_precision=PRECISION) * scale
        allowed = (row[:, None] < rows) & (col[None, :] < cols)
        if CAUSAL:
            allowed = allowed & (col[None, :] <= row[:, None])
        if BIAS:
            at = bias_base + row[:, None].to(tl.int64) * bias_row + col[None, :] * bias_col
            bias = tl.load(at) if EVEN else tl.load(at, mask=allowed, other=0)
            if BOOLEAN:
                allowed = allowed & (bias != 0)
            else:
                scores += bias.to(tl.float32) * 1.4426950408889634
        if CAUSAL or BOOLEAN or not EVEN:
            scores = tl.where(allowed, scores, float("-inf"))
        newest = tl.maximum(best, tl.max(scores, axis=1))
        # A row with nothing allowed so far has a maximum of -inf: its weights are zero.
        safe = tl.where(newest == float("-inf"), 0.0, newest)
        weights = tl.exp2(scores - safe[:, None])
        fade = tl.exp2(best - safe)
        if EVEN:
            v = tl.load(v_ptrs)
        else:
            v = tl.load(
                v_ptrs, mask=(col[:, None] < cols) & (wide[None, :] < value_depth), other=0.0
            )
        acc = tl.dot(weights.to(v.dtype), v, acc * fade[:, None], input_precision=PRECISION)
        total = total * fade + tl.sum(weights, axis=1)
        best = newest
    acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(
        out_ptr + batch * out_batch + head * out_head + row[:, None].to(tl.int64) * out_row
        + wide[None, :] * out_col,
        acc.to(out_ptr.dtype.element_ty),
        mask=(row[:, None] < rows) & (wide[None, :] < value_depth),
    )  # fmt: skip


ATTENTION_BLOCK_ROWS = 128
ATTENTION_BLOCK_COLS = 64
ATTENTION_NUM_WARPS = 8
ATTENTION_NUM_STAGES = 2


def attention(q, k, v, bias=None, causal=False, scale=None):
    """softmax(q kᵀ · scale + bias) v, of (batch, heads, rows, depth); keys may have fewer heads."""
    batches, heads, rows, depth = q.shape
    cols, value_depth = k.shape[-2], v.shape[-1]
    scale = depth**-0.5 if scale is None else scale
    out = torch.empty((batches, heads, rows, value_depth), dtype=q.dtype, device=q.device)
    wide = q.dtype == torch.float32
    # Values of 32 bits take twice the room, and products of three parts more registers.
    most = ATTENTION_BLOCK_ROWS // 4 if wide else ATTENTION_BLOCK_ROWS
    block_rows = max(16, min(most, 1 << (rows - 1).bit_length()))
    block_cols = max(16, ATTENTION_BLOCK_COLS // 2 if wide else ATTENTION_BLOCK_COLS)
    given = out if bias is None else bias.expand(batches, heads, rows, cols)
    padded, value_padded = (max(16, 1 << (one - 1).bit_length()) for one in (depth, value_depth))
    even = rows % block_rows == 0 and cols % block_cols == 0
    even = even and depth == padded and value_depth == value_padded
    attention_kernel[(-(-rows // block_rows), batches * heads)](
        q, k, v, given, out, heads, heads // k.shape[1], rows, cols, scale * 1.4426950408889634,
        *q.stride(), *k.stride(), *v.stride(), *given.stride(), *out.stride(),
        depth, value_depth,
        BIAS=bias is not None, BOOLEAN=bias is not None and bias.dtype == torch.bool,
        CAUSAL=causal, EVEN=even, PRECISION="tf32x3" if wide else "ieee",
        BLOCK_ROWS=block_rows, BLOCK_COLS=block_cols, DEPTH=padded, VALUE_DEPTH=value_padded,
        num_warps=ATTENTION_NUM_WARPS if block_rows >= 128 else max(1, ATTENTION_NUM_WARPS // 2),
        num_stages=ATTENTION_NUM_STAGES,
    )  # fmt: skip
    return out
