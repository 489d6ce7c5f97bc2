"""Attention with a bias, with slopes, within a window, over few keys; its own gradient of values."""

import torch

from .causal_attention import attention_problem, flash, part_all, three
from .entry import Family, Kernel, normal

attention = torch.nn.functional.scaled_dot_product_attention
WINDOW = 512


def attend_window(q, k, v):
    """Causal attention over (B, H, S, D) to the last 512 keys."""
    at = torch.arange(q.shape[2], device=q.device)
    near = (at[None, :] <= at[:, None]) & (at[None, :] > at[:, None] - WINDOW)
    return attention(q, k, v, attn_mask=near)


def attend_slopes(q, k, v):
    """Causal attention whose scores fall with the distance: by 1 / (head + 2) for each step."""
    at = torch.arange(q.shape[2], device=q.device, dtype=q.dtype)
    head = torch.arange(q.shape[1], device=q.device, dtype=q.dtype)
    far = (at[None, :] - at[:, None])[None] / (head + 2)[:, None, None]
    return attention(q, k, v, attn_mask=far.masked_fill(far > 0, -torch.inf)[None])


def attend_cross(q, k, v):
    """softmax(q k^T / sqrt(d)) v over (B, H, S, D), with 256 keys for many queries."""
    return attention(q, k, v)


def attend_bias(q, k, v, bias):
    """Attention with a bias for each pair of positions, (H, S, S), added to the scores."""
    return attention(q, k, v, attn_mask=bias[None])


def window_part(ranges, cast, q, k, v):
    """Some queries of some heads."""
    batch, head, rows, _ = ranges
    at = torch.arange(q.shape[2])
    near = (at <= at[rows, None]) & (at > at[rows, None] - WINDOW)
    return attention(
        cast(q[batch, head, rows]), cast(k[batch, head]), cast(v[batch, head]), attn_mask=near
    )


def slopes_part(ranges, cast, q, k, v):
    """Some queries of some heads."""
    batch, head, rows, _ = ranges
    some = cast(q[batch, head, rows])
    at = torch.arange(q.shape[2], dtype=some.dtype)
    slope = torch.arange(q.shape[1], dtype=some.dtype)[head] + 2
    far = (at - at[rows, None])[None] / slope[:, None, None]
    far = far.masked_fill(far > 0, -torch.inf)[None].expand(some.shape[0], -1, -1, -1)
    return attention(some, cast(k[batch, head]), cast(v[batch, head]), attn_mask=far)


def bias_part(ranges, cast, q, k, v, bias):
    """Some queries of some heads."""
    batch, head, rows, _ = ranges
    return attention(cast(q[batch, head, rows]), cast(k[batch, head]), cast(v[batch, head]),
                     attn_mask=cast(bias[head, rows])[None])  # fmt: skip


WINDOWED = attention_problem(
    "attend_window",
    attend_window,
    window_part,
    {"batch": 2, "heads": 16, "seq": 4096, "dim": 64},
    0.11,
    "float16",
    tiny=(
        {"batch": 1, "heads": 2, "seq": 640, "dim": 64},
        {"batch": 2, "heads": 1, "seq": 128, "dim": 64},
    ),
)
SLOPES = attention_problem(
    "attend_slopes",
    attend_slopes,
    slopes_part,
    {"batch": 2, "heads": 16, "seq": 2048, "dim": 64},
    0.5,
    "float16",
)
BIAS = attention_problem(
    "attend_bias",
    attend_bias,
    bias_part,
    {"batch": 4, "heads": 8, "seq": 1024, "dim": 64},
    1.0,
    "float16",
    parameters="q k v bias",
    inputs=lambda case, g: (
        *three(case, g),
        normal(g, case["heads"], case["seq"], case["seq"]).half(),
    ),
)
CROSS = attention_problem(
    "attend_cross", attend_cross, part_all,
    {"batch": 8, "heads": 16, "seq": 256, "dim": 64, "queries": 4096}, 1.0, "float16",
    tiny=({"batch": 1, "heads": 2, "seq": 64, "dim": 64, "queries": 128},
          {"batch": 2, "heads": 1, "seq": 128, "dim": 64, "queries": 64}),
)  # fmt: skip

CAUSAL = "(n[None, :] <= m[:, None]) & (n[None, :] < S)"
UP_TO = "tl.minimum(S, (block + 1) * _TM)"
NEAR = CAUSAL + f" & (n[None, :] > m[:, None] - {WINDOW})"
SIZES = {"TM": (64, 128), "TN": (64, 32, 128), "WARPS": (4, 8), "STAGES": (2, 3)}
window = flash("attend_window", NEAR, UP_TO)
slopes = flash("attend_slopes", CAUSAL, UP_TO).replace(
    "        s = tl.where(", "        head_of = tl.program_id(1) % HEADS + 2\n"
    "        s += (n[None, :] - m[:, None]).to(tl.float32) * 1.4426950408889634 / head_of\n        s = tl.where("
).replace("D: tl.constexpr", "HEADS, D: tl.constexpr").replace("0.5, D,", "0.5, H, D,")  # fmt: skip
bias = flash("attend_bias", "n[None, :] < S", "S").replace(
    "        s = tl.where(", "        at = (tl.program_id(1) % HEADS * S + m[:, None]) * S + n[None, :]\n"
    "        s += tl.load(BIAS + at, mask=(m[:, None] < S) & (n[None, :] < S), other=0.0) * 1.4426950408889634\n"
    "        s = tl.where("
).replace("D: tl.constexpr", "BIAS, HEADS, D: tl.constexpr").replace("0.5, D,", "0.5, bias, H, D,").replace(
    "(q, k, v):", "(q, k, v, bias):")  # fmt: skip

KERNELS = (
    Kernel("window_from_start", WINDOWED, window, SIZES, 4),
    Kernel("window_skips", WINDOWED,
           window.replace("in range(0, ", f"in range(tl.maximum(0, block * _TM - {WINDOW} + 1) // _TN * _TN, "), SIZES, 8),
    Kernel("window_heavy_first", WINDOWED, window.replace(
        "in range(0, ", f"in range(tl.maximum(0, block * _TM - {WINDOW} + 1) // _TN * _TN, ").replace(
        "block = tl.program_id(0)", "block = tl.num_programs(0) - 1 - tl.program_id(0)"), SIZES, 5),
    Kernel("slopes_plain", SLOPES, slopes, SIZES, 7),
    Kernel("slopes_heavy_first", SLOPES, slopes.replace(
        "block = tl.program_id(0)", "block = tl.num_programs(0) - 1 - tl.program_id(0)"), SIZES, 5),
    Kernel("bias_plain", BIAS, bias, SIZES, 8),
    Kernel("cross_held", CROSS, """
@triton.jit
def kernel(Q, K, V, O, S, T, scale, D: tl.constexpr):
    head = tl.program_id(1).to(tl.int64)
    m = tl.program_id(0) * _TM + tl.arange(0, _TM)
    d = tl.arange(0, D)
    q = tl.load(Q + head * T * D + m[:, None] * D + d[None, :], mask=m[:, None] < T, other=0.0)
    total = tl.zeros((_TM,), tl.float32)
    largest = tl.full((_TM,), -1e30, tl.float32)
    acc = tl.zeros((_TM, D), tl.float32)
    for start in range(0, S, _TN):
        n = start + tl.arange(0, _TN)
        k = tl.load(K + head * S * D + n[None, :] * D + d[:, None])
        s = tl.dot(q, k) * scale
        more = tl.maximum(largest, tl.max(s, axis=1))
        p = tl.exp2(s - more[:, None])
        shrink = tl.exp2(largest - more)
        total = total * shrink + tl.sum(p, axis=1)
        v = tl.load(V + head * S * D + n[:, None] * D + d[None, :])
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None])
        largest = more
    out = (acc / total[:, None]).to(O.dtype.element_ty)
    tl.store(O + head * T * D + m[:, None] * D + d[None, :], out, mask=m[:, None] < T)

def attend_cross(q, k, v):
    B, H, T, D = q.shape
    S = k.shape[2]
    out = torch.empty_like(q)
    kernel[(triton.cdiv(T, TM), B * H)](
        q, k, v, out, S, T, 1.4426950408889634 / D ** 0.5, D, num_warps=WARPS, num_stages=STAGES)
    return out
""", {"TM": (64, 128, 32), "TN": (64, 32), "WARPS": (4, 8), "STAGES": (2, 3)}, 6),
)  # fmt: skip

FAMILY = Family("attention with bias or windows", False, KERNELS)
