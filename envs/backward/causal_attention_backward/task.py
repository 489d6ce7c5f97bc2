"""The gradients of causal attention, the harder half of flash attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...attention import heads_of
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor, lse: torch.Tensor,
    dout: torch.Tensor, dlse: torch.Tensor, seen: torch.Tensor,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """dq, dk and dv of some queries and some keys; `seen` says which query sees which key."""
    import torch

    exact = q.dtype == torch.float64
    wide = torch.float64 if exact else torch.float32
    scale = 1 / math.sqrt(q.shape[-1])
    # Scores and dp are not rounded to the dtype; p and ds are, as a factor of a matrix has to be.
    scores = q.to(wide) @ k.to(wide).mT * scale - lse.to(wide)[..., None]
    p = torch.where(seen, scores.exp(), 0.0)
    delta = (out.to(wide) * dout.to(wide)).sum(dim=-1, keepdim=True) - dlse.to(wide)[..., None]
    ds = (p * (dout.to(wide) @ v.to(wide).mT - delta) * scale).to(q.dtype)
    return ds @ k, ds.mT @ q, p.to(q.dtype).mT @ dout


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor, lse: torch.Tensor,
    dout: torch.Tensor, dlse: torch.Tensor,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """dq, dk and dv of softmax(q kᵀ / √d + causal mask) v.

    Source: Dao et al., "FlashAttention", arXiv 2205.14135, algorithm 4, without its tiles: the
    probabilities come from the scores and the kept logarithms of their sums.
    """
    import torch

    seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
    found = [torch.empty_like(x) for x in (q, k, v)]
    # A batch at a time, so that few (S, S) matrices exist at once.
    for batch in range(q.shape[0]):
        given = (x[batch] for x in (q, k, v, out, lse, dout, dlse))
        for result, one in zip(found, gradients(*given, seen), strict=True):
            result[batch] = one
    return tuple(found)


def part(
    ranges: Any, cast: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, dout: torch.Tensor, dlse: torch.Tensor,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Some rows of some heads: dq from the keys up to them, dk and dv from the queries after."""
    import torch

    batch, head, rows, _ = ranges
    first, last = slice(0, rows.stop), slice(rows.start, q.shape[2])
    positions = torch.arange(q.shape[2], device=q.device)

    def some(queries: slice, keys: slice) -> tuple[torch.Tensor, ...]:
        of_q = [cast(x[batch, head, queries]) for x in (q, out, lse, dout, dlse)]
        of_k = [cast(x[batch, head, keys]) for x in (k, v)]
        seen = positions[queries, None] >= positions[None, keys]
        return gradients(of_q[0], *of_k, *of_q[1:], seen)

    return some(rows, first)[0], *some(last, rows)[1:]


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """The forward pass of inputs like its own, and a gradient that is no noise around zero.

    The gradient with respect to the logarithms keeps dq of the first queries, which see few keys,
    from being what is left of two equal numbers.
    """
    import torch

    draw = Draw(generator)
    q, k, v = heads_of(case, draw, case["heads"], case["heads"])
    v = draw.normal(*v.shape).to(v.dtype)
    out, lse = torch.empty_like(q), torch.empty(q.shape[:3], device=q.device)
    seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
    for batch in range(q.shape[0]):
        for head in range(q.shape[1]):
            one, keys, values = (x[batch, head].float() for x in (q, k, v))
            scores = (one @ keys.t() / math.sqrt(q.shape[3])).masked_fill_(~seen, -math.inf)
            lse[batch, head] = torch.logsumexp(scores, dim=-1)
            out[batch, head] = (torch.softmax(scores, dim=-1) @ values).to(q.dtype)
    dout = draw.normal(*q.shape) + 0.5 * v.float()
    dlse = draw.signs(*lse.shape) * draw.uniform(0.5, 1.5, *lse.shape) * math.sqrt(q.shape[3])
    return q, k, v, out, lse, dout.to(q.dtype), dlse


def flops(case: Case) -> float:
    """Five matrix products of 2·S²·D per head, of which causality needs half."""
    return 5.0 * case["batch"] * case["heads"] * case["seq"] ** 2 * case["head_dim"]


def min_bytes(case: Case) -> float:
    """Five tensors and the logarithms read, three tensors written once."""
    rows = case["batch"] * case["heads"] * case["seq"]
    return rows * (8.0 * case.torch_dtype.itemsize * case["head_dim"] + 8.0)


def sizes(batch: int, heads: int, seq: int, head_dim: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"batch": batch, "heads": heads, "seq": seq, "head_dim": head_dim}


TASK = Task(
    name="causal_attention_backward",
    title="Gradients of causal attention",
    statement=(
        "Compute the gradients of causal attention out = softmax(q @ k^T / sqrt(head_dim)) @ v, "
        "where query i sees keys 0..i only. Given are q, k, v, the forward pass's out and lse[i] "
        "= log(sum_j exp(s_ij)) over the keys seen, with s = q @ k^T / sqrt(head_dim), and the "
        "gradients dout and dlse with respect to both. With p = exp(s - lse) on the keys seen and "
        "0 elsewhere, delta_i = sum(out_i * dout_i) - dlse_i and ds = p * (dout @ v^T - delta) / "
        "sqrt(head_dim): dq = ds @ k, dk = ds^T @ q, dv = p^T @ dout per batch and head; return "
        "(dq, dk, dv). All but lse and dlse are [batch, heads, seq, head_dim], contiguous, in "
        "bfloat16 or float16; lse and dlse are [batch, heads, seq] in float32. Sums are to be "
        "kept in float32. head_dim is 16, 32, 64 or 128; seq is any positive integer."
    ),
    entry=Entry("causal_attention_backward", ("q", "k", "v", "out", "lse", "dout", "dlse")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(1, 2, 19, 16)),
        Case("bfloat16", sizes(2, 1, 33, 32)),
        Case("float16", sizes(1, 1, 48, 64)),
        # Several blocks along every axis, whatever the blocks.
        Case("bfloat16", sizes(1, 3, 131, 16)),
    ),
    bench=(Case("bfloat16", sizes(2, 16, 2048, 128)),),
    untimed=(Case("bfloat16", sizes(4, 16, 4096, 128)),),
    spans={
        "batch": Span(low=1, high=3, tiny=1),
        "heads": Span(low=1, high=8, tiny=2),
        "seq": Span(low=2, high=1100, tiny=48),
        "head_dim": Span(low=64, high=128, tiny=64, multiple=64),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: max(case["seq"], case["head_dim"]),
    knobs={
        "BLOCK_KEYS": (64, 128),
        "BLOCK_QUERIES": (64, 128),
        "STEP": (32, 64),
        "NUM_WARPS": (4, 8),
        "NUM_STAGES": (2, 3, 4),
    },
    unit=Unit.MATRIX,
    tags=("backward", "attention"),
    **answers(__file__),
)
