"""Product of quantised matrices, with a scale for each row of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import KNOBS, SPANS, product_flops, sizes

if TYPE_CHECKING:
    import torch


def product(a: torch.Tensor, b: torch.Tensor, exact: bool) -> torch.Tensor:
    """a @ bᵀ of int8 matrices: the exact integers, or what float32 makes of them."""
    import torch

    if exact:
        return a.double() @ b.double().t()
    # What PyTorch's integer product takes; other shapes are multiplied in float32.
    if a.shape[0] > 16 and a.shape[1] % 8 == 0 and b.shape[0] % 8 == 0:
        return torch._int_mm(a, b.t()).float()
    return a.float() @ b.float().t()


def reference(
    a: torch.Tensor, b: torch.Tensor, a_scale: torch.Tensor, b_scale: torch.Tensor
) -> torch.Tensor:
    """a_scale_i b_scale_j Σ_k a_ik b_jk in bfloat16.

    Source: the row-wise quantisation of Dettmers et al., "LLM.int8()", arXiv 2208.07339.
    """
    import torch

    exact = a_scale.dtype == torch.float64
    c = product(a, b, exact) * a_scale[:, None] * b_scale[None, :]
    return c if exact else c.bfloat16()


def part(
    ranges: Any, cast: Any, a: torch.Tensor, b: torch.Tensor,
    a_scale: torch.Tensor, b_scale: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """A tile of the result."""
    rows, cols = ranges
    return reference(a[rows], b[cols], cast(a_scale[rows]), cast(b_scale[cols]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Integers of the whole range, and scales that differ thirtyfold from row to row."""
    import torch

    draw = Draw(generator)
    a = draw.integers(-127, 128, case["m"], case["k"]).to(torch.int8)
    b = draw.integers(-127, 128, case["n"], case["k"]).to(torch.int8)
    scales = (draw.uniform(-7.0, -3.5, case[name]).exp_() for name in ("m", "n"))
    return a, b, *scales


def min_bytes(case: Case) -> float:
    """Both factors and scales read, the product written once in two bytes."""
    m, n, k = case["m"], case["n"], case["k"]
    return float(m * k + k * n + 4 * (m + n) + 2 * m * n)


TASK = Task(
    name="int8_matmul",
    title="Matrix product in int8",
    statement=(
        "Compute c[i, j] = a_scale[i] * b_scale[j] * sum_k a[i, k] * b[j, k]. a is [m, k] and b is "
        "[n, k] (a row for each column of the result, as weights are stored), both in int8, "
        "row-major and contiguous; a_scale is [m] and b_scale is [n] in float32. Return c of shape "
        "[m, n] in bfloat16, contiguous; the sum is to be exact in int32. The sizes may be any "
        "positive integers."
    ),
    entry=Entry("int8_matmul", ("a", "b", "a_scale", "b_scale")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("int8", sizes(33, 40, 24)),
        Case("int8", sizes(19, 50, 31)),
        # Several blocks along every axis, whatever the blocks.
        Case("int8", sizes(303, 70, 137)),
        Case("int8", sizes(136, 264, 272)),
    ),
    bench=(Case("int8", sizes(8192, 8192, 8192)),),
    untimed=(Case("int8", sizes(4096, 4096, 4096)),),
    spans=SPANS,
    flops=product_flops,
    min_bytes=min_bytes,
    reduction=lambda case: 1,  # sums of integers are exact
    knobs={**KNOBS, "BLOCK_K": (64, 128, 256)},
    unit=Unit.MATRIX,
    tags=("core", "matrix"),
    **answers(__file__),
)
