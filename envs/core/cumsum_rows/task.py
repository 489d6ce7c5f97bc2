"""Prefix sum along the rows: a scan, whose every output waits for the ones before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """Inclusive prefix sum along the last axis of (rows, cols), half precision in float32."""
    import torch

    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.cumsum(x, dim=-1, dtype=dtype).to(x.dtype)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows that drift up or down at their own rate, under noise.

    The drift keeps the sums away from zero, where only rounding would be left to compare, and
    below float16's largest value at the task's longest rows.
    """
    draw, rows = Draw(generator), case["rows"]
    x = draw.rows(rows, case["cols"], spread=(0.5, 2.0), level=(0.0, 0.0))
    x += draw.signs(rows, 1) * draw.uniform(0.25, 2.0, rows, 1)
    return (x.to(case.torch_dtype),)


TASK = row_task(
    __file__,
    title="Row prefix sum",
    statement=(
        "Compute the inclusive prefix sum of every row of x: y[i, j] = sum of x[i, 0..j]. x is "
        "[rows, cols], row-major and contiguous, in float32 or float16; return y of the same "
        "shape and dtype, contiguous, summed in float32. Both sizes may be any positive integer."
    ),
    parameters=("x",),
    reference=reference,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(3, 781)),
        Case("float16", sizes(1, 130)),
        Case("float32", sizes(5, 1)),
        # Longer than the blocks that rows are usually taken in.
        Case("float32", sizes(2, 2503)),
    ),
    bench=(Case("float32", sizes(8192, 4096)),),
    untimed=(Case("float16", sizes(8192, 8192)),),
    spans={
        "rows": Span(low=1, high=3000, tiny=6),
        "cols": Span(low=1, high=6000, tiny=400),
    },
    operations=1.0,
    matrices=2,
    summed=True,
    knobs={
        "BLOCK": (256, 512, 1024, 2048, 4096),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
        "STAGES": (1, 2, 3),
    },
    tags=("core", "scan"),
)
