"""The gradients of the SwiGLU gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(
    gate: torch.Tensor, up: torch.Tensor, dy: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """dgate = dy · up · σ(g) (1 + g (1 - σ(g))) and dup = dy · g σ(g) of y = silu(gate) · up."""
    import torch

    dtype = gate.dtype
    if dtype != torch.float64:
        gate, up, dy = gate.float(), up.float(), dy.float()
    sigma = torch.sigmoid(gate)
    dgate = dy * up * sigma * (1 + gate * (1 - sigma))
    return dgate.to(dtype), (dy * gate * sigma).to(dtype)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Gates of different spread and level, so that both sides of the sigmoid are met."""
    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    gate = draw.rows(rows, cols, spread=(1.0, 4.0), level=(-2.0, 2.0))
    tensors = gate, draw.normal(rows, cols, scale=2.0), draw.normal(rows, cols)
    return tuple(x.to(case.torch_dtype) for x in tensors)


TASK = row_task(
    __file__,
    title="Gradients of the SwiGLU gate",
    statement=(
        "Compute the gradients of y = silu(gate) * up, silu(z) = z * s(z) with s(z) = 1 / (1 + "
        "exp(-z)): dgate = dy * up * s(gate) * (1 + gate * (1 - s(gate))) and dup = dy * gate * "
        "s(gate), where dy is the gradient with respect to y; return (dgate, dup). All are [rows, "
        "cols], row-major and contiguous, of one dtype, float32, float16 or bfloat16. Compute in "
        "float32. Both sizes may be any positive integer."
    ),
    parameters=("gate", "up", "dy"),
    reference=reference,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 8192)),),
    untimed=(Case("float32", sizes(8192, 4096)),),
    operations=12.0,
    matrices=5,
    knobs={
        "BLOCK": (512, 1024, 2048, 4096),
        "NUM_WARPS": (2, 4, 8),
        "PROGRAMS": (0, 528, 1056, 2112),
    },
    tags=("backward", "elementwise"),
)
