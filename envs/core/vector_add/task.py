"""Sum of two vectors: nothing but memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """x + y, elementwise."""
    return x + y


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Two vectors of different size, neither of which stands for the sum."""
    draw = Draw(generator)
    x, y = draw.normal(case["n"]), draw.normal(case["n"], scale=1.5)
    return x.to(case.torch_dtype), y.to(case.torch_dtype)


TASK = Task(
    name="vector_add",
    title="Vector addition",
    statement=(
        "Compute z = x + y elementwise for two contiguous vectors of shape [n] in float32, "
        "float16 or bfloat16. Return z of the same shape and dtype. n may be any positive integer."
    ),
    entry=Entry("vector_add", ("x", "y")),
    reference=reference,
    part=lambda ranges, cast, x, y: reference(cast(x[ranges[0]]), cast(y[ranges[0]])),
    inputs=inputs,
    tiny=(
        Case("float32", {"n": 1000}),
        Case("float16", {"n": 17}),
        Case("bfloat16", {"n": 4097}),
        # Several blocks, whatever the blocks.
        Case("float32", {"n": 33001}),
    ),
    bench=(Case("float32", {"n": 1 << 26}),),
    untimed=(Case("bfloat16", {"n": 1 << 27}),),
    spans={"n": Span(low=2, high=1 << 22, tiny=9000)},
    flops=lambda case: float(case["n"]),
    min_bytes=lambda case: 3.0 * case.torch_dtype.itemsize * case["n"],
    reduction=lambda case: 1,
    knobs={
        "BLOCK": (512, 1024, 2048, 4096, 8192),
        "NUM_WARPS": (2, 4, 8, 16),
        "PROGRAMS": (0, 528, 1056, 2112),
    },
    tags=("core", "elementwise"),
    **answers(__file__),
)
