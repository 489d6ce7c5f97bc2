"""Cross entropy over a large vocabulary: one read of a matrix of logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """log(sum_j exp(z_ij)) - z_i,target_i of every row, in float32."""
    import torch

    exact = logits if logits.dtype == torch.float64 else logits.float()
    return torch.nn.functional.cross_entropy(exact, target, reduction="none")


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread at a level that overflows exp, targets anywhere.

    Without the row's maximum subtracted the level of 100 to 200 gives infinities.
    """
    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    logits = draw.rows(rows, cols, spread=(1.0, 4.0), level=(100.0, 200.0))
    return logits.to(case.torch_dtype), draw.integers(0, cols, rows)


TASK = row_task(
    __file__,
    title="Cross entropy of Llama",
    statement=(
        "Compute the cross entropy of every row: loss[i] = log(sum_j exp(logits[i, j])) - "
        "logits[i, target[i]]. logits is [rows, cols], row-major and contiguous, in float32, "
        "float16 or bfloat16; target is [rows] in int64 with values from 0 to cols-1. Return loss "
        "of shape [rows] in float32. Compute in float32 and subtract the row's maximum first: "
        "entries reach 200. Both sizes may be any positive integer. The shape is that of Llama 3's "
        "vocabulary."
    ),
    parameters=("logits", "target"),
    reference=reference,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 128256)),),
    untimed=(Case("float32", sizes(4096, 128256)),),
    operations=4.0,  # maximum, subtraction, exponential, sum
    matrices=1,
    # A target tells which logit counts; losses are float32 whatever the logits are.
    min_bytes=lambda case: float(
        case.torch_dtype.itemsize * case["rows"] * case["cols"] + 12 * case["rows"]
    ),
    summed=True,
    knobs={
        "BLOCK": (2048, 4096, 8192, 16384),
        "NUM_WARPS": (4, 8, 16, 32),
        "STAGES": (1, 2, 3, 4),
    },
    tags=("mlperf", "reduction"),
)
