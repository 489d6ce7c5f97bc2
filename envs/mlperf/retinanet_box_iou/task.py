"""Overlap of every anchor with every object: few bytes in, many out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(anchors: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes (x0, y0, x1, y1): (n, 4) and (m, 4) to (n, m).

    Source: the matching of Lin et al., "Focal Loss for Dense Object Detection", arXiv 1708.02002.
    """
    import torch

    def area(box: torch.Tensor) -> torch.Tensor:
        return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])

    low = torch.maximum(anchors[:, None, :2], objects[None, :, :2])
    high = torch.minimum(anchors[:, None, 2:], objects[None, :, 2:])
    side = (high - low).clamp(min=0)
    common = side[..., 0] * side[..., 1]
    return common / (area(anchors)[:, None] + area(objects)[None, :] - common)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Boxes so large in their image that most pairs overlap, by very different shares."""
    import torch

    draw = Draw(generator)

    def boxes(count: int) -> torch.Tensor:
        low = draw.uniform(0.0, 400.0, count, 2)
        return torch.cat((low, low + draw.uniform(40.0, 400.0, count, 2)), dim=1)

    return boxes(case["anchors"]), boxes(case["objects"])


def part(ranges: Any, cast: Any, anchors: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """Some pairs."""
    return reference(cast(anchors[ranges[0]]), cast(objects[ranges[1]]))


TASK = Task(
    name="retinanet_box_iou",
    title="Box overlap of RetinaNet",
    statement=(
        "Compute the intersection over union of every anchor with every object: iou[i, j] = common "
        "/ (area_i + area_j - common), where common is the area of the intersection (0 if they do "
        "not overlap). Boxes are rows (x0, y0, x1, y1) with x0 < x1 and y0 < y1. anchors is "
        "[anchors, 4] and objects is [objects, 4], contiguous, in float32; return iou of shape "
        "[anchors, objects] in float32, contiguous. The shape is that of RetinaNet's anchors with "
        "100 objects."
    ),
    entry=Entry("retinanet_box_iou", ("anchors", "objects")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"anchors": 70, "objects": 9}),
        Case("float32", {"anchors": 5, "objects": 1}),
        Case("float32", {"anchors": 3, "objects": 300}),
        Case("float32", {"anchors": 700, "objects": 3}),
    ),
    bench=(Case("float32", {"anchors": 120087, "objects": 100}),),
    untimed=(Case("float32", {"anchors": 120087, "objects": 400}),),
    spans={
        "anchors": Span(low=2, high=20000, tiny=200),
        "objects": Span(low=1, high=300, tiny=30),
    },
    # Four extrema, two differences with their extrema, a product, two sums and a quotient.
    flops=lambda case: 12.0 * case["anchors"] * case["objects"],
    min_bytes=lambda case: (
        16.0 * (case["anchors"] + case["objects"]) + 4.0 * case["anchors"] * case["objects"]
    ),
    reduction=lambda case: 2,
    knobs={
        "ROWS": (4, 8, 16, 32),
        "BLOCK": (32, 64, 128, 256),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("mlperf", "pairs"),
    **answers(__file__),
)
