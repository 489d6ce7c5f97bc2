"""The residual sum of a BERT layer and its layer norm, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch

EPS = 1e-12
"""Added to the variance, as in BERT's configuration."""


def reference(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """layer_norm(x + residual) · weight + bias along the last axis.

    Source: Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.
    """
    import torch

    h = x + residual
    return torch.nn.functional.layer_norm(h, (h.shape[-1],), weight, bias, EPS)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows whose sum is off centre, by another amount each."""
    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    x = draw.rows(rows, cols, spread=(0.5, 2.0), level=(-1.0, 1.0))
    residual = draw.rows(rows, cols, spread=(0.5, 2.0), level=(0.5, 2.0))
    weight = 1.0 + 0.5 * draw.normal(cols)
    dtype = case.torch_dtype
    return x.to(dtype), residual.to(dtype), weight.to(dtype), draw.normal(cols).to(dtype)


TASK = row_task(
    __file__,
    title="Residual and layer norm of BERT",
    statement=(
        "For every row of h = x + residual compute y = (h - mean) / sqrt(var + 1e-12) * weight + "
        "bias, with the mean and the biased variance of the row. x and residual are [rows, cols], "
        "row-major and contiguous; weight and bias are [cols]; all have one dtype, float32, "
        "float16 or bfloat16. Return y of x's shape and dtype, contiguous. Compute in float32 and "
        "take the variance around the mean. Both sizes may be any positive integer. The shape is "
        "that of BERT-large."
    ),
    parameters=("x", "residual", "weight", "bias"),
    reference=reference,
    inputs=inputs,
    bench=(Case("float16", sizes(16384, 1024)),),
    untimed=(Case("bfloat16", sizes(16384, 1024)),),
    operations=6.0,  # a sum, and the five of an affine norm
    matrices=3,
    per_col=2,
    shared=("weight", "bias"),
    summed=True,
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "ROWS": (1, 2, 4, 8),
        "NUM_WARPS": (1, 2, 4, 8),
    },
    tags=("mlperf", "reduction", "normalization"),
)
