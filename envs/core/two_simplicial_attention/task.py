"""2-simplicial attention: every query attends to pairs of keys from two sliding windows.

Source: Roy et al., "Fast and Simplex: 2-Simplicial Attention in Triton", arXiv 2507.02754.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers

if TYPE_CHECKING:
    import torch

PAIRS_AT_ONCE = 1 << 26
"""Scores that the reference holds at a time: half a gigabyte in float64."""


def window(x: torch.Tensor, first: int, last: int, width: int) -> torch.Tensor:
    """Rows i-width+1..i of (B, S, 1, D) for each query i in first..last-1: (B, Q, width, D).

    Rows before the start are copies of row 0, for the caller to mask.
    """
    import torch

    queries = torch.arange(first, last, device=x.device)
    rows = queries[:, None] + torch.arange(1 - width, 1, device=x.device)
    return x[:, rows.clamp(min=0), 0]


def attend(q: torch.Tensor, windows: list[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
    """Attention of queries (B, Q, H, D) at `positions` (Q) over their windows (B, Q, w, D)."""
    import torch

    k, k2, v, v2 = windows
    w1, w2 = k.shape[2], k2.shape[2]
    pairs = q[:, :, :, None, :] * k2[:, :, None, :, :]  # (B, Q, H, w2, D)
    exact = torch.float64 if q.dtype == torch.float64 else torch.float32
    # Not rounded to the dtype: (B, Q, H·w2, w1).
    scores = pairs.flatten(2, 3).to(exact) @ k.to(exact).mT * q.shape[-1] ** -0.5
    # Column j of a window of width w is position i - w + 1 + j, which must not be negative.
    j = positions[:, None] - (w1 - 1) + torch.arange(w1, device=q.device)
    k_ = positions[:, None] - (w2 - 1) + torch.arange(w2, device=q.device)
    valid = (k_[:, :, None] >= 0) & (j[:, None, :] >= 0)  # (Q, w2, w1)
    scores = scores.unflatten(2, (q.shape[2], w2)).masked_fill_(~valid[:, None], float("-inf"))
    weights = scores.flatten(3).softmax(-1, dtype=exact).to(q.dtype)  # over both windows at once
    sums = weights.view(*q.shape[:2], -1, w1) @ v  # (B, Q, H·w2, D)
    pairs = sums.unflatten(2, (q.shape[2], w2)).to(exact) * v2[:, :, None].to(exact)
    return pairs.sum(3).to(q.dtype)


def reference(
    q: torch.Tensor,
    k: torch.Tensor,
    k2: torch.Tensor,
    v: torch.Tensor,
    v2: torch.Tensor,
    w1: int,
    w2: int,
) -> torch.Tensor:
    """o_i = Σ_jk softmax_jk(Σ_l q_il k_jl k2_kl / √d) (v_j ∘ v2_k) over the windows of i.

    Works through the queries in chunks and gathers their windows, so that time and memory grow
    with S·w1·w2 and with a chunk's share of it.
    """
    import torch

    batch, seq, heads, _ = q.shape
    chunk = max(1, PAIRS_AT_ONCE // (batch * heads * w1 * w2))
    out = torch.empty_like(q)
    for first in range(0, seq, chunk):
        last = min(first + chunk, seq)
        windows = [window(x, first, last, w) for x, w in ((k, w1), (k2, w2), (v, w1), (v2, w2))]
        positions = torch.arange(first, last, device=q.device)
        out[:, first:last] = attend(q[:, first:last], windows, positions)
    return out


def part(
    ranges: Any, cast: Any, q: torch.Tensor, k: torch.Tensor, k2: torch.Tensor,
    v: torch.Tensor, v2: torch.Tensor, w1: int, w2: int,
) -> torch.Tensor:  # fmt: skip
    """Some heads of some queries."""
    import torch

    batch, rows, heads, _ = ranges
    windows = [
        cast(window(x[batch], rows.start, rows.stop, w))
        for x, w in ((k, w1), (k2, w2), (v, w1), (v2, w2))
    ]
    positions = torch.arange(rows.start, rows.stop, device=q.device)
    return attend(cast(q[batch, rows, heads]), windows, positions)


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """Queries of 1.5 times the usual size: scores have a standard deviation of 1.5.

    So softmax picks out a few dozen of the w1·w2 pairs instead of averaging all to nothing.
    In bfloat16 the values are so large that their sums leave float16's range, in which nobody is
    to add.
    """
    import torch

    batch, seq, heads, dim = (case[name] for name in ("batch", "seq", "heads", "head_dim"))

    def normal(heads: int, scale: float = 1.0) -> torch.Tensor:
        shape = (batch, seq, heads, dim)
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        return (drawn * scale).to(case.torch_dtype)

    v = normal(1, 32768.0 if case.dtype == "bfloat16" else 1.0)
    return normal(heads, 1.5), normal(1), normal(1), v, normal(1), case["w1"], case["w2"]


def flops(case: Case) -> float:
    """6·S·w1·w2 per head and dimension, as the paper counts (its section 7).

    Two products of three factors and their sums for each pair; 4/6 of it can run on the matrix
    units. The windows cut off at the start of the sequence are counted as full, as there.
    """
    pairs = case["batch"] * case["seq"] * case["w1"] * case["w2"]
    return 6.0 * pairs * case["heads"] * case["head_dim"]


def min_bytes(case: Case) -> float:
    """q read and the output written once, with the one head of k, k2, v and v2."""
    rows = case["batch"] * case["seq"] * (2 * case["heads"] + 4)
    return float(case.torch_dtype.itemsize * rows * case["head_dim"])


def sizes(batch: int, seq: int, heads: int, head_dim: int, w1: int, w2: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {
        "batch": batch, "seq": seq, "heads": heads, "head_dim": head_dim, "w1": w1, "w2": w2,
    }  # fmt: skip


TASK = Task(
    name="two_simplicial_attention",
    title="2-simplicial attention",
    statement=(
        "Compute 2-simplicial attention: query i attends to pairs (j, k) of positions with "
        "i-w1 < j <= i and i-w2 < k <= i (and j, k >= 0). Per batch and head the score of a pair "
        "is A_ijk = sum_l q_il * k_jl * k2_kl / sqrt(head_dim), the weights S_ijk are the softmax "
        "of A_ijk jointly over all pairs of query i, and out_i = sum_jk S_ijk * (v_j * v2_k) "
        "elementwise. q and the returned out are [batch, seq, heads, head_dim]; k, k2, v and v2 "
        "are [batch, seq, 1, head_dim], one head shared by all heads of q; all contiguous, in "
        "bfloat16 or float16. w1 and w2 are Python ints of 1 or more and may exceed seq. The "
        "softmax and all sums are to be kept in float32. head_dim is 16, 32, 64 or 128."
    ),
    entry=Entry("two_simplicial_attention", ("q", "k", "k2", "v", "v2", "w1", "w2")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(1, 19, 3, 16, 7, 3)),
        Case("bfloat16", sizes(1, 11, 2, 32, 20, 4)),
        Case("float16", sizes(2, 9, 1, 64, 4, 2)),
        # More heads and a wider window than the blocks that they are usually taken in.
        Case("float16", sizes(1, 37, 17, 16, 34, 2)),
    ),
    bench=(Case("bfloat16", sizes(1, 4096, 64, 128, 512, 32)),),
    untimed=(Case("bfloat16", sizes(1, 8192, 64, 128, 256, 16)),),
    spans={
        "batch": Span(low=1, high=2, tiny=1),
        "seq": Span(low=2, high=700, tiny=13),
        "heads": Span(low=1, high=64, tiny=3),
        "head_dim": Span(low=64, high=128, tiny=64, multiple=64),
        "w1": Span(low=1, high=200, tiny=12),
        "w2": Span(low=1, high=24, tiny=4),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: max(case["w1"] * case["w2"], case["head_dim"]),
    knobs={
        "BLOCK_M": (64, 128),
        "BLOCK_N": (32, 64, 128),
        "NUM_WARPS": (4, 8),
        "NUM_STAGES": (1, 2, 3),
    },
    unit=Unit.MATRIX,
    tags=("core", "attention"),
    **answers(__file__),
)
