"""The gradient of a row softmax from its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    """y (dy - Σ_k y_k dy_k) along the last axis: the vector-Jacobian product of softmax."""
    import torch

    exact = y.dtype == torch.float64
    wide, gradient = (y, dy) if exact else (y.float(), dy.float())
    dx = wide * (gradient - (wide * gradient).sum(dim=-1, keepdim=True))
    return dx.to(y.dtype)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Softmax of rows that a few columns hold most of, and gradients off zero."""
    import torch

    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    y = torch.softmax(draw.rows(rows, cols, spread=(1.0, 3.0), level=(0.0, 0.0)), dim=-1)
    dy = draw.rows(rows, cols, spread=(0.5, 2.0), level=(-1.0, 1.0))
    return y.to(case.torch_dtype), dy.to(case.torch_dtype)


TASK = row_task(
    __file__,
    title="Gradient of the row softmax",
    statement=(
        "Compute the gradient of a row softmax: dx[i, j] = y[i, j] * (dy[i, j] - sum_k y[i, k] * "
        "dy[i, k]), where y is the softmax's result and dy the gradient with respect to it. Both "
        "are [rows, cols], row-major and contiguous, of one dtype, float32, float16 or bfloat16; "
        "return dx of that shape and dtype, contiguous. Compute in float32. Both sizes may be any "
        "positive integer."
    ),
    parameters=("y", "dy"),
    reference=reference,
    inputs=inputs,
    bench=(Case("float32", sizes(8192, 4096)),),
    untimed=(Case("bfloat16", sizes(8192, 8192)),),
    operations=4.0,
    matrices=3,
    summed=True,
    knobs={
        "BLOCK": (2048, 4096, 8192),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
    },
    tags=("backward", "reduction"),
)
