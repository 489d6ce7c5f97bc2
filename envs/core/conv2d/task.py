"""A 3 x 3 convolution of images whose channels lie innermost."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """y[n, h, w, o] = Σ_rsc x[n, h+r-1, w+s-1, c] weight[o, r, s, c], zeros around."""
    return convolved(x, weight)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Normal images and weights: every output is a sum of terms of either sign."""
    draw = Draw(generator)
    x = factor(case, draw, case["images"], case["height"], case["breadth"], case["channels"])
    return x, factor(case, draw, case["filters"], 3, 3, case["channels"])


TASK = Task(
    name="conv2d",
    title="Convolution of images",
    statement=(
        "Compute a 3 x 3 convolution with stride 1 and zeros around the images: y[n, h, w, o] = "
        "sum over r, s in 0..2 and c of x[n, h+r-1, w+s-1, c] * weight[o, r, s, c]. x is [images, "
        "height, breadth, channels] and weight is [filters, 3, 3, channels], both contiguous and "
        "of one dtype, bfloat16 or float16. Return y of shape [images, height, breadth, filters] "
        "in that dtype, contiguous; accumulate in float32. channels and filters are multiples of "
        "8."
    ),
    entry=Entry("conv2d", ("x", "weight")),
    reference=reference,
    part=bordered,
    inputs=inputs,
    tiny=TINY,
    bench=(Case("bfloat16", sizes(64, 56, 56, 128, 128)),),
    untimed=(Case("float16", sizes(64, 28, 28, 256, 256)),),
    spans=SPANS,
    flops=flops,
    min_bytes=min_bytes,
    reduction=lambda case: 9 * case["channels"],
    knobs=KNOBS,
    unit=Unit.MATRIX,
    tags=("core", "matrix"),
    **answers(__file__),
)
