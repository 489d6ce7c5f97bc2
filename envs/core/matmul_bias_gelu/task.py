"""The first half of a transformer's feed-forward block: linear layer and exact GELU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task, Unit

from ...answers import answers

if TYPE_CHECKING:
    import torch


def reference(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`gelu(x @ w + bias)` with gelu(t) = t/2 (1 + erf(t/sqrt 2)): (M, K), (K, N), (N) to (M, N).

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
    """
    import torch

    return torch.nn.functional.gelu(torch.addmm(bias, x, w))


def part(
    ranges: Any, cast: Any, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """A tile of the result."""
    return reference(cast(x[ranges[0]]), cast(w[:, ranges[1]]), cast(bias[ranges[1]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Weights scaled by 1/sqrt K, so that GELU sees standard deviations of about one.

    There a missing bias, a tanh in place of the exact GELU's tail or a ReLU is visible.
    """
    import torch

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        return (drawn * scale).to(case.torch_dtype)

    m, n, k = case["m"], case["n"], case["k"]
    return normal(m, k), normal(k, n, scale=k**-0.5), normal(n)


def flops(case: Case) -> float:
    """Those of the matrix product; the epilogue's are left out, as is usual."""
    return 2.0 * case["m"] * case["n"] * case["k"]


def min_bytes(case: Case) -> float:
    """Inputs read and the output written once; nothing in between touches memory."""
    m, n, k = case["m"], case["n"], case["k"]
    return float(case.torch_dtype.itemsize * (m * k + k * n + n + m * n))


TASK = Task(
    name="matmul_bias_gelu",
    title="Linear layer with exact GELU",
    statement=(
        "Compute y = gelu(x @ w + bias) with the exact (erf) GELU, gelu(t) = t/2 * (1 + "
        "erf(t/sqrt(2))), for x of shape [m, k], w of shape [k, n] and bias of shape [n], all "
        "row-major and contiguous, in bfloat16 or float16. Return y of shape [m, n], contiguous, "
        "in the dtype of the inputs; accumulate, add the bias and apply GELU in float32. The "
        "sizes may be any positive integers."
    ),
    entry=Entry("matmul_bias_gelu", ("x", "w", "bias")),
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
    bench=(Case("bfloat16", {"m": 8192, "n": 4096, "k": 1024}),),
    untimed=(Case("bfloat16", {"m": 4096, "n": 4096, "k": 4096}),),
    spans={
        "m": Span(low=2, high=1100, tiny=48),
        "n": Span(low=2, high=1100, tiny=48),
        "k": Span(low=1, high=1100, tiny=48),
    },
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["k"] + 1,
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
    tags=("core", "matrix", "fused"),
    **answers(__file__),
)
