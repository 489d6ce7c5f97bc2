"""Rotary position embedding of Llama's queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The two halves of each head rotated by the angles of its token.

    Source: Su et al., "RoFormer", arXiv 2104.09864, in the layout of Llama's checkpoints, where
    component l is paired with l + dim / 2.
    """
    import torch

    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def part(
    ranges: Any, cast: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:
    """Some heads of some tokens."""
    tokens, heads, _ = ranges
    return reference(cast(x[tokens, heads]), cast(cos[tokens]), cast(sin[tokens]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Heads of different size, and tables of angles drawn anew, which no answer can know."""
    draw = Draw(generator)
    tokens, heads, dim = case["tokens"], case["heads"], case["dim"]
    x = draw.normal(tokens, heads, dim) * draw.uniform(0.5, 2.0, tokens, heads, 1)
    angles = draw.uniform(-3.14159, 3.14159, tokens, dim // 2)
    return tuple(t.to(case.torch_dtype) for t in (x, angles.cos(), angles.sin()))


def sizes(tokens: int, heads: int, dim: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"tokens": tokens, "heads": heads, "dim": dim}


def min_bytes(case: Case) -> float:
    """x read and written once, and the tables read once."""
    elements = 2 * case["tokens"] * case["heads"] * case["dim"] + case["tokens"] * case["dim"]
    return float(case.torch_dtype.itemsize * elements)


TASK = Task(
    name="llama_rope",
    title="Rotary embedding of Llama",
    statement=(
        "Rotate the two halves of every head: with a = x[t, h, :dim/2] and b = x[t, h, dim/2:], "
        "y[t, h] = concat(a * cos[t] - b * sin[t], b * cos[t] + a * sin[t]). x is [tokens, heads, "
        "dim] with an even dim, cos and sin are [tokens, dim/2], all contiguous and of one dtype, "
        "float32, float16 or bfloat16; return y of x's shape and dtype, contiguous. Compute in "
        "float32. The shape is that of Llama 3 8B's queries."
    ),
    entry=Entry("llama_rope", ("x", "cos", "sin")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", sizes(5, 3, 16)),
        Case("float16", sizes(1, 2, 128)),
        Case("bfloat16", sizes(7, 5, 64)),
        Case("float32", sizes(2, 37, 6)),
        Case("bfloat16", sizes(67, 1, 10)),
    ),
    bench=(Case("bfloat16", sizes(8192, 32, 128)),),
    untimed=(Case("float32", sizes(8192, 32, 128)),),
    spans={
        "tokens": Span(low=1, high=1000, tiny=9),
        "heads": Span(low=1, high=40, tiny=5),
        "dim": Span(low=8, high=256, tiny=64, multiple=2),
    },
    flops=lambda case: 3.0 * case["tokens"] * case["heads"] * case["dim"],
    min_bytes=min_bytes,
    reduction=lambda case: 2,
    knobs={
        "HEADS": (4, 8, 16, 32),
        "NUM_WARPS": (1, 2, 4, 8),
    },
    tags=("mlperf", "elementwise"),
    **answers(__file__),
)
