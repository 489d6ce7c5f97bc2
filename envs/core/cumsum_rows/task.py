"""Prefix sum along the rows: a scan, whose every output waits for the ones before it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """Inclusive prefix sum along the last axis of (rows, cols), half precision in float32."""
    import torch

    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.cumsum(x, dim=-1, dtype=dtype).to(x.dtype)


def part(ranges: Any, cast: Any, x: torch.Tensor) -> torch.Tensor:
    """Some rows of the result."""
    return reference(cast(x[ranges[0]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows that drift up or down at their own rate, under noise.

    The drift keeps the sums away from zero, where only rounding would be left to compare, and
    below float16's largest value at the task's longest rows.
    """
    import torch

    rows, cols = case["rows"], case["cols"]

    def uniform(low: float, high: float) -> torch.Tensor:
        drawn = torch.rand((rows, 1), generator=generator, device=generator.device)
        return low + (high - low) * drawn

    noise = torch.randn((rows, cols), generator=generator, device=generator.device)
    sign = torch.where(uniform(-1.0, 1.0) < 0, -1.0, 1.0)
    x = noise * uniform(0.5, 2.0) + sign * uniform(0.25, 2.0)
    return (x.to(case.torch_dtype),)


def flops(case: Case) -> float:
    """An addition an element, what a serial scan does."""
    return float(case["rows"] * case["cols"])


def min_bytes(case: Case) -> float:
    """The matrix read and written once."""
    return 2.0 * case.torch_dtype.itemsize * case["rows"] * case["cols"]


TASK = Task(
    name="cumsum_rows",
    title="Row prefix sum",
    statement=(
        "Compute the inclusive prefix sum of every row of x: y[i, j] = sum of x[i, 0..j]. x is "
        "[rows, cols], row-major and contiguous, in float32 or float16; return y of the same "
        "shape and dtype, contiguous, summed in float32. Both sizes may be any positive integer."
    ),
    entry=Entry("cumsum_rows", ("x",)),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"rows": 3, "cols": 781}),
        Case("float16", {"rows": 1, "cols": 130}),
        Case("float32", {"rows": 5, "cols": 1}),
        # Longer than the blocks that rows are usually taken in.
        Case("float32", {"rows": 2, "cols": 2503}),
    ),
    bench=(
        Case("float32", {"rows": 8192, "cols": 4096}),
        Case("float16", {"rows": 8192, "cols": 8192}),
    ),
    spans={
        "rows": Span(low=1, high=3000, tiny=6),
        "cols": Span(low=1, high=6000, tiny=400),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["cols"],
    starter=Path(__file__).with_name("starter.py").read_text(encoding="utf-8"),
    expert=Path(__file__).with_name("expert.py").read_text(encoding="utf-8"),
    knobs={
        "BLOCK": (256, 512, 1024, 2048, 4096),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
        "STAGES": (1, 2, 3),
    },
    tags=("core", "scan"),
)
