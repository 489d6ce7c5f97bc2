"""Transpose of a matrix: memory's worst access pattern, unless tiles are turned on the chip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """The transpose of (rows, cols) as a contiguous (cols, rows)."""
    return x.t().contiguous()


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread and level, so that no value is where it was."""
    draw = Draw(generator)
    return (draw.rows(case["rows"], case["cols"]).to(case.torch_dtype),)


TASK = row_task(
    __file__,
    title="Transpose",
    statement=(
        "Compute the transpose of x: y[j, i] = x[i, j]. x is [rows, cols], row-major and "
        "contiguous, in float32, float16 or bfloat16; return y of shape [cols, rows] in x's dtype, "
        "contiguous. Both sizes may be any positive integer."
    ),
    parameters=("x",),
    reference=reference,
    part=lambda ranges, cast, x: reference(cast(x[ranges[1], ranges[0]])),
    inputs=inputs,
    bench=(Case("float32", sizes(8192, 8192)),),
    untimed=(Case("bfloat16", sizes(8192, 16384)),),
    tiny=(
        Case("float32", sizes(7, 149)),
        Case("float16", sizes(3, 40)),
        Case("bfloat16", sizes(33, 31)),
        Case("float32", sizes(5, 17)),
        Case("float16", sizes(137, 261)),
    ),
    spans={"rows": Span(low=2, high=2000, tiny=60), "cols": Span(low=2, high=2000, tiny=60)},
    operations=1.0,  # a move counts as one, since none would be a division by zero
    matrices=2,
    knobs={
        "BLOCK_ROWS": (32, 64, 128),
        "BLOCK_COLS": (32, 64, 128),
        "NUM_WARPS": (2, 4, 8, 16),
        "GROUP": (1, 4, 8),
    },
    tags=("core", "movement"),
)
