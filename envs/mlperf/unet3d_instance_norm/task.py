"""Instance normalisation and leaky ReLU of a volume: each channel of each image for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...group_norms import bytes_of, elements, flops_of, inputs_of, part_of

if TYPE_CHECKING:
    import torch

AXES = ("depth", "height", "breadth")
"""The axes of pixels."""
EPS = 1e-5
"""Added to the variance; PyTorch's default."""


SLOPE = 0.01
"""Of leaky ReLU below zero, as in nnU-Net."""


def reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(x - mean) / sqrt(var + eps) of each channel, · weight + bias, then leaky ReLU.

    Source: Ulyanov et al., "Instance Normalization", arXiv 1607.08022.
    """
    import torch

    y = torch.nn.functional.instance_norm(x, weight=weight, bias=bias, eps=EPS)
    return torch.nn.functional.leaky_relu(y, SLOPE)


def sizes(batch: int, groups: int, depth: int, height: int, breadth: int) -> dict[str, int]:
    """The named sizes of a case; the channels are groups."""
    return {"batch": batch, "groups": groups, "depth": depth, "height": height, "breadth": breadth}


TASK = Task(
    name="unet3d_instance_norm",
    title="Instance norm and leaky ReLU of 3D U-Net",
    statement=(
        "Normalise every channel of every volume and apply leaky ReLU: z = (x - mean) / sqrt(var "
        "+ 1e-5) * weight + bias, with mean and biased variance over the voxels of the channel, "
        "weight and bias of the channel; y = z if z > 0, else 0.01 * z. x is [batch, channels, "
        "depth, height, width], contiguous; weight and bias are [channels]; all three have one "
        "dtype, float32, float16 or bfloat16. Return y of x's shape and dtype, contiguous. "
        "Compute in float32; means are far from zero, so the variance must be taken around the "
        "mean. The shape is that of 3D U-Net's first level."
    ),
    entry=Entry("unet3d_instance_norm", ("x", "weight", "bias")),
    reference=reference,
    part=part_of(reference),
    inputs=inputs_of(AXES, groups=False),
    tiny=(
        Case("float32", sizes(2, 3, 4, 5, 6)),
        Case("float16", sizes(1, 4, 3, 5, 7)),
        Case("bfloat16", sizes(3, 2, 4, 4, 8)),
        Case("float32", sizes(1, 1, 11, 13, 12)),
        Case("float16", sizes(1, 2, 12, 20, 25)),
    ),
    bench=(Case("float16", sizes(2, 32, 128, 128, 128)),),
    untimed=(Case("bfloat16", sizes(2, 32, 128, 128, 128)),),
    spans={
        "batch": Span(low=1, high=4, tiny=2),
        "groups": Span(low=1, high=16, tiny=3),
        "depth": Span(low=3, high=24, tiny=6),
        "height": Span(low=3, high=24, tiny=6),
        "breadth": Span(low=3, high=24, tiny=6),
    },
    flops=flops_of(AXES, 6.0),
    min_bytes=bytes_of(AXES),
    reduction=lambda case: elements(case, AXES),
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "SPAN": (1, 2, 4, 8, 16),
        "NUM_WARPS": (4, 8, 16),
    },
    tags=("mlperf", "reduction", "normalization"),
    **answers(__file__),
)
