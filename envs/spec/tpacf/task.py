"""Two-point angular correlation: a histogram of the angles between all pairs of directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch

GRID = 2.0**-11
"""Coordinates are multiples of this, so that scalar products are exact in float32."""
ROWS_AT_ONCE = 1 << 25
"""Pairs that the reference works on at once."""


def reference(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Numbers of pairs i < j with edges[b] <= x_i·x_j < edges[b+1], for each bin b.

    Source: Landy and Szalay, "Bias and variance of angular correlation functions" (1993);
    Parboil's `tpacf`.
    """
    import torch

    n, bins = x.shape[1], edges.numel() - 1
    counts = torch.zeros(bins + 2, dtype=torch.int64, device=x.device)
    chunk = max(1, ROWS_AT_ONCE // n)
    later = torch.arange(n, device=x.device)
    for first in range(0, n, chunk):
        some = x[:, first : first + chunk]
        dot = sum(some[axis, :, None] * x[axis, None, :] for axis in range(3))
        bin = torch.bucketize(dot, edges, right=True)
        # What is no pair, or not twice, goes where nobody looks.
        bin = torch.where(later[None, :] > later[first : first + chunk, None], bin, 0)
        ones = torch.ones((), dtype=torch.int64, device=x.device).expand(bin.numel())
        counts.scatter_add_(0, bin.flatten(), ones)
    return counts[1 : bins + 1]


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Directions in clusters, so that small angles are frequent, and edges from -1 to 1.

    Directions are rounded to multiples of 2⁻¹¹. Edges are halfway between multiples of 2⁻²², which
    all scalar products are, and lie closer together near 1: no rounding moves a pair to another
    bin.
    """
    import torch

    draw = Draw(generator)
    n, bins = case["n"], case["bins"]
    middle = draw.normal(3, 1 + n // 50)
    x = middle[:, draw.integers(0, middle.shape[1], n)] + draw.normal(3, n, scale=0.4)
    x = (x / x.square().sum(dim=0).sqrt() / GRID).round() * GRID
    turn = torch.linspace(0.97, 0.0, bins + 1, device=x.device) ** 2
    edges = ((1.0 - 2.0 * turn) * 2.0**20).round() / 2.0**20 + 2.0**-23
    return x, edges


TASK = Task(
    name="tpacf",
    title="Two-point angular correlation",
    statement=(
        "Count pairs of directions by the cosine of the angle between them: counts[b] is the "
        "number of pairs i < j with edges[b] <= x_i . x_j < edges[b+1], for b from 0 to bins-1; "
        "pairs outside all bins are not counted. x is [3, n] (a row for each coordinate, nearly "
        "unit vectors) and edges is [bins+1], ascending, both contiguous, in float32. Coordinates "
        "are multiples of 2^-11 and edges are not multiples of 2^-22, so that counts are exact "
        "whatever the order of summation. Return counts of shape [bins] in int64."
    ),
    entry=Entry("tpacf", ("x", "edges")),
    reference=reference,
    inputs=inputs,
    exact=True,
    tiny=(
        Case("float32", {"n": 60, "bins": 9}),
        Case("float32", {"n": 17, "bins": 1}),
        Case("float32", {"n": 140, "bins": 5}),
        Case("float32", {"n": 33, "bins": 40}),
    ),
    bench=(Case("float32", {"n": 10240, "bins": 32}),),
    untimed=(Case("float32", {"n": 20480, "bins": 32}),),
    spans={"n": Span(low=16, high=3000, tiny=90), "bins": Span(low=1, high=60, tiny=12)},
    # Five for the product, and a comparison with half of the edges' logarithm at least.
    flops=lambda case: 6.0 * case["n"] * (case["n"] - 1) / 2,
    min_bytes=lambda case: 12.0 * case["n"] + 4.0 * (case["bins"] + 1) + 8.0 * case["bins"],
    reduction=lambda case: 3,
    knobs={
        "BLOCK_I": (16, 32, 64, 128),
        "BLOCK_J": (32, 64, 128, 256),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("spec", "pairs"),
    **answers(__file__),
)
