"""The residual sum of a Llama layer and its RMS norm, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch

EPS = 1e-5
"""Added to the mean square, as in Llama 3's configuration."""


def reference(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """h = x + residual and h / sqrt(mean(h²) + eps) · weight along the last axis.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
    """
    import torch

    h = x + residual
    return torch.nn.functional.rms_norm(h, (h.shape[-1],), weight, EPS), h


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows whose size differs, each with a mean of its own: it must not be taken off."""
    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    size = draw.uniform(-1.0, 1.0, rows, 1).mul_(2.3).exp_()  # 0.1 to 10
    x = draw.rows(rows, cols, spread=(0.5, 2.0), level=(-1.5, 1.5)) * size
    residual = draw.rows(rows, cols, spread=(0.5, 2.0), level=(-1.5, 1.5)) * size
    weight = 1.0 + 0.5 * draw.normal(cols)
    dtype = case.torch_dtype
    return x.to(dtype), residual.to(dtype), weight.to(dtype)


TASK = row_task(
    __file__,
    title="Residual and RMS norm of Llama",
    statement=(
        "Compute h = x + residual and y = h / sqrt(mean(h^2) + 1e-5) * weight for every row; "
        "return (y, h). x and residual are [rows, cols], row-major and contiguous; weight is "
        "[cols]; all have one dtype, float32, float16 or bfloat16, and so have y and h, of x's "
        "shape, contiguous. Compute in float32, with h rounded to its dtype before it is "
        "normalised. Both sizes may be any positive integer. The shape is that of Llama 3 8B."
    ),
    parameters=("x", "residual", "weight"),
    reference=reference,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 4096)),),
    untimed=(Case("float16", sizes(8192, 8192)),),
    operations=5.0,  # sum, square, sum, two products
    matrices=4,
    per_col=1,
    shared=("weight",),
    summed=True,
    knobs={
        "BLOCK": (2048, 4096, 8192),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (2, 4, 8, 16),
    },
    tags=("mlperf", "reduction", "normalization"),
)
