"""Position of the largest value of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """The first position of the maximum along the last axis of (rows, cols)."""
    return x.argmax(dim=-1)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows below zero of different spread. In half of them the maximum occurs a second time:
    right after the first, or anywhere.

    Below zero, so that padding with zeros is found out.
    """
    import torch

    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    x = draw.rows(rows, cols, spread=(0.5, 3.0), level=(-40.0, -20.0)).to(case.torch_dtype)
    largest, first = x.max(dim=-1, keepdim=True)
    choice = draw.integers(0, 4, rows, 1)  # 0: the next one, 1: anywhere, else as it is
    again = torch.where(choice == 0, (first + 1) % cols, draw.integers(0, cols, rows, 1))
    return (x.scatter_(1, torch.where(choice < 2, again, first), largest),)


TASK = row_task(
    __file__,
    title="Row argmax",
    statement=(
        "Find where every row of x is largest: y[i] is the smallest j with x[i, j] = max_k "
        "x[i, k]. x is [rows, cols], row-major and contiguous, in float32, float16 or bfloat16, "
        "without NaN; return y of shape [rows] in int64. Both sizes may be any positive integer."
    ),
    parameters=("x",),
    reference=reference,
    inputs=inputs,
    bench=(Case("float32", sizes(8192, 8192)),),
    untimed=(Case("bfloat16", sizes(8192, 32000)),),
    operations=1.0,  # a comparison
    matrices=1,
    min_bytes=lambda case: float(
        case.torch_dtype.itemsize * case["rows"] * case["cols"] + 8 * case["rows"]
    ),
    summed=True,
    exact=True,
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (2, 4, 8, 16),
        "STAGES": (1, 2, 3, 4),
    },
    tags=("core", "reduction"),
)
