"""A cross layer of DLRM: two thin products and the features they gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import KNOBS

if TYPE_CHECKING:
    import torch


def reference(
    x0: torch.Tensor, x: torch.Tensor, v: torch.Tensor, u: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    """x₀ ∘ (U V x + b) + x, row by row.

    Source: Wang et al., "DCN V2", arXiv 2008.13535, equation 2 with the low rank of section 4.
    """
    import torch

    return x0 * torch.addmm(b, x @ v, u) + x


def part(
    ranges: Any, cast: Any, x0: torch.Tensor, x: torch.Tensor, v: torch.Tensor,
    u: torch.Tensor, b: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """A tile of the result."""
    import torch

    rows, cols = ranges
    gate = torch.addmm(cast(b[cols]), cast(x[rows]) @ cast(v), cast(u[:, cols]))
    return cast(x0[rows, cols]) * gate + cast(x[rows, cols])


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Products, biases and features of one size, so that none of the three can be left out."""
    draw = Draw(generator)
    m, dim, rank = case["m"], case["dim"], case["rank"]
    x0, x = draw.normal(m, dim), draw.normal(m, dim)
    v, u = draw.normal(dim, rank, scale=dim**-0.5), draw.normal(rank, dim, scale=rank**-0.5)
    return tuple(t.to(case.torch_dtype) for t in (x0, x, v, u, draw.normal(dim)))


def sizes(m: int, dim: int, rank: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"m": m, "dim": dim, "rank": rank}


def min_bytes(case: Case) -> float:
    """Both features, both factors and the bias read, the result written once."""
    m, dim, rank = case["m"], case["dim"], case["rank"]
    return float(case.torch_dtype.itemsize * (3 * m * dim + 2 * dim * rank + dim))


TASK = Task(
    name="dlrm_cross_net",
    title="Cross layer of DLRM",
    statement=(
        "Compute a cross layer of low rank: y = x0 * ((x @ v) @ u + b) + x, the first product "
        "being elementwise. x0 and x are [m, dim], v is [dim, rank], u is [rank, dim] and b is "
        "[dim], all row-major, contiguous and of one dtype, float16 or bfloat16. Return y of shape "
        "[m, dim] in that dtype, contiguous; accumulate in float32 (x @ v may be rounded to the "
        "dtype). dim and rank are multiples of 8. The shape is that of DLRM-DCNv2."
    ),
    entry=Entry("dlrm_cross_net", ("x0", "x", "v", "u", "b")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(33, 40, 24)),
        Case("bfloat16", sizes(17, 48, 8)),
        Case("float16", sizes(5, 8, 40)),
        # Several blocks along every axis, whatever the blocks.
        Case("bfloat16", sizes(136, 264, 72)),
        Case("float16", sizes(19, 136, 264)),
    ),
    bench=(Case("float16", sizes(8192, 3456, 512)),),
    untimed=(Case("bfloat16", sizes(65536, 3456, 512)),),
    spans={
        "m": Span(low=2, high=1000, tiny=48),
        "dim": Span(low=8, high=1000, tiny=64, multiple=8),
        "rank": Span(low=8, high=600, tiny=40, multiple=8),
    },
    flops=lambda case: 4.0 * case["m"] * case["dim"] * case["rank"],
    min_bytes=min_bytes,
    reduction=lambda case: case["dim"],
    knobs=KNOBS,
    unit=Unit.MATRIX,
    tags=("mlperf", "matrix"),
    **answers(__file__),
)
