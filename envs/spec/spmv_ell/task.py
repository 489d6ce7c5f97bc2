"""A sparse matrix with a vector: a gather for every value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(values: torch.Tensor, cols: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """y_i = Σ_l values[l, i] x[cols[l, i]]: (width, rows) values and columns.

    Source: the ELLPACK format of Bell and Garland, "Implementing Sparse Matrix-Vector
    Multiplication on Throughput-Oriented Processors" (2009).
    """
    return (values * x[cols.long()]).sum(dim=0)


def part(
    ranges: Any, cast: Any, values: torch.Tensor, cols: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """Some rows."""
    return reference(cast(values[:, ranges[0]]), cols[:, ranges[0]], cast(x))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Values and columns of which about a fifth is padding: value 0 at column 0."""
    draw = Draw(generator)
    rows, width = case["rows"], case["width"]
    values = draw.normal(width, rows) + 0.3
    cols = draw.integers(0, rows, width, rows).int()
    used = draw.uniform(0.0, 1.0, width, rows) < 0.8
    return values * used, cols * used, draw.normal(rows) + 0.5


TASK = Task(
    name="spmv_ell",
    title="Sparse matrix-vector product",
    statement=(
        "Compute y = A x for a sparse matrix in ELLPACK format: y[i] = sum_l values[l, i] * "
        "x[cols[l, i]]. values is [width, rows] in float32 and cols is [width, rows] in int32, "
        "both contiguous; padding has value 0 and column 0. x is [rows] in float32; return y of "
        "shape [rows] in float32."
    ),
    entry=Entry("spmv_ell", ("values", "cols", "x")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"rows": 133, "width": 5}),
        Case("float32", {"rows": 17, "width": 1}),
        Case("float32", {"rows": 1100, "width": 3}),
        Case("float32", {"rows": 40, "width": 37}),
    ),
    bench=(Case("float32", {"rows": 150000, "width": 32}),),
    untimed=(Case("float32", {"rows": 1000000, "width": 16}),),
    spans={
        "rows": Span(low=2, high=20000, tiny=300),
        "width": Span(low=1, high=40, tiny=8),
    },
    flops=lambda case: 2.0 * case["rows"] * case["width"],
    min_bytes=lambda case: 8.0 * case["rows"] * case["width"] + 8.0 * case["rows"],
    reduction=lambda case: case["width"],
    knobs={
        "BLOCK": (64, 128, 256, 512),
        "DEPTH": (4, 8, 16, 32),
        "NUM_WARPS": (1, 2, 4, 8),
    },
    tags=("spec", "gather"),
    **answers(__file__),
)
