"""Many matrix products of one shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import KNOBS, factor, product_bytes, product_flops

if TYPE_CHECKING:
    import torch


def reference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a[i] @ b[i]` for every i: (batch, m, k) by (batch, k, n) to (batch, m, n)."""
    return a @ b


def part(ranges: Any, cast: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Tiles of some of the products."""
    batch, rows, cols = ranges
    return reference(cast(a[batch, rows]), cast(b[batch, :, cols]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Normal factors, drawn for each product."""
    draw = Draw(generator)
    batch, m, n, k = (case[name] for name in ("batch", "m", "n", "k"))
    return factor(case, draw, batch, m, k), factor(case, draw, batch, k, n)


def sizes(batch: int, m: int, n: int, k: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"batch": batch, "m": m, "n": n, "k": k}


TASK = Task(
    name="batched_matmul",
    title="Batched matrix product",
    statement=(
        "Compute c[i] = a[i] @ b[i] for every i, with a of shape [batch, m, k] and b of shape "
        "[batch, k, n], both contiguous and of one dtype, bfloat16 or float16. Return c of shape "
        "[batch, m, n] in that dtype, contiguous; accumulate in float32. The sizes may be any "
        "positive integers."
    ),
    entry=Entry("batched_matmul", ("a", "b")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(3, 33, 40, 24)),
        Case("bfloat16", sizes(2, 17, 48, 40)),
        Case("float16", sizes(1, 19, 50, 31)),
        # Several blocks along every axis, whatever the blocks.
        Case("bfloat16", sizes(2, 136, 264, 72)),
    ),
    bench=(Case("bfloat16", sizes(64, 1024, 1024, 1024)),),
    untimed=(Case("float16", sizes(256, 512, 512, 512)),),
    spans={
        "batch": Span(low=1, high=16, tiny=3),
        "m": Span(low=2, high=500, tiny=40),
        "n": Span(low=2, high=500, tiny=40),
        "k": Span(low=1, high=500, tiny=40),
    },
    flops=lambda case: case["batch"] * product_flops(case),
    min_bytes=lambda case: case["batch"] * product_bytes(case),
    reduction=lambda case: case["k"],
    knobs=KNOBS,
    unit=Unit.MATRIX,
    tags=("core", "matrix"),
    **answers(__file__),
)
