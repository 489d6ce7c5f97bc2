"""Exact GELU: elementwise, so bandwidth bounds it, unless erf is written carelessly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """x · Φ(x) = x/2 · (1 + erf(x / √2)), elementwise.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
    """
    import torch

    return torch.nn.functional.gelu(x)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread and level, so that both tails and the bend are met."""
    x = Draw(generator).rows(case["rows"], case["cols"], spread=(0.5, 3.0), level=(-1.0, 1.0))
    return (x.to(case.torch_dtype),)


TASK = row_task(
    __file__,
    title="Exact GELU",
    statement=(
        "Compute y = x * 0.5 * (1 + erf(x / sqrt(2))) elementwise: the exact GELU, not the tanh "
        "approximation. x is [rows, cols], row-major and contiguous, in float16, bfloat16 or "
        "float32; return y of the same shape and dtype, contiguous. Compute in float32. Both "
        "sizes may be any positive integer."
    ),
    parameters=("x",),
    reference=reference,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(7, 149)),
        Case("float16", sizes(1, 1000)),
        Case("bfloat16", sizes(33, 31)),
        Case("float32", sizes(1, 17)),
        # Several blocks along every axis, whatever the blocks.
        Case("float32", sizes(9, 711)),
    ),
    bench=(Case("float16", sizes(8192, 8192)),),
    untimed=(Case("bfloat16", sizes(8192, 8192)),),
    spans={
        "rows": Span(low=1, high=2000, tiny=16),
        # A row of a few negative values has nothing to hide the cancellation of 1 + erf behind.
        "cols": Span(low=16, high=4000, tiny=200),
    },
    operations=5.0,
    matrices=2,
    knobs={
        "BLOCK": (512, 1024, 2048, 4096, 8192),
        "NUM_WARPS": (2, 4, 8, 16),
        "PROGRAMS": (0, 528, 1056, 2112),
        "STAGES": (1, 2, 3),
    },
    tags=("core", "elementwise"),
)
