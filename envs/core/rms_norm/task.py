"""Root-mean-square normalisation of the rows of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch

EPS = 1e-6
"""Added to the mean square, as in Llama's configuration."""


def reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x / sqrt(mean(x²) + eps) · weight along the last axis of (rows, cols).

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
    """
    import torch

    return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, EPS)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows whose size differs a hundredfold, each with a mean of its own: it must not be taken."""
    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    size = draw.uniform(-1.0, 1.0, rows, 1).mul_(2.3).exp_()  # 0.1 to 10
    x = draw.rows(rows, cols, spread=(0.5, 2.0), level=(-1.5, 1.5)) * size
    weight = 1.0 + 0.5 * draw.normal(cols)
    return x.to(case.torch_dtype), weight.to(case.torch_dtype)


TASK = row_task(
    __file__,
    title="RMS normalisation",
    statement=(
        "Normalise every row of x by its root mean square: y = x / sqrt(mean(x^2) + 1e-6) * "
        "weight. x is [rows, cols], row-major and contiguous; weight is [cols]; both have one "
        "dtype, float32, float16 or bfloat16. Return y of x's shape and dtype, contiguous. Compute "
        "in float32. Both sizes may be any positive integer."
    ),
    parameters=("x", "weight"),
    reference=reference,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 4096)),),
    untimed=(Case("float32", sizes(8192, 8192)),),
    operations=4.0,  # square, sum, two products
    matrices=2,
    per_col=1,
    shared=("weight",),
    summed=True,
    knobs={
        "BLOCK": (2048, 4096, 8192),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (2, 4, 8, 16),
    },
    tags=("core", "reduction", "normalization"),
)
