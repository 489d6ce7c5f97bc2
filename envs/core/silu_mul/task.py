"""The SwiGLU gate: two matrices in, one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up with silu(z) = z / (1 + exp(-z)), elementwise.

    Source: Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.
    """
    import torch

    return torch.nn.functional.silu(gate) * up


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Gates of different spread and level, so that both sides of the sigmoid are met."""
    draw = Draw(generator)
    gate = draw.rows(case["rows"], case["cols"], spread=(1.0, 4.0), level=(-2.0, 2.0))
    up = draw.normal(case["rows"], case["cols"], scale=2.0)
    return gate.to(case.torch_dtype), up.to(case.torch_dtype)


TASK = row_task(
    __file__,
    title="SwiGLU gate",
    statement=(
        "Compute y = silu(gate) * up elementwise, where silu(z) = z / (1 + exp(-z)). gate and up "
        "are [rows, cols], row-major and contiguous, in float32, float16 or bfloat16; return y of "
        "the same shape and dtype, contiguous. Compute in float32. Both sizes may be any positive "
        "integer."
    ),
    parameters=("gate", "up"),
    reference=reference,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 8192)),),
    untimed=(Case("float32", sizes(8192, 8192)),),
    operations=5.0,  # negation, exponential, sum, quotient, product
    matrices=3,
    knobs={
        "BLOCK": (512, 1024, 2048, 4096, 8192),
        "NUM_WARPS": (2, 4, 8, 16),
        "PROGRAMS": (0, 528, 1056, 2112),
    },
    tags=("core", "elementwise"),
)
