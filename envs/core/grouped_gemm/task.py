"""Matrix products of groups of rows, as in a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import KNOBS, factor, grouped

if TYPE_CHECKING:
    import torch


def reference(a: torch.Tensor, b: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """c[i] = a[i] @ b[g] for offsets[g] <= i < offsets[g+1]."""
    return grouped(a, b, offsets)


def part(
    ranges: Any, cast: Any, a: torch.Tensor, b: torch.Tensor, offsets: torch.Tensor
) -> torch.Tensor:
    """A tile of the result, from the groups that its rows belong to."""
    import torch

    rows, cols = ranges
    index = torch.arange(rows.start, rows.stop, device=a.device)
    group = torch.bucketize(index, offsets[1:], right=True)
    out = cast(a[rows, :1]).new_zeros((len(index), cols.stop - cols.start))
    for g in group.unique().tolist():
        own = group == g
        out[own] = cast(a[rows][own]) @ cast(b[g, :, cols])
    return out


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Groups of which the largest is a few times the smallest."""
    import torch

    draw = Draw(generator)
    m, n, k, groups = (case[name] for name in ("m", "n", "k", "groups"))
    share = draw.uniform(0.3, 1.0, groups).cumsum(0)
    ends = (share / share[-1] * m).round().int()
    offsets = torch.cat((torch.zeros_like(ends[:1]), ends))
    return factor(case, draw, m, k), factor(case, draw, groups, k, n), offsets


def sizes(m: int, n: int, k: int, groups: int) -> dict[str, int]:
    """The named sizes of a case; m counts the rows of all groups."""
    return {"m": m, "n": n, "k": k, "groups": groups}


def min_bytes(case: Case) -> float:
    """Rows and matrices read and the product written once; with few rows a group may be empty."""
    m, n, k = case["m"], case["n"], case["k"]
    groups = min(case["groups"], m // 16) or 1
    return float(case.torch_dtype.itemsize * (m * k + groups * k * n + m * n))


TASK = Task(
    name="grouped_gemm",
    title="Grouped matrix products",
    statement=(
        "Multiply groups of rows with a matrix each: c[i] = a[i] @ b[g] for all rows i with "
        "offsets[g] <= i < offsets[g+1]. a is [m, k], the rows of group 0 first, then those of "
        "group 1 and so on; b is [groups, k, n]; both are contiguous and of one dtype, bfloat16 or "
        "float16. offsets is [groups+1] in int32 on the device, from 0 to m, ascending; a group "
        "may be empty. Return c of shape [m, n] in a's dtype, contiguous; accumulate in float32. "
        "n and k are multiples of 8, groups is at most 64."
    ),
    entry=Entry("grouped_gemm", ("a", "b", "offsets")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("bfloat16", sizes(50, 40, 24, 3)),
        Case("float16", sizes(19, 48, 32, 2)),
        Case("float16", sizes(5, 16, 8, 7)),
        # Several tiles along every axis, whatever the tiles.
        Case("bfloat16", sizes(290, 264, 136, 2)),
    ),
    bench=(Case("bfloat16", sizes(16384, 4096, 4096, 8)),),
    untimed=(Case("bfloat16", sizes(32768, 2048, 4096, 64)),),
    spans={
        "m": Span(low=2, high=1500, tiny=60),
        "n": Span(low=8, high=1000, tiny=48, multiple=8),
        "k": Span(low=8, high=1000, tiny=48, multiple=8),
        "groups": Span(low=1, high=16, tiny=4),
    },
    flops=lambda case: 2.0 * case["m"] * case["n"] * case["k"],
    min_bytes=min_bytes,
    reduction=lambda case: case["k"],
    knobs=KNOBS,
    unit=Unit.MATRIX,
    tags=("core", "matrix"),
    **answers(__file__),
)
