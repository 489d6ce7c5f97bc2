"""Sum of every row: the purest read of memory there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """Sum along the last axis: (rows, cols) to (rows,)."""
    return x.sum(dim=-1)


def part(ranges: Any, cast: Any, x: torch.Tensor) -> torch.Tensor:
    """Some rows of the result."""
    return reference(cast(x[ranges[0]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of either sign and different level.

    The level keeps the sum away from zero, where only rounding would be left to compare, and
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
    """An addition an element."""
    return float(case["rows"] * case["cols"])


def min_bytes(case: Case) -> float:
    """The matrix read and the sums written once."""
    return float(case.torch_dtype.itemsize * (case["rows"] * case["cols"] + case["rows"]))


TASK = Task(
    name="sum_rows",
    title="Row sum",
    statement=(
        "Compute the sum of every row of x: y[i] = sum_j x[i, j]. x is [rows, cols], row-major "
        "and contiguous, in float32 or float16; return y of shape [rows] in the dtype of x, "
        "summed in float32. Both sizes may be any positive integer."
    ),
    entry=Entry("sum_rows", ("x",)),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"rows": 5, "cols": 781}),
        Case("float16", {"rows": 1, "cols": 1300}),
        Case("float32", {"rows": 7, "cols": 1}),
        # Longer than the blocks that rows are usually taken in.
        Case("float32", {"rows": 2, "cols": 4999}),
    ),
    bench=(
        Case("float32", {"rows": 8192, "cols": 8192}),
        Case("float16", {"rows": 16384, "cols": 4096}),
    ),
    spans={
        "rows": Span(low=1, high=3000, tiny=8),
        "cols": Span(low=1, high=8000, tiny=800),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["cols"],
    starter=Path(__file__).with_name("starter.py").read_text(encoding="utf-8"),
    expert=Path(__file__).with_name("expert.py").read_text(encoding="utf-8"),
    knobs={
        "BLOCK": (512, 1024, 2048, 4096),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
        "STAGES": (1, 2, 3, 4),
    },
    tags=("core", "reduction"),
)
