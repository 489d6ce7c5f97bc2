"""A 3 x 3 convolution of ResNet with its folded batch normalisation and ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Task, Unit

from ...answers import answers
from ...convolutions import (
    KNOBS,
    SPANS,
    TINY,
    bordered,
    convolved,
    flops,
    min_bytes,
    sizes,
)
from ...draws import Draw
from ...products import factor

if TYPE_CHECKING:
    import torch


def finished(y: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """relu(scale · y + bias)."""
    import torch

    return torch.relu(y * scale + bias)


def reference(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """relu(s_o conv(x)_o + b_o).

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, with the
    statistics of batch normalisation folded into scale and bias, as for inference.
    """
    return finished(convolved(x, weight), scale, bias)


def part(
    ranges: Any, cast: Any, x: torch.Tensor, weight: torch.Tensor,
    scale: torch.Tensor, bias: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Some filters of some rows."""
    y = bordered(ranges, cast, x, weight)
    return finished(y, cast(scale[ranges[3]]), cast(bias[ranges[3]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Scales of either sign and biases of the size of what they are added to."""
    draw = Draw(generator)
    channels, filters = case["channels"], case["filters"]
    x = factor(case, draw, case["images"], case["height"], case["breadth"], channels)
    weight = factor(case, draw, filters, 3, 3, channels)
    large = 128.0 if case.dtype == "bfloat16" else 1.0
    scale = draw.signs(filters) * draw.uniform(0.5, 1.5, filters) / (9 * channels) ** 0.5
    bias = draw.normal(filters, scale=large**2)
    return x, weight, scale.to(case.torch_dtype), bias.to(case.torch_dtype)


TASK = Task(
    name="resnet_conv_bn_relu",
    title="Convolution, batch norm and ReLU of ResNet",
    statement=(
        "Compute a 3 x 3 convolution with stride 1 and zeros around the images, then a folded "
        "batch normalisation and ReLU: y[n, h, w, o] = max(0, scale[o] * (sum over r, s in 0..2 "
        "and c of x[n, h+r-1, w+s-1, c] * weight[o, r, s, c]) + bias[o]). x is [images, height, "
        "breadth, channels], weight is [filters, 3, 3, channels], scale and bias are [filters], "
        "all contiguous and of one dtype, float16 or bfloat16. Return y of shape [images, height, "
        "breadth, filters] in that dtype, contiguous; accumulate in float32. channels and filters "
        "are multiples of 8. The shape is that of ResNet-50's first stage."
    ),
    entry=Entry("resnet_conv_bn_relu", ("x", "weight", "scale", "bias")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=TINY,
    bench=(Case("float16", sizes(64, 56, 56, 64, 64)),),
    untimed=(Case("bfloat16", sizes(64, 28, 28, 128, 128)),),
    spans=SPANS,
    flops=flops,
    min_bytes=lambda case: min_bytes(case) + 2.0 * case.torch_dtype.itemsize * case["filters"],
    reduction=lambda case: 9 * case["channels"],
    knobs=KNOBS,
    unit=Unit.MATRIX,
    tags=("mlperf", "matrix"),
    **answers(__file__),
)
