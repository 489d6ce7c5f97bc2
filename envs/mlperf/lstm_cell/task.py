"""The pointwise part of an LSTM cell: four gates and two states in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(gates: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """c' = σ(f) c + σ(i) tanh(g) and h = σ(o) tanh(c').

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997), with the forget gate of
    Gers et al. (2000); the order of the gates i, f, g, o is that of `torch.nn.LSTMCell`.
    """
    import torch

    i, f, g, o = gates.chunk(4, dim=-1)
    new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(new_c), new_c


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Gates on both sides of their bends, and states from -3 to 3."""
    draw = Draw(generator)
    gates = draw.rows(case["rows"], 4 * case["cols"], spread=(1.0, 3.0), level=(-1.0, 1.0))
    c = draw.normal(case["rows"], case["cols"], scale=1.2)
    return gates.to(case.torch_dtype), c.to(case.torch_dtype)


TASK = row_task(
    __file__,
    title="LSTM cell",
    statement=(
        "Compute the pointwise part of an LSTM cell: with gates = [i | f | g | o] along the last "
        "axis, c_new = sigmoid(f) * c + sigmoid(i) * tanh(g) and h = sigmoid(o) * tanh(c_new); "
        "return (h, c_new). gates is [rows, 4*cols] and c is [rows, cols], both row-major and "
        "contiguous and of one dtype, float32, float16 or bfloat16; h and c_new are [rows, cols] "
        "of that dtype, contiguous. Compute in float32. Both sizes may be any positive integer. "
        "The shape is that of RNN-T's prediction network."
    ),
    parameters=("gates", "c"),
    reference=reference,
    inputs=inputs,
    bench=(Case("float16", sizes(2048, 1024)),),
    untimed=(Case("float32", sizes(2048, 1024)),),
    operations=24.0,  # three sigmoids and two tanh of four each, and four more
    matrices=7,
    knobs={
        "BLOCK": (256, 512, 1024, 2048),
        "NUM_WARPS": (1, 2, 4, 8),
    },
    tags=("mlperf", "elementwise"),
)
