"""Exact GELU: elementwise, so bandwidth bounds it, unless erf is written carelessly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """x · Φ(x) = x/2 · (1 + erf(x / √2)), elementwise.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
    """
    import torch

    return torch.nn.functional.gelu(x)


def part(ranges: Any, cast: Any, x: torch.Tensor) -> torch.Tensor:
    """Some rows of the result."""
    return reference(cast(x[ranges[0]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread and level, so that both tails and the bend are met."""
    import torch

    def uniform(low: float, high: float) -> torch.Tensor:
        drawn = torch.rand((case["rows"], 1), generator=generator, device=generator.device)
        return low + (high - low) * drawn

    noise = torch.randn((case["rows"], case["cols"]), generator=generator, device=generator.device)
    return ((noise * uniform(0.5, 3.0) + uniform(-1.0, 1.0)).to(case.torch_dtype),)


def flops(case: Case) -> float:
    """Five operations an element, as the formula is written: two scalings, erf, sum, product."""
    return 5.0 * case["rows"] * case["cols"]


def min_bytes(case: Case) -> float:
    """The matrix read and written once."""
    return 2.0 * case.torch_dtype.itemsize * case["rows"] * case["cols"]


TASK = Task(
    name="gelu",
    title="Exact GELU",
    statement=(
        "Compute y = x * 0.5 * (1 + erf(x / sqrt(2))) elementwise: the exact GELU, not the tanh "
        "approximation. x is [rows, cols], row-major and contiguous, in float16, bfloat16 or "
        "float32; return y of the same shape and dtype, contiguous. Compute in float32. Both "
        "sizes may be any positive integer."
    ),
    entry=Entry("gelu", ("x",)),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"rows": 7, "cols": 149}),
        Case("float16", {"rows": 1, "cols": 1000}),
        Case("bfloat16", {"rows": 33, "cols": 31}),
        Case("float32", {"rows": 1, "cols": 17}),
        # Several blocks along every axis, whatever the blocks.
        Case("float32", {"rows": 9, "cols": 711}),
    ),
    bench=(
        Case("float16", {"rows": 8192, "cols": 8192}),
        Case("bfloat16", {"rows": 8192, "cols": 8192}),
    ),
    spans={
        "rows": Span(low=1, high=2000, tiny=16),
        # A row of a few negative values has nothing to hide the cancellation of 1 + erf behind.
        "cols": Span(low=16, high=4000, tiny=200),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: 1,
    starter=Path(__file__).with_name("starter.py").read_text(encoding="utf-8"),
    expert=Path(__file__).with_name("expert.py").read_text(encoding="utf-8"),
    knobs={
        "BLOCK": (512, 1024, 2048, 4096, 8192),
        "NUM_WARPS": (2, 4, 8, 16),
        "PROGRAMS": (0, 528, 1056, 2112),
        "STAGES": (1, 2, 3),
    },
    tags=("core", "elementwise"),
)
