"""Sums of rows of an embedding table, one for each bag of indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Σ_t table[index[b, t]]: (vocabulary, dim) by (batch, bag) to (batch, dim).

    Source: Naumov et al., "Deep Learning Recommendation Model", arXiv 1906.00091.
    """
    import torch

    return torch.nn.functional.embedding_bag(index, table, mode="sum")


def part(ranges: Any, cast: Any, table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Some bags: only the rows that they ask for are cast."""
    bags, dims = ranges
    return cast(table[index[bags], dims]).sum(dim=1)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows off zero, and indices of which a quarter are of a few popular rows."""
    import torch

    draw = Draw(generator)
    rows = case["vocabulary"]
    table = draw.normal(rows, case["dim"]) + 0.3
    index = draw.integers(0, rows, case["batch"], case["bag"])
    popular = draw.uniform(0.0, 1.0, case["batch"], case["bag"]) < 0.25
    return table.to(case.torch_dtype), torch.where(popular, index % -(-rows // 100), index)


def sizes(batch: int, bag: int, dim: int, vocabulary: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"batch": batch, "bag": bag, "dim": dim, "vocabulary": vocabulary}


def min_bytes(case: Case) -> float:
    """The indices read and the sums written once. Of the rows none need be other than the first:
    how many differ depends on the values, so that a twentieth is counted."""
    batch, bag, dim = case["batch"], case["bag"], case["dim"]
    distinct = min(batch * bag, case["vocabulary"]) / 20
    return 8.0 * batch * bag + case.torch_dtype.itemsize * dim * (batch + distinct)


TASK = Task(
    name="dlrm_embedding_bag",
    title="Embedding bag of DLRM",
    statement=(
        "Sum the rows of an embedding table that each bag asks for: out[b] = sum_t table[index[b, "
        "t]]. table is [vocabulary, dim] in float32, float16 or bfloat16; index is [batch, bag] in "
        "int64 with values from 0 to vocabulary-1, which may repeat; both contiguous. Return out "
        "of shape [batch, dim] in table's dtype, contiguous; sum in float32. All sizes may be any "
        "positive integer. The shape is that of DLRM: 26 rows of 128 values for each sample."
    ),
    entry=Entry("dlrm_embedding_bag", ("table", "index")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(5, 7, 33, 40)),
        Case("float16", sizes(9, 1, 16, 30)),
        Case("bfloat16", sizes(3, 26, 128, 300)),
        Case("float32", sizes(40, 3, 5, 11)),
        Case("float16", sizes(2, 5, 700, 9)),
    ),
    bench=(Case("float32", sizes(8192, 26, 128, 400000)),),
    untimed=(Case("float16", sizes(65536, 26, 128, 400000)),),
    spans={
        "batch": Span(low=2, high=3000, tiny=20),
        "bag": Span(low=1, high=40, tiny=8),
        "dim": Span(low=2, high=300, tiny=40),
        "vocabulary": Span(low=2, high=5000, tiny=60),
    },
    flops=lambda case: float(case["batch"] * case["bag"] * case["dim"]),
    min_bytes=min_bytes,
    reduction=lambda case: case["bag"],
    knobs={
        "BAGS": (1, 2, 4, 8),
        "DEPTH": (1, 2, 4, 8, 16, 32),
        "NUM_WARPS": (1, 2, 4, 8),
    },
    tags=("mlperf", "gather"),
    **answers(__file__),
)
