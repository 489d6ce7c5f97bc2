"""Layer normalisation: two dependent reductions over a row that is off centre."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

if TYPE_CHECKING:
    import torch

EPS = 1e-5
"""Added to the variance; PyTorch's default."""


def reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(x - mean) / sqrt(var + eps) · weight + bias along the last axis of (rows, cols).

    Source: Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.
    """
    import torch

    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias, EPS)


def part(
    ranges: Any, cast: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Some rows of the result."""
    return reference(cast(x[ranges[0]]), cast(weight), cast(bias))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows whose mean is many times their deviation, both different from row to row.

    So var = E[x²] - E[x]² cancels badly in float32, and a row normalised with the statistics
    of another, or not at all, is far off.
    """
    import torch

    rows, cols = case["rows"], case["cols"]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)

    def uniform(low: float, high: float) -> torch.Tensor:
        drawn = torch.rand((rows, 1), generator=generator, device=generator.device)
        return low + (high - low) * drawn

    sign = torch.where(uniform(-1.0, 1.0) < 0, -1.0, 1.0)
    x = normal(rows, cols) * uniform(0.5, 2.0) + sign * uniform(40.0, 80.0)
    weight = 1.0 + 0.5 * normal(cols)
    return tuple(tensor.to(case.torch_dtype) for tensor in (x, weight, normal(cols)))


def flops(case: Case) -> float:
    """Five operations an element, the count of DeepSpeed's FLOPs profiler for affine norms."""
    return 5.0 * case["rows"] * case["cols"]


def min_bytes(case: Case) -> float:
    """The matrix read and written once, weight and bias read once."""
    rows, cols = case["rows"], case["cols"]
    return float(case.torch_dtype.itemsize * (2 * rows * cols + 2 * cols))


TASK = Task(
    name="layer_norm",
    title="Layer normalisation",
    statement=(
        "Normalise every row of x: y = (x - mean) / sqrt(var + 1e-5) * weight + bias, with the "
        "mean and the biased variance of the row. x is [rows, cols], row-major and contiguous; "
        "weight and bias are [cols]; all three have one dtype, float16 or float32. Return y of "
        "x's shape and dtype, contiguous. Compute in float32; the rows' means are far from zero, "
        "so the variance must be taken around the mean. Both sizes may be any positive integer."
    ),
    entry=Entry("layer_norm", ("x", "weight", "bias")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"rows": 3, "cols": 781}),
        Case("float16", {"rows": 1, "cols": 130}),
        Case("float32", {"rows": 5, "cols": 1}),
        # Longer than the blocks that rows are usually taken in.
        Case("float16", {"rows": 2, "cols": 5003}),
    ),
    bench=(
        Case("float16", {"rows": 8192, "cols": 4096}),
        Case("float32", {"rows": 8192, "cols": 8192}),
    ),
    spans={
        "rows": Span(low=1, high=3000, tiny=6),
        # Shorter rows can be constant after rounding to float16, and 1/sqrt(eps) then
        # magnifies whatever error the mean has.
        "cols": Span(low=16, high=6000, tiny=400),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["cols"],
    starter=Path(__file__).with_name("starter.py").read_text(encoding="utf-8"),
    expert=Path(__file__).with_name("expert.py").read_text(encoding="utf-8"),
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (2, 4, 8, 16),
        "REREAD": (0, 1),
        "EARLY": (0, 1),
    },
    tags=("core", "reduction", "normalization"),
)
