"""Matrix product in half precision: the task every other matrix kernel starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers

if TYPE_CHECKING:
    import torch


def reference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`a @ b`: (M, K) by (K, N) to (M, N)."""
    return a @ b


def part(ranges: Any, cast: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A tile of the result."""
    return reference(cast(a[ranges[0]]), cast(b[:, ranges[1]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Normal factors: every output is a sum of K terms of either sign.

    In bfloat16 they are so large that the sums leave float16's range, in which nobody is to add.
    """
    import torch

    scale = 128.0 if case.dtype == "bfloat16" else 1.0

    def normal(*shape: int) -> torch.Tensor:
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        return (drawn * scale).to(case.torch_dtype)

    return normal(case["m"], case["k"]), normal(case["k"], case["n"])


def flops(case: Case) -> float:
    """A multiplication and an addition per element of the M x N x K cube."""
    return 2.0 * case["m"] * case["n"] * case["k"]


def min_bytes(case: Case) -> float:
    """Both factors read and the product written once."""
    m, n, k = case["m"], case["n"], case["k"]
    return float(case.torch_dtype.itemsize * (m * k + k * n + m * n))


TASK = Task(
    name="matmul",
    title="Matrix product",
    statement=(
        "Compute c = a @ b for a of shape [m, k] and b of shape [k, n], both row-major and "
        "contiguous, in bfloat16 or float16. Return c of shape [m, n], contiguous, in the dtype "
        "of the inputs; accumulate in float32. The sizes may be any positive integers."
    ),
    entry=Entry("matmul", ("a", "b")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", {"m": 33, "n": 40, "k": 24}),
        Case("bfloat16", {"m": 33, "n": 17, "k": 40}),
        Case("float16", {"m": 19, "n": 50, "k": 31}),
        # Several blocks along every axis, whatever the blocks.
        Case("float16", {"m": 603, "n": 70, "k": 73}),
        Case("bfloat16", {"m": 136, "n": 264, "k": 136}),
    ),
    bench=(Case("bfloat16", {"m": 4096, "n": 4096, "k": 4096}),),
    untimed=(Case("bfloat16", {"m": 8192, "n": 8192, "k": 8192}),),
    spans={
        "m": Span(low=2, high=1100, tiny=48),
        "n": Span(low=2, high=1100, tiny=48),
        "k": Span(low=1, high=1100, tiny=48),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["k"],
    knobs={
        "BLOCK_M": (64, 128),
        "BLOCK_N": (64, 128, 256),
        "BLOCK_K": (32, 64, 128),
        "GROUP_M": (1, 4, 8, 16),
        "NUM_WARPS": (4, 8),
        "NUM_STAGES": (2, 3, 4, 5),
        "PROGRAMS": (132, 264),
    },
    unit=Unit.MATRIX,
    tags=("core", "matrix"),
    **answers(__file__),
)
