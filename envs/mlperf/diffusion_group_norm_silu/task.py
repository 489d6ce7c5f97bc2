"""Group normalisation and SiLU of a diffusion model's residual block, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...group_norms import bytes_of, elements, flops_of, inputs_of, part_of

if TYPE_CHECKING:
    import torch

AXES = ("height", "breadth")
"""The axes of pixels."""
EPS = 1e-5
"""Added to the variance; PyTorch's default."""


def reference(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int
) -> torch.Tensor:
    """(x - mean) / sqrt(var + eps) of each group, · weight + bias of each channel, then silu.

    Source: Wu and He, "Group Normalization", arXiv 1803.08494.
    """
    import torch

    y = torch.nn.functional.group_norm(x, groups, weight, bias, EPS)
    return torch.nn.functional.silu(y)


def sizes(batch: int, groups: int, width: int, height: int, breadth: int) -> dict[str, int]:
    """The named sizes of a case; the channels are groups · width."""
    return {"batch": batch, "groups": groups, "width": width, "height": height, "breadth": breadth}


TASK = Task(
    name="diffusion_group_norm_silu",
    title="Group norm and SiLU of Stable Diffusion",
    statement=(
        "Normalise every group of channels of every image and apply SiLU: z = (x - mean) / "
        "sqrt(var + 1e-5) * weight + bias, with mean and biased variance over the channels and "
        "pixels of the group, weight and bias of the channel; y = z / (1 + exp(-z)). x is [batch, "
        "channels, height, width], contiguous; weight and bias are [channels]; all three have one "
        "dtype, float32, float16 or bfloat16; groups is a Python int that divides channels, and a "
        "group is channels/groups neighbouring channels. Return y of x's shape and dtype, "
        "contiguous. Compute in float32; means are far from zero, so the variance must be taken "
        "around the mean. The shape is that of Stable Diffusion's first block."
    ),
    entry=Entry("diffusion_group_norm_silu", ("x", "weight", "bias", "groups")),
    reference=reference,
    part=part_of(reference),
    inputs=inputs_of(AXES, groups=True),
    tiny=(
        Case("float32", sizes(2, 3, 2, 7, 9)),
        Case("float16", sizes(1, 4, 5, 4, 11)),
        Case("bfloat16", sizes(3, 2, 1, 8, 8)),
        Case("float32", sizes(1, 1, 3, 40, 41)),
        Case("float16", sizes(1, 2, 2, 50, 60)),
    ),
    bench=(Case("float16", sizes(2, 32, 10, 64, 64)),),
    untimed=(Case("bfloat16", sizes(2, 32, 10, 64, 64)),),
    spans={
        "batch": Span(low=1, high=6, tiny=2),
        "groups": Span(low=1, high=32, tiny=4),
        "width": Span(low=1, high=12, tiny=3),
        "height": Span(low=4, high=60, tiny=12),
        "breadth": Span(low=4, high=60, tiny=12),
    },
    flops=flops_of(AXES, 9.0),
    min_bytes=bytes_of(AXES),
    reduction=lambda case: elements(case, AXES),
    knobs={
        "BLOCK": (1024, 2048, 4096, 8192),
        "SPAN": (1, 2, 4, 8, 16),
        "NUM_WARPS": (4, 8, 16),
        "AT_ONCE_MB": (16, 24, 32, 40),
    },
    tags=("mlperf", "reduction", "normalization"),
    **answers(__file__),
)
