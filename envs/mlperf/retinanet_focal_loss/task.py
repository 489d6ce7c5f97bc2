"""The focal loss of RetinaNet's anchors: two transcendental functions an element, and one read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case, Span

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch

ALPHA, GAMMA = 0.25, 2.0
"""The paper's choice."""


def reference(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Σ_c -α_t (1 - p_t)^γ log p_t with p = σ(z), p_t = p for the target and 1 - p elsewhere.

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv 1708.02002, equation 5.
    """
    import torch

    z = logits if logits.dtype == torch.float64 else logits.float()
    hot = torch.arange(z.shape[1], device=z.device) == target[:, None]
    signed = torch.where(hot, z, -z)  # p_t = σ(signed)
    alpha = torch.where(hot, ALPHA, 1.0 - ALPHA)
    weight = alpha * torch.sigmoid(-signed) ** GAMMA
    return -(weight * torch.nn.functional.logsigmoid(signed)).sum(dim=-1)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Logits below zero, as of background, and a target class or none (-1) for each anchor."""
    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    logits = draw.rows(rows, cols, spread=(1.0, 3.0), level=(-4.0, 1.0))
    return logits.to(case.torch_dtype), draw.integers(-1, cols, rows)


TASK = row_task(
    __file__,
    title="Focal loss of RetinaNet",
    statement=(
        "Compute the focal loss of every anchor, summed over its classes: loss[i] = sum_c "
        "-alpha_t * (1 - p_t)^2 * log(p_t), where p = 1 / (1 + exp(-logits[i, c])); for c = "
        "target[i] p_t = p and alpha_t = 0.25, for all other classes p_t = 1 - p and alpha_t = "
        "0.75. logits is [rows, cols], row-major and contiguous, in float32, float16 or bfloat16; "
        "target is [rows] in int64, from -1 (background: no class) to cols-1. Return loss of shape "
        "[rows] in float32; compute in float32, and take log(p_t) without cancellation. Both sizes "
        "may be any positive integer. The shape is that of two images of RetinaNet with 264 "
        "classes."
    ),
    parameters=("logits", "target"),
    reference=reference,
    inputs=inputs,
    bench=(Case("float32", sizes(240174, 264)),),
    untimed=(Case("float16", sizes(240174, 264)),),
    operations=12.0,  # exponential, logarithm, quotient, comparison, sums and products
    matrices=1,
    min_bytes=lambda case: float(
        case.torch_dtype.itemsize * case["rows"] * case["cols"] + 12 * case["rows"]
    ),
    summed=True,
    tiny=(
        Case("float32", sizes(9, 264)),
        Case("float16", sizes(1, 130)),
        Case("bfloat16", sizes(5, 3)),
        Case("float32", sizes(3, 1201)),
        Case("float16", sizes(150, 19)),
    ),
    spans={"rows": Span(low=1, high=9000, tiny=40), "cols": Span(low=2, high=600, tiny=100)},
    knobs={
        "BLOCK": (8, 16, 32, 64),
        "ROWS": (16, 32, 64, 128),
        "NUM_WARPS": (2, 4, 8),
        "STAGES": (1, 2, 3),
    },
    tags=("mlperf", "reduction"),
)
