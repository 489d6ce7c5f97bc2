"""A linear layer with a low-rank adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import KNOBS, factor, product_bytes

if TYPE_CHECKING:
    import torch


def reference(
    x: torch.Tensor, w: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    """x W + scale · x A B.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, with
    scale = α / r.
    """
    return x @ w + scale * ((x @ a) @ b)


def part(
    ranges: Any, cast: Any, x: torch.Tensor, w: torch.Tensor, a: torch.Tensor, b: torch.Tensor,
    scale: float,
) -> torch.Tensor:  # fmt: skip
    """A tile of the result."""
    rows, cols = ranges
    return reference(cast(x[rows]), cast(w[:, cols]), cast(a), cast(b[:, cols]), scale)


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """An adapter whose part of the result is as large as the layer's."""
    draw = Draw(generator)
    m, n, k, rank = (case[name] for name in ("m", "n", "k", "rank"))
    a = draw.normal(k, rank, scale=(1.0 / k) ** 0.5).to(case.torch_dtype)
    b = draw.normal(rank, n, scale=(k / rank) ** 0.5 / 2).to(case.torch_dtype)
    w = draw.normal(k, n).to(case.torch_dtype)
    return factor(case, draw, m, k), w, a, b, 2.0


def sizes(m: int, n: int, k: int, rank: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"m": m, "n": n, "k": k, "rank": rank}


def flops(case: Case) -> float:
    """Three products."""
    m, n, k, rank = (case[name] for name in ("m", "n", "k", "rank"))
    return 2.0 * m * n * k + 2.0 * m * k * rank + 2.0 * m * rank * n


def min_bytes(case: Case) -> float:
    """What the layer's product reads and writes, and the adapter."""
    adapter = case["rank"] * (case["k"] + case["n"])
    return product_bytes(case) + case.torch_dtype.itemsize * adapter


TASK = Task(
    name="lora_matmul",
    title="Linear layer with LoRA",
    statement=(
        "Compute y = x @ w + scale * (x @ a) @ b. x is [m, k], w is [k, n], a is [k, rank] and b "
        "is [rank, n], all row-major, contiguous and of one dtype, bfloat16 or float16; scale is a "
        "Python float. Return y of shape [m, n] in that dtype, contiguous; accumulate in float32. "
        "n and k are multiples of 8, rank is 8 or 16."
    ),
    entry=Entry("lora_matmul", ("x", "w", "a", "b", "scale")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(33, 40, 24, 8)),
        Case("bfloat16", sizes(33, 16, 40, 16)),
        Case("float16", sizes(19, 48, 32, 16)),
        # Several blocks along every axis, whatever the blocks.
        Case("float16", sizes(303, 72, 80, 8)),
        Case("bfloat16", sizes(136, 264, 136, 16)),
    ),
    bench=(Case("bfloat16", sizes(8192, 8192, 8192, 16)),),
    untimed=(Case("bfloat16", sizes(4096, 4096, 4096, 16)),),
    spans={
        "m": Span(low=2, high=1000, tiny=48),
        "n": Span(low=8, high=1000, tiny=48, multiple=8),
        "k": Span(low=8, high=1000, tiny=48, multiple=8),
        "rank": Span(low=8, high=16, tiny=16, multiple=8),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["k"],
    knobs=KNOBS,
    unit=Unit.MATRIX,
    tags=("mlperf", "matrix"),
    **answers(__file__),
)
