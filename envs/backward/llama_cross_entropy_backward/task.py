"""The gradient of the cross entropy over a large vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(
    logits: torch.Tensor, target: torch.Tensor, lse: torch.Tensor, dloss: torch.Tensor
) -> torch.Tensor:
    """(exp(z_ij - lse_i) - [j = target_i]) dloss_i."""
    import torch

    exact = logits.dtype == torch.float64
    z = logits if exact else logits.float()
    p = (z - lse[:, None]).exp()
    hot = torch.arange(z.shape[1], device=z.device) == target[:, None]
    return ((p - hot.to(p.dtype)) * dloss[:, None]).to(logits.dtype)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread at a level that overflows exp, gradients that differ by row."""
    import torch

    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    logits = draw.rows(rows, cols, spread=(1.0, 3.0), level=(100.0, 200.0)).to(case.torch_dtype)
    lse = torch.logsumexp(logits.float(), dim=-1)
    return logits, draw.integers(0, cols, rows), lse, draw.uniform(0.5, 2.0, rows)


TASK = row_task(
    __file__,
    title="Gradient of Llama's cross entropy",
    statement=(
        "Compute the gradient of the cross entropy of every row: dlogits[i, j] = (exp(logits[i, j] "
        "- lse[i]) - (1 if j = target[i] else 0)) * dloss[i]. logits is [rows, cols], row-major "
        "and contiguous, in float32, float16 or bfloat16; target is [rows] in int64 with values "
        "from 0 to cols-1; lse[i] = log(sum_j exp(logits[i, j])), as the forward pass keeps it, "
        "and dloss are [rows] in float32. Return dlogits of logits' shape and dtype, contiguous; "
        "compute in float32. logits is not to be changed. The shape is that of Llama 3's "
        "vocabulary."
    ),
    parameters=("logits", "target", "lse", "dloss"),
    reference=reference,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(4096, 128256)),),
    untimed=(Case("float32", sizes(2048, 128256)),),
    operations=4.0,
    matrices=2,
    min_bytes=lambda case: (
        2.0 * case.torch_dtype.itemsize * case["rows"] * case["cols"] + 16.0 * case["rows"]
    ),
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "NUM_WARPS": (4, 8, 16),
    },
    tags=("backward", "elementwise"),
)
