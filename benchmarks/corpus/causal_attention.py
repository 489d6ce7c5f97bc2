"""Causal attention, which constants may be fitted to, and attention without a mask."""

import torch

from .entry import Family, Kernel, normal, problem

attention = torch.nn.functional.scaled_dot_product_attention


def attend_causal(q, k, v):
    """softmax(q k^T / sqrt(d)) v over (B, H, S, D), where query i sees keys 0 to i."""
    return attention(q, k, v, is_causal=True)


def attend_all(q, k, v):
    """softmax(q k^T / sqrt(d)) v over (B, H, S, D)."""
    return attention(q, k, v)


def attend_one(q, k, v):
    """The same for a single query of each head: decoding."""
    return attention(q, k, v)


def three(case, g):
    """Queries, keys and values."""
    shape = case["batch"], case["heads"], case["seq"], case["dim"]
    first = (*shape[:2], case.sizes.get("queries", case["seq"]), shape[3])
    return (normal(g, *first, scale=2.0).to(case.torch_dtype),
            *(normal(g, *shape).to(case.torch_dtype) for _ in range(2)))  # fmt: skip


def part_causal(ranges, cast, q, k, v):
    """Some queries of some heads."""
    batch, head, rows, _ = ranges
    seen = (batch, head, slice(0, rows.stop))
    at = torch.arange(rows.stop)
    return attention(cast(q[batch, head, rows]), cast(k[seen]), cast(v[seen]),
                     attn_mask=at <= at[rows, None])  # fmt: skip


def part_all(ranges, cast, q, k, v):
    """Some queries of some heads."""
    batch, head, rows, _ = ranges
    return attention(cast(q[batch, head, rows]), cast(k[batch, head]), cast(v[batch, head]))


def attention_problem(name, reference, part, bench, half=1.0, dtype="bfloat16", **more):
    """A task on attention; `half` of all pairs of positions count."""
    small = (
        {"batch": 1, "heads": 2, "seq": 64, "dim": 64},
        {"batch": 2, "heads": 1, "seq": 128, "dim": 64},
    )

    def queries(case):
        return case.sizes.get("queries", case["seq"])

    def flops(case):
        heads = case["batch"] * case["heads"]
        return 4.0 * half * heads * case["seq"] * queries(case) * case["dim"]

    def moved(case):
        return 4.0 * case["batch"] * case["heads"] * case["dim"] * (case["seq"] + queries(case))

    return problem(
        name,
        more.pop("parameters", "q k v"),
        reference,
        more.pop("inputs", three),
        tiny=more.pop("tiny", small),
        bench=bench,
        dtype=dtype,
        flops=flops,
        moved=moved,
        reduction=lambda case: case["seq"],
        part=part,
        matrix=True,
        **more,
    )


CAUSAL = attention_problem(
    "attend_causal",
    attend_causal,
    part_causal,
    {"batch": 2, "heads": 16, "seq": 4096, "dim": 128},
    0.5,
)
CAUSAL_64 = attention_problem(
    "attend_causal_64",
    attend_causal,
    part_causal,
    {"batch": 4, "heads": 32, "seq": 2048, "dim": 64},
    0.5,
    "float16",
)
ALL = attention_problem(
    "attend_all",
    attend_all,
    part_all,
    {"batch": 2, "heads": 16, "seq": 2048, "dim": 64},
    1.0,
    "float16",
)
ONE = attention_problem(
    "attend_one", attend_one, part_all,
    {"batch": 16, "heads": 16, "seq": 4096, "dim": 64, "queries": 1}, 1.0, "float16",
    tiny=({"batch": 1, "heads": 2, "seq": 128, "dim": 64, "queries": 1},
          {"batch": 2, "heads": 2, "seq": 256, "dim": 64, "queries": 1}),
)  # fmt: skip

FLASH = """
@triton.jit
def kernel(Q, K, V, O, S, scale, D: tl.constexpr):
    head = tl.program_id(1).to(tl.int64) * S * D
    block = ORDER
    m = block * _TM + tl.arange(0, _TM)
    d = tl.arange(0, D)
    q = tl.load(Q + head + m[:, None] * D + d[None, :], mask=m[:, None] < S, other=0.0)
    largest = tl.full((_TM,), -1e30, tl.float32)
    total = tl.zeros((_TM,), tl.float32)
    acc = tl.zeros((_TM, D), tl.float32)
    for start in range(0, LAST, _TN):
        n = start + tl.arange(0, _TN)
        k = tl.load(K + head + n[None, :] * D + d[:, None], mask=n[None, :] < S, other=0.0)
        s = tl.dot(q, k) * scale
        s = tl.where(SEEN, s, -1e30)
        more = tl.maximum(largest, tl.max(s, axis=1))
        p = tl.exp2(s - more[:, None])
        shrink = tl.exp2(largest - more)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None]
        v = tl.load(V + head + n[:, None] * D + d[None, :], mask=n[:, None] < S, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc)
        largest = more
    out = (acc / total[:, None]).to(O.dtype.element_ty)
    tl.store(O + head + m[:, None] * D + d[None, :], out, mask=m[:, None] < S)

def NAME(q, k, v):
    B, H, S, D = q.shape
    out = torch.empty_like(q)
    kernel[(triton.cdiv(S, TM), B * H)](
        q, k, v, out, S, 1.4426950408889634 / D ** 0.5, D, num_warps=WARPS, num_stages=STAGES)
    return out
"""


def flash(name, seen, last, order="tl.program_id(0)"):
    """Attention with the running softmax; which keys are seen, and where they end."""
    return (FLASH.replace("NAME", name).replace("SEEN", seen).replace("LAST", last)
            .replace("ORDER", order))  # fmt: skip


SEEN = "(n[None, :] <= m[:, None]) & (n[None, :] < S)"
UP_TO = "tl.minimum(S, (block + 1) * _TM)"
SIZES = {"TM": (128, 64), "TN": (64, 32, 128), "WARPS": (4, 8), "STAGES": (3, 2, 4)}

KERNELS = (
    Kernel("causal_plain", CAUSAL, flash("attend_causal", SEEN, UP_TO), SIZES, 8),
    Kernel("causal_heavy_first", CAUSAL,
           flash("attend_causal", SEEN, UP_TO, "tl.num_programs(0) - 1 - tl.program_id(0)"), SIZES, 6),
    Kernel("causal_masks_all", CAUSAL, flash("attend_causal", SEEN, "S"), SIZES, 3),
    Kernel("causal_two_loops", CAUSAL, """
@triton.jit
def attend(acc, total, largest, q, K, V, head, first, last, m, S, scale, D: tl.constexpr, MASKED: tl.constexpr):
    d = tl.arange(0, D)
    for start in tl.range(first, last, _TN):
        n = start + tl.arange(0, _TN)
        k = tl.load(K + head + n[None, :] * D + d[:, None])
        s = tl.dot(q, k) * scale
        if MASKED:
            s = tl.where(n[None, :] <= m[:, None], s, -1e30)
        more = tl.maximum(largest, tl.max(s, axis=1))
        p = tl.exp2(s - more[:, None])
        shrink = tl.exp2(largest - more)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None]
        v = tl.load(V + head + n[:, None] * D + d[None, :])
        acc = tl.dot(p.to(v.dtype), v, acc)
        largest = more
    return acc, total, largest

@triton.jit
def kernel(Q, K, V, O, S, scale, D: tl.constexpr):
    head = tl.program_id(1).to(tl.int64) * S * D
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    m = block * _TM + tl.arange(0, _TM)
    d = tl.arange(0, D)
    q = tl.load(Q + head + m[:, None] * D + d[None, :])
    largest = tl.full((_TM,), -1e30, tl.float32)
    total = tl.zeros((_TM,), tl.float32)
    acc = tl.zeros((_TM, D), tl.float32)
    acc, total, largest = attend(acc, total, largest, q, K, V, head, 0, block * _TM, m, S, scale, D, False)
    acc, total, largest = attend(acc, total, largest, q, K, V, head, block * _TM, (block + 1) * _TM, m, S, scale, D, True)
    tl.store(O + head + m[:, None] * D + d[None, :], (acc / total[:, None]).to(O.dtype.element_ty))

def attend_causal(q, k, v):
    B, H, S, D = q.shape
    out = torch.empty_like(q)
    kernel[(S // TM, B * H)](
        q, k, v, out, S, 1.4426950408889634 / D ** 0.5, D, num_warps=WARPS, num_stages=STAGES)
    return out
""", {"TM": (64,), "TN": (64, 32), "WARPS": (4, 8), "STAGES": (3, 2, 4)}, 6),
    Kernel("causal_64", CAUSAL_64, flash("attend_causal_64", SEEN, UP_TO), SIZES, 7),
    Kernel("all_plain", ALL, flash("attend_all", "n[None, :] < S", "S"), SIZES, 7),
    Kernel("one_query", ONE, """
@triton.jit
def kernel(Q, K, V, O, S, scale, D: tl.constexpr):
    head = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, D)[None, :]
    q = tl.load(Q + head * D + d).to(tl.float32) * scale
    largest = -1e30
    total = 0.0
    acc = tl.zeros((1, D), tl.float32)
    for start in range(0, S, _TN):
        n = start + tl.arange(0, _TN)[:, None]
        k = tl.load(K + head * S * D + n * D + d, mask=n < S, other=0.0).to(tl.float32)
        s = tl.where(n < S, tl.sum(q * k, axis=1)[:, None], -1e30)
        more = tl.maximum(largest, tl.max(s))
        p = tl.exp2(s - more)
        shrink = tl.exp2(largest - more)
        total = total * shrink + tl.sum(p)
        v = tl.load(V + head * S * D + n * D + d, mask=n < S, other=0.0).to(tl.float32)
        acc = acc * shrink + tl.sum(p * v, axis=0)[None, :]
        largest = more
    tl.store(O + head * D + d, (acc / total).to(O.dtype.element_ty))

def attend_one(q, k, v):
    B, H, S, D = k.shape
    out = torch.empty_like(q)
    kernel[(B * H,)](q, k, v, out, S, 1.4426950408889634 / D ** 0.5, D, num_warps=WARPS)
    return out
""", {"TN": (128, 32, 64, 256), "WARPS": (4, 1, 2, 8)}, 6),
)  # fmt: skip

FAMILY = Family("causal attention", True, KERNELS)
