"""Logarithm of the softmax over the rows of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """x - log(sum(exp(x))) along the last axis of (rows, cols)."""
    import torch

    return torch.log_softmax(x, dim=-1)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread and level.

    The level of 100 to 200, of alternating sign, overflows exp in float32 (at 88), or leaves
    nothing of it, unless the row's maximum is subtracted first.
    """
    import torch

    draw = Draw(generator)
    rows = case["rows"]
    sign = torch.arange(rows, device=generator.device)[:, None] % 2 * 2 - 1
    x = draw.rows(rows, case["cols"], spread=(1.0, 4.0), level=(0.0, 0.0))
    return ((x + sign * draw.uniform(100.0, 200.0, rows, 1)).to(case.torch_dtype),)


TASK = row_task(
    __file__,
    title="Row log-softmax",
    statement=(
        "Compute the logarithm of the softmax of every row of x: y[i, j] = x[i, j] - "
        "log(sum_k exp(x[i, k])). x is [rows, cols], row-major and contiguous, in float32, float16 "
        "or bfloat16; return y of the same shape and dtype, contiguous. Compute in float32 and "
        "subtract the row's maximum first: entries reach ±200. Both sizes may be any positive "
        "integer."
    ),
    parameters=("x",),
    reference=reference,
    inputs=inputs,
    bench=(Case("float32", sizes(8192, 8192)),),
    untimed=(Case("bfloat16", sizes(4096, 32768)),),
    operations=5.0,  # maximum, subtraction, exponential, sum, subtraction
    matrices=2,
    summed=True,
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
        "STAGES": (1, 2, 3),
    },
    tags=("core", "reduction"),
)
