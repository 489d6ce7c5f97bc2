"""The last layer of ResNet's bottleneck: a 1 x 1 convolution, the shortcut and ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Task, Unit

from ...answers import answers
from ...draws import Draw
from ...products import SPANS, factor, product_bytes, product_flops, sizes

if TYPE_CHECKING:
    import torch


def reference(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor
) -> torch.Tensor:
    """relu(x W + b + shortcut): (m, k) by (k, n).

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, with the
    scale of batch normalisation folded into the weights.
    """
    import torch

    return torch.relu(torch.addmm(bias, x, weight) + shortcut)


def part(
    ranges: Any, cast: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor,
    shortcut: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """A tile of the result."""
    rows, cols = ranges
    return reference(
        cast(x[rows]), cast(weight[:, cols]), cast(bias[cols]), cast(shortcut[rows, cols])
    )


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Bias and shortcut of the size of the product."""
    draw = Draw(generator)
    m, n, k = case["m"], case["n"], case["k"]
    x, weight = factor(case, draw, m, k), factor(case, draw, k, n)
    size = (16384.0 if case.dtype == "bfloat16" else 1.0) * k**0.5
    bias, shortcut = draw.normal(n, scale=size), draw.normal(m, n, scale=size)
    return x, weight, bias.to(case.torch_dtype), shortcut.to(case.torch_dtype)


def min_bytes(case: Case) -> float:
    """What a product reads and writes, the bias and the shortcut."""
    m, n = case["m"], case["n"]
    return product_bytes(case) + case.torch_dtype.itemsize * (n + m * n)


TASK = Task(
    name="resnet_bottleneck_add",
    title="Bottleneck's end of ResNet",
    statement=(
        "Compute y = max(0, x @ weight + bias + shortcut). x is [m, k] (the pixels of all images "
        "by channels), weight is [k, n], bias is [n] and shortcut is [m, n], all row-major, "
        "contiguous and of one dtype, float16 or bfloat16. Return y of shape [m, n] in that dtype, "
        "contiguous; accumulate in float32. The sizes may be any positive integers. The shape is "
        "that of ResNet-50's first stage, where memory bounds it."
    ),
    entry=Entry("resnet_bottleneck_add", ("x", "weight", "bias", "shortcut")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float16", sizes(33, 40, 24)),
        Case("bfloat16", sizes(33, 17, 40)),
        Case("float16", sizes(19, 50, 31)),
        # Several blocks along every axis, whatever the blocks.
        Case("float16", sizes(603, 70, 73)),
        Case("bfloat16", sizes(136, 264, 136)),
    ),
    bench=(Case("float16", sizes(200704, 256, 64)),),
    untimed=(Case("bfloat16", sizes(50176, 512, 128)),),
    spans=SPANS,
    flops=product_flops,
    min_bytes=min_bytes,
    reduction=lambda case: case["k"],
    knobs={
        "BLOCK_M": (32, 64, 128),
        "BLOCK_N": (64, 128, 256),
        "BLOCK_K": (32, 64),
        "NUM_WARPS": (4, 8),
        "NUM_STAGES": (1, 2, 3, 4),
    },
    unit=Unit.MATRIX,
    tags=("mlperf", "matrix"),
    **answers(__file__),
)
