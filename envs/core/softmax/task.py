"""Softmax over the rows of a matrix: the smallest task with a reduction and a second pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor) -> torch.Tensor:
    """exp(x) / sum(exp(x)) along the last axis of (rows, cols)."""
    import torch

    return torch.softmax(x, dim=-1)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows of different spread and level.

    The spread of 2 to 4 lets a few columns hold most of each row's probability, so that neither
    zeros nor 1/n come near. The level of 100 to 200, of alternating sign, overflows exp in
    float32 (at 88), or leaves nothing of it, unless the row's maximum is subtracted first.
    """
    import torch

    draw, rows = Draw(generator), case["rows"]
    sign = torch.arange(rows, device=generator.device)[:, None] % 2 * 2 - 1
    x = draw.rows(rows, case["cols"], spread=(2.0, 4.0), level=(0.0, 0.0))
    return ((x + sign * draw.uniform(100.0, 200.0, rows, 1)).to(case.torch_dtype),)


TASK = row_task(
    __file__,
    title="Row softmax",
    statement=(
        "Compute the softmax of every row of x: y[i, j] = exp(x[i, j]) / sum_k exp(x[i, k]). x is "
        "[rows, cols], row-major and contiguous, in float32 or float16; return y of the same "
        "shape and dtype, contiguous. Compute in float32 and subtract the row's maximum first: "
        "entries reach ±200. Both sizes may be any positive integer."
    ),
    parameters=("x",),
    reference=reference,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(3, 781)),
        Case("float16", sizes(1, 130)),
        Case("float32", sizes(5, 1)),
        # Longer than the blocks that rows are usually taken in.
        Case("float16", sizes(2, 5003)),
    ),
    bench=(Case("float32", sizes(4096, 4096)),),
    untimed=(Case("float16", sizes(8192, 8192)),),
    spans={
        "rows": Span(low=1, high=3000, tiny=6),
        "cols": Span(low=2, high=6000, tiny=400),
    },
    operations=5.0,
    matrices=2,
    summed=True,
    knobs={
        "BLOCK": (1024, 2048, 4096),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (4, 8, 16),
        "PROGRAMS": (0, 264, 528, 1056),
        "STAGES": (1, 2, 3),
    },
    tags=("core", "reduction"),
)
