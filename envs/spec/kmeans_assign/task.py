"""Assignment of points to the nearest of some centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """argmin_c ‖x_i - centre_c‖² of every point, the first of equal ones: (f, n), (k, f) to (n,).

    Source: Lloyd, "Least squares quantization in PCM" (1982); Rodinia's `kmeans`.
    """
    # |x|² is the same for all centres and left out; integers are exact in any order.
    distance = (centres * centres).sum(dim=1)[:, None] - 2 * (centres @ x)
    return distance.argmin(dim=0)


def part(ranges: Any, cast: Any, x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Some points."""
    return reference(cast(x[:, ranges[0]]), cast(centres))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Points of whole numbers around centres of whole numbers.

    So all distances are exact in float32, and which is nearest does not depend on rounding. The
    last centre repeats the first: of the two the first is asked for.
    """
    import torch

    draw = Draw(generator)
    n, features, clusters = case["n"], case["features"], case["clusters"]
    centres = draw.integers(0, 64, clusters, features).float()
    own = draw.integers(0, clusters, n)
    x = centres[own].t() + draw.normal(features, n, scale=20.0).round()
    if clusters > 2:
        centres = torch.cat((centres[:-1], centres[:1]))
    return x.contiguous(), centres


TASK = Task(
    name="kmeans_assign",
    title="Assignment of k-means",
    statement=(
        "Find for every point the nearest centre: out[i] is the smallest c with ||x_i - "
        "centres_c||^2 = min over all centres. x is [features, n] (a row for each feature, so that "
        "point i is x[:, i]) and centres is [clusters, features], both contiguous, in float32, "
        "with whole numbers below 2^8 in size, so that distances are exact. Return out of shape "
        "[n] in int64. clusters is at most 64, features at most 64."
    ),
    entry=Entry("kmeans_assign", ("x", "centres")),
    reference=reference,
    part=part,
    inputs=inputs,
    exact=True,
    tiny=(
        Case("float32", {"n": 150, "features": 5, "clusters": 4}),
        Case("float32", {"n": 33, "features": 34, "clusters": 3}),
        Case("float32", {"n": 17, "features": 1, "clusters": 2}),
        Case("float32", {"n": 1100, "features": 3, "clusters": 21}),
    ),
    bench=(Case("float32", {"n": 494020, "features": 34, "clusters": 5}),),
    untimed=(Case("float32", {"n": 494020, "features": 34, "clusters": 32}),),
    spans={
        "n": Span(low=16, high=50000, tiny=300),
        "features": Span(low=1, high=50, tiny=12),
        "clusters": Span(low=2, high=40, tiny=8),
    },
    flops=lambda case: 2.0 * case["n"] * case["features"] * case["clusters"],
    min_bytes=lambda case: (
        4.0 * case["features"] * (case["n"] + case["clusters"]) + 8.0 * case["n"]
    ),
    reduction=lambda case: case["features"],
    knobs={
        "BLOCK": (64, 128, 256, 512),
        "DEPTH": (1, 2, 4, 8),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("spec", "pairs"),
    **answers(__file__),
)
