"""Bias and GELU after a feed-forward layer of BERT, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """gelu(x + bias) with the exact GELU of Hendrycks and Gimpel, arXiv 1606.08415."""
    import torch

    return torch.nn.functional.gelu(x + bias)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Biases as large as the values, so that both tails and the bend are met."""
    draw = Draw(generator)
    x = draw.rows(case["rows"], case["cols"], spread=(0.5, 2.0), level=(-1.0, 1.0))
    bias = draw.normal(case["cols"], scale=1.5)
    return x.to(case.torch_dtype), bias.to(case.torch_dtype)


TASK = row_task(
    __file__,
    title="Bias and GELU of BERT",
    statement=(
        "Compute y = gelu(x + bias), where gelu(z) = z * 0.5 * (1 + erf(z / sqrt(2))) is the exact "
        "GELU, not the tanh approximation. x is [rows, cols], row-major and contiguous; bias is "
        "[cols]; both have one dtype, float32, float16 or bfloat16. Return y of x's shape and "
        "dtype, contiguous. Compute in float32. Both sizes may be any positive integer. The shape "
        "is that of BERT-large's feed-forward layer."
    ),
    parameters=("x", "bias"),
    reference=reference,
    inputs=inputs,
    bench=(Case("float16", sizes(16384, 4096)),),
    untimed=(Case("bfloat16", sizes(16384, 4096)),),
    operations=6.0,  # a sum, two scalings, erf, sum, product
    matrices=2,
    per_col=1,
    shared=("bias",),
    knobs={
        "BLOCK": (512, 1024, 2048, 4096),
        "ROWS": (1, 2, 4, 8),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("mlperf", "elementwise"),
)
