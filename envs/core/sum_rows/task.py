"""Sum of every row: the purest read of memory there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """Sum along the last axis: (rows, cols) to (rows,)."""
    return x.sum(dim=-1)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of either sign and different level.

    The level keeps the sum away from zero, where only rounding would be left to compare, and
    below float16's largest value at the task's longest rows.
    """
    draw, rows = Draw(generator), case["rows"]
    x = draw.rows(rows, case["cols"], spread=(0.5, 2.0), level=(0.0, 0.0))
    x += draw.signs(rows, 1) * draw.uniform(0.25, 2.0, rows, 1)
    return (x.to(case.torch_dtype),)


TASK = row_task(
    __file__,
    title="Row sum",
    statement=(
        "Compute the sum of every row of x: y[i] = sum_j x[i, j]. x is [rows, cols], row-major "
        "and contiguous, in float32 or float16; return y of shape [rows] in the dtype of x, "
        "summed in float32. Both sizes may be any positive integer."
    ),
    parameters=("x",),
    reference=reference,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(5, 781)),
        Case("float16", sizes(1, 1300)),
        Case("float32", sizes(7, 1)),
        # Longer than the blocks that rows are usually taken in.
        Case("float32", sizes(2, 4999)),
    ),
    bench=(Case("float32", sizes(8192, 8192)),),
    untimed=(Case("float16", sizes(16384, 4096)),),
    spans={
        "rows": Span(low=1, high=3000, tiny=8),
        "cols": Span(low=1, high=8000, tiny=800),
    },
    operations=1.0,
    matrices=1,
    per_row=1,
    summed=True,
    knobs={
        "BLOCK": (512, 1024, 2048, 4096),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
        "STAGES": (1, 2, 3, 4),
    },
    tags=("core", "reduction"),
)
