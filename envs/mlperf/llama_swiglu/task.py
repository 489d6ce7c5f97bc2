"""The SwiGLU gate of a Llama feed-forward layer, whose two halves come as one matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """silu(x[:, :cols]) · x[:, cols:] with silu(z) = z / (1 + exp(-z)).

    Source: Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.
    """
    import torch

    gate, up = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Gates of different spread and level, so that both sides of the sigmoid are met."""
    draw = Draw(generator)
    x = draw.rows(case["rows"], 2 * case["cols"], spread=(1.0, 3.0), level=(-1.5, 1.5))
    return (x.to(case.torch_dtype),)


TASK = row_task(
    __file__,
    title="SwiGLU of Llama",
    statement=(
        "Compute y = silu(gate) * up, where silu(z) = z / (1 + exp(-z)) and x holds both: gate = "
        "x[:, :cols] and up = x[:, cols:]. x is [rows, 2*cols], row-major and contiguous, in "
        "float32, float16 or bfloat16, as one product with both weights leaves it; return y of "
        "shape [rows, cols] in x's dtype, contiguous. Compute in float32. Both sizes may be any "
        "positive integer. The shape is that of Llama 3 8B."
    ),
    parameters=("x",),
    reference=reference,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 14336)),),
    untimed=(Case("float16", sizes(8192, 14336)),),
    operations=5.0,  # negation, exponential, sum, quotient, product
    matrices=3,
    knobs={
        "BLOCK": (512, 1024, 2048, 4096),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("mlperf", "elementwise"),
)
