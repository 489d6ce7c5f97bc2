"""Softmax over the rows of a matrix: the smallest task with a reduction and a second pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """exp(x) / sum(exp(x)) along the last axis of (rows, cols)."""
    import torch

    return torch.softmax(x, dim=-1)


def part(ranges: Any, cast: Any, x: torch.Tensor) -> torch.Tensor:
    """Some rows of the result."""
    return reference(cast(x[ranges[0]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread and level.

    The spread of 2 to 4 lets a few columns hold most of each row's probability, so that neither
    zeros nor 1/n come near. The level of 100 to 200, of alternating sign, overflows exp in
    float32 (at 88), or leaves nothing of it, unless the row's maximum is subtracted first.
    """
    import torch

    def uniform(low: float, high: float) -> torch.Tensor:
        drawn = torch.rand((case["rows"], 1), generator=generator, device=generator.device)
        return low + (high - low) * drawn

    noise = torch.randn((case["rows"], case["cols"]), generator=generator, device=generator.device)
    sign = torch.arange(case["rows"], device=generator.device)[:, None] % 2 * 2 - 1
    x = noise * uniform(2.0, 4.0) + sign * uniform(100.0, 200.0)
    return (x.to(case.torch_dtype),)


def flops(case: Case) -> float:
    """Five operations an element: maximum, subtraction, exponential, sum, division."""
    return 5.0 * case["rows"] * case["cols"]


def min_bytes(case: Case) -> float:
    """The matrix read and written once."""
    return 2.0 * case.torch_dtype.itemsize * case["rows"] * case["cols"]


TASK = Task(
    name="softmax",
    title="Row softmax",
    statement=(
        "Compute the softmax of every row of x: y[i, j] = exp(x[i, j]) / sum_k exp(x[i, k]). x is "
        "[rows, cols], row-major and contiguous, in float32 or float16; return y of the same "
        "shape and dtype, contiguous. Compute in float32 and subtract the row's maximum first: "
        "entries reach ±200. Both sizes may be any positive integer."
    ),
    entry=Entry("softmax", ("x",)),
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
        Case("float32", {"rows": 4096, "cols": 4096}),
        Case("float16", {"rows": 8192, "cols": 8192}),
    ),
    spans={
        "rows": Span(low=1, high=3000, tiny=6),
        "cols": Span(low=2, high=6000, tiny=400),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["cols"],
    starter=Path(__file__).with_name("starter.py").read_text(encoding="utf-8"),
    expert=Path(__file__).with_name("expert.py").read_text(encoding="utf-8"),
    knobs={
        "BLOCK": (1024, 2048, 4096),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
        "PROGRAMS": (0, 264, 528, 1056),
        "STAGES": (1, 2, 3),
    },
    tags=("core", "reduction"),
)
