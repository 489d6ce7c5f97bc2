"""Layer normalisation: two dependent reductions over a row that is off centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch

EPS = 1e-5
"""Added to the variance; PyTorch's default."""


def reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(x - mean) / sqrt(var + eps) · weight + bias along the last axis of (rows, cols).

    Source: Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.
    """
    import torch

    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias, EPS)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows whose mean is many times their deviation, both different from row to row.

    So var = E[x²] - E[x]² cancels badly in float32, and a row normalised with the statistics
    of another, or not at all, is far off.
    """
    draw, rows, cols = Draw(generator), case["rows"], case["cols"]
    x = draw.rows(rows, cols, spread=(0.5, 2.0), level=(0.0, 0.0))
    x += draw.signs(rows, 1) * draw.uniform(40.0, 80.0, rows, 1)
    weight = 1.0 + 0.5 * draw.normal(cols)
    return tuple(tensor.to(case.torch_dtype) for tensor in (x, weight, draw.normal(cols)))


TASK = row_task(
    __file__,
    title="Layer normalisation",
    statement=(
        "Normalise every row of x: y = (x - mean) / sqrt(var + 1e-5) * weight + bias, with the "
        "mean and the biased variance of the row. x is [rows, cols], row-major and contiguous; "
        "weight and bias are [cols]; all three have one dtype, float16 or float32. Return y of "
        "x's shape and dtype, contiguous. Compute in float32; the rows' means are far from zero, "
        "so the variance must be taken around the mean. Both sizes may be any positive integer."
    ),
    parameters=("x", "weight", "bias"),
    reference=reference,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(3, 781)),
        Case("float16", sizes(1, 130)),
        Case("float32", sizes(5, 1)),
        # Longer than the blocks that rows are usually taken in.
        Case("float16", sizes(2, 5003)),
    ),
    bench=(Case("float16", sizes(8192, 4096)),),
    untimed=(Case("float32", sizes(8192, 8192)),),
    spans={
        "rows": Span(low=1, high=3000, tiny=6),
        # Shorter rows can be constant after rounding to float16, and 1/sqrt(eps) then
        # magnifies whatever error the mean has.
        "cols": Span(low=16, high=6000, tiny=400),
    },
    operations=5.0,
    matrices=2,
    per_col=2,
    shared=("weight", "bias"),
    summed=True,
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "ROWS": (1, 2, 4),
        "NUM_WARPS": (2, 4, 8, 16),
        "REREAD": (0, 1),
        "EARLY": (0, 1),
    },
    tags=("core", "reduction", "normalization"),
)
