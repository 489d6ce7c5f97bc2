"""The gradients of 2-simplicial attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch

PAIRS_AT_ONCE = 1 << 24
"""Pairs of keys, of all heads and queries, that are worked on at once."""


def window(x: torch.Tensor, first: int, last: int, width: int) -> torch.Tensor:
    """What queries first..last-1 see of one head's keys: (B, S, 1, D) to (B, Q, width, D).

    Beyond the start of the sequence there are zeros.
    """
    import torch

    padded = torch.nn.functional.pad(x[:, :last, 0], (0, 0, width - 1, 0))
    index = torch.arange(first, last, device=x.device)[:, None]
    return padded[:, index + torch.arange(width, device=x.device)]


class Chunk:
    """Some queries with their windows: scores, probabilities, and what follows from them."""

    def __init__(
        self, q: torch.Tensor, keys: tuple[torch.Tensor, ...], first: int, last: int,
        w1: int, w2: int,
    ) -> None:  # fmt: skip
        import torch

        widths = w1, w2, w1, w2
        self.q = q[:, first:last]
        self.k, self.k2, self.v, self.v2 = (
            window(x, first, last, w) for x, w in zip(keys, widths, strict=True)
        )
        self.wide = torch.float64 if q.dtype == torch.float64 else torch.float32
        self.scale = 1 / math.sqrt(q.shape[-1])
        # (B, Q, H, w2, D), and as (B, Q, H·w2, D) for products over the first window.
        self.q_k2 = self.q[:, :, :, None] * self.k2[:, :, None]
        scores = self.product(self.q_k2, self.k) * self.scale
        index = torch.arange(first, last, device=q.device)[:, None]
        seen1 = index - (w1 - 1) + torch.arange(w1, device=q.device) >= 0
        seen2 = index - (w2 - 1) + torch.arange(w2, device=q.device) >= 0
        seen = seen2[:, :, None] & seen1[:, None, :]  # (Q, w2, w1)
        scores = scores.unflatten(2, (q.shape[2], w2))
        self.scores = scores.masked_fill(~seen[:, None], -math.inf)  # (B, Q, H, w2, w1)

    def product(self, pairs: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Scalar products, not rounded to the dtype: (B, Q, H·w2, w1)."""
        return pairs.flatten(2, 3).to(self.wide) @ keys.to(self.wide).mT

    def weighted(self, x: torch.Tensor, weights: torch.Tensor, axis: int) -> torch.Tensor:
        """A weighted sum, not rounded before its end."""
        return (x.to(self.wide) * weights.to(self.wide)).sum(dim=axis).to(x.dtype)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, (B, Q, H, D), and the logarithms of the sums, (B, Q, H)."""
        import torch

        flat = self.scores.flatten(3)
        lse = torch.logsumexp(flat, dim=-1)
        p = (flat - lse[..., None]).exp().unflatten(3, self.scores.shape[3:]).to(self.q.dtype)
        sums = (p.flatten(2, 3) @ self.v).unflatten(2, self.scores.shape[2:4])
        return self.weighted(sums, self.v2[:, :, None], 3), lse

    def backward(
        self, out: torch.Tensor, lse: torch.Tensor, dout: torch.Tensor, dlse: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """dq, and what each window adds to dk, dk2, dv and dv2."""
        heads_and_second = self.scores.shape[2:4]
        dout_v2 = dout[:, :, :, None] * self.v2[:, :, None]
        p = (self.scores - lse.to(self.wide)[..., None, None]).exp()
        dp = self.product(dout_v2, self.v).unflatten(2, heads_and_second)
        delta = (out.to(self.wide) * dout.to(self.wide)).sum(dim=-1) - dlse.to(self.wide)
        ds = (p * (dp - delta[..., None, None]) * self.scale).to(self.q.dtype).flatten(2, 3)
        p = p.to(self.q.dtype).flatten(2, 3)
        along = (ds @ self.k).unflatten(2, heads_and_second)  # (B, Q, H, w2, D)
        valued = (p @ self.v).unflatten(2, heads_and_second)
        return (
            self.weighted(along, self.k2[:, :, None], 3),
            ds.mT @ self.q_k2.flatten(2, 3),
            self.weighted(along, self.q[:, :, :, None], 2),
            p.mT @ dout_v2.flatten(2, 3),
            self.weighted(valued, dout[:, :, :, None], 2),
        )


def chunks(q: torch.Tensor, w1: int, w2: int) -> list[tuple[int, int]]:
    """First and last query of what is worked on at once."""
    step = max(1, PAIRS_AT_ONCE // (q.shape[0] * q.shape[2] * w1 * w2))
    return [(first, min(first + step, q.shape[1])) for first in range(0, q.shape[1], step)]


def reference(
    q: torch.Tensor, k: torch.Tensor, k2: torch.Tensor, v: torch.Tensor, v2: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, dout: torch.Tensor, dlse: torch.Tensor, w1: int, w2: int,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """dq, dk, dk2, dv and dv2 of 2-simplicial attention.

    Source: the chain rule for the attention of "Fast and Simplex: 2-Simplicial Attention in
    Triton" (Roy et al., arXiv 2507.02754), with probabilities from the kept logarithms.
    """
    import torch

    widths = w1, w2, w1, w2
    dq = torch.empty_like(q)
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    # Before the start of a sequence there is room for what its first windows leave there.
    sums = [
        torch.zeros((q.shape[0], q.shape[1] + w - 1, q.shape[3]), dtype=wide, device=q.device)
        for w in widths
    ]
    for first, last in chunks(q, w1, w2):
        chunk = Chunk(q, (k, k2, v, v2), first, last, w1, w2)
        some = slice(first, last)
        dq[:, some], *windows = chunk.backward(*(x[:, some] for x in (out, lse, dout, dlse)))
        for total, one, w in zip(sums, windows, widths, strict=True):
            index = torch.arange(first, last, device=q.device)[:, None]
            index = (index + torch.arange(w, device=q.device)).flatten()
            total.index_add_(1, index, one.flatten(1, 2).to(wide))
    return dq, *(total[:, w - 1 :, None].to(q.dtype) for total, w in zip(sums, widths, strict=True))


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """The forward pass of inputs like its own, and a gradient that is no noise around zero.

    The gradient with respect to the logarithms keeps dq of the first queries, which see few pairs,
    from being what is left of two equal numbers.
    """
    import torch

    draw = Draw(generator)
    batch, seq, heads, dim = (case[name] for name in ("batch", "seq", "heads", "head_dim"))
    w1, w2 = case["w1"], case["w2"]

    def normal(count: int, scale: float = 1.0) -> torch.Tensor:
        return draw.normal(batch, seq, count, dim, scale=scale).to(case.torch_dtype)

    q, keys = normal(heads), tuple(normal(1) for _ in range(4))
    out, lse = torch.empty_like(q), torch.empty(q.shape[:3], device=q.device)
    for first, last in chunks(q, w1, w2):
        chunk = Chunk(q.float(), tuple(x.float() for x in keys), first, last, w1, w2)
        found, logarithms = chunk.forward()
        out[:, first:last], lse[:, first:last] = found.to(q.dtype), logarithms
    dout = (normal(heads) + 0.5 * keys[2]).to(q.dtype)
    dlse = draw.signs(*lse.shape) * draw.uniform(0.5, 1.5, *lse.shape) * math.sqrt(dim)
    return q, *keys, out, lse, dout, dlse, w1, w2


def flops(case: Case) -> float:
    """Two and a half times the forward pass's 6·S·w1·w2 per head and dimension, as the paper counts
    that: five products in place of two."""
    pairs = case["batch"] * case["seq"] * case["w1"] * case["w2"]
    return 15.0 * pairs * case["heads"] * case["head_dim"]


def min_bytes(case: Case) -> float:
    """q, out and dout with one head of k, k2, v and v2 read; the gradients written once."""
    rows = case["batch"] * case["seq"]
    elements = rows * (4 * case["heads"] + 8) * case["head_dim"]
    return float(case.torch_dtype.itemsize * elements + 8 * rows * case["heads"])


def sizes(batch: int, seq: int, heads: int, head_dim: int, w1: int, w2: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {
        "batch": batch, "seq": seq, "heads": heads, "head_dim": head_dim, "w1": w1, "w2": w2,
    }  # fmt: skip


TASK = Task(
    name="two_simplicial_attention_backward",
    title="Gradients of 2-simplicial attention",
    statement=(
        "Compute the gradients of 2-simplicial attention, where query i sees pairs (j, k) with "
        "i-w1 < j <= i and i-w2 < k <= i (and j, k >= 0): A_ijk = sum_l q_il * k_jl * k2_kl / "
        "sqrt(head_dim), S = softmax of A_i over all pairs, out_i = sum_jk S_ijk * (v_j * v2_k). "
        "Given are also out, lse_i = log(sum_jk exp(A_ijk)), and the gradients dout and dlse with "
        "respect to both. With S_ijk = exp(A_ijk - lse_i), dS_ijk = sum_l dout_il * v_jl * v2_kl "
        "and dA_ijk = S_ijk * (dS_ijk - sum_l out_il * dout_il + dlse_i) / sqrt(head_dim): dq_i = "
        "sum_jk dA_ijk * (k_j * k2_k), dk_j = sum dA_ijk * (q_i * k2_k) and dk2_k = sum dA_ijk * "
        "(q_i * k_j), dv_j = sum S_ijk * (dout_i * v2_k) and dv2_k = sum S_ijk * (dout_i * v_j), "
        "the sums being over the other two indices and over all heads. Return (dq, dk, dk2, dv, "
        "dv2). q, out, dout and dq are [batch, seq, heads, head_dim]; k, k2, v, v2 and their "
        "gradients are [batch, seq, 1, head_dim], one head shared by all heads of q; all "
        "contiguous, in float16; lse and dlse are [batch, seq, heads] in float32. w1 and w2 are "
        "Python ints of 1 or more and may exceed seq. Sums are to be kept in float32. head_dim is "
        "16, 32, 64 or 128."
    ),
    entry=Entry(
        "two_simplicial_attention_backward",
        ("q", "k", "k2", "v", "v2", "out", "lse", "dout", "dlse", "w1", "w2"),
    ),
    reference=reference,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(1, 13, 3, 16, 5, 3)),
        Case("float16", sizes(1, 9, 2, 32, 12, 4)),
        Case("float16", sizes(2, 7, 1, 64, 4, 2)),
        # More heads and a wider window than the blocks that they are usually taken in.
        Case("float16", sizes(1, 19, 17, 16, 18, 2)),
    ),
    bench=(
        Case("float16", sizes(1, 2048, 64, 128, 64, 8)),
        Case("float16", sizes(1, 1024, 64, 128, 128, 16)),
    ),
    spans={
        "batch": Span(low=1, high=2, tiny=1),
        "seq": Span(low=2, high=300, tiny=9),
        "heads": Span(low=1, high=48, tiny=3),
        "head_dim": Span(low=64, high=128, tiny=64, multiple=64),
        "w1": Span(low=1, high=100, tiny=8),
        "w2": Span(low=1, high=20, tiny=4),
    },
    flops=flops,
    min_bytes=min_bytes,
    # What one key gets is a sum over queries, heads and the other window.
    reduction=lambda case: case["heads"] * case["w1"] * case["w2"],
    knobs={
        "BLOCK_H": (16, 32, 64),
        "BLOCK_1": (32, 64, 128),
        "BLOCK_2": (16, 32),
        "NUM_WARPS": (2, 4, 8),
    },
    unit=Unit.MATRIX,
    tags=("backward", "attention"),
    **answers(__file__),
)
