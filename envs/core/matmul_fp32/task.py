"""Matrix product in full single precision, which the matrix units do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Entry, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import KNOBS, SPANS, factor, product_bytes, product_flops, sizes

if TYPE_CHECKING:
    import torch


def reference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a @ b`: (m, k) by (k, n) to (m, n)."""
    return a @ b


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Normal factors: every output is a sum of k terms of either sign."""
    draw = Draw(generator)
    return factor(case, draw, case["m"], case["k"]), factor(case, draw, case["k"], case["n"])


TASK = Task(
    name="matmul_fp32",
    title="Matrix product in float32",
    statement=(
        "Compute c = a @ b for a of shape [m, k] and b of shape [k, n], both row-major and "
        "contiguous, in float32. Return c of shape [m, n] in float32, contiguous, as exact as a "
        "sum in float32: inputs rounded to tf32 or bfloat16 are out of tolerance. The sizes may be "
        "any positive integers."
    ),
    entry=Entry("matmul_fp32", ("a", "b")),
    reference=reference,
    part=lambda ranges, cast, a, b: reference(cast(a[ranges[0]]), cast(b[:, ranges[1]])),
    inputs=inputs,
    tiny=(
        Case("float32", sizes(33, 40, 24)),
        Case("float32", sizes(19, 50, 31)),
        # Several blocks along every axis, whatever the blocks.
        Case("float32", sizes(303, 70, 73)),
        Case("float32", sizes(136, 264, 136)),
    ),
    bench=(Case("float32", sizes(4096, 4096, 4096)),),
    untimed=(Case("float32", sizes(2048, 2048, 8192)),),
    spans=SPANS,
    flops=product_flops,
    min_bytes=product_bytes,
    reduction=lambda case: case["k"],
    knobs={
        **{name: values for name, values in KNOBS.items() if name != "PROGRAMS"},
        "BLOCK_K": (16, 32, 64),
        "SPLIT": (0, 1),
    },
    unit=Unit.MATRIX,
    tags=("core", "matrix"),
    **answers(__file__),
)
