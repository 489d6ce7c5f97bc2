"""The gradients of RMS normalisation: a row's and a sum over all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch

EPS = 1e-6
"""Added to the mean square by the forward pass."""


def reference(
    x: torch.Tensor, weight: torch.Tensor, rstd: torch.Tensor, dy: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """dx and dweight of x rstd · weight.

    Source: the chain rule for Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv
    1910.07467.
    """
    import torch

    dtype = x.dtype
    if dtype != torch.float64:
        x, weight, dy = x.float(), weight.float(), dy.float()
    normal = x * rstd[:, None]
    g = dy * weight
    along = (g * normal).mean(dim=-1, keepdim=True)
    dx = rstd[:, None] * (g - normal * along)
    return dx.to(dtype), (dy * normal).sum(dim=0).to(dtype)


def part(
    ranges: Any,
    cast: Any,
    x: torch.Tensor,
    weight: torch.Tensor,
    rstd: torch.Tensor,
    dy: torch.Tensor,
) -> Any:
    """Some rows of dx, or some columns of the sums over all rows."""
    if len(ranges) == 2:
        some = ranges[0]
        return reference(cast(x[some]), cast(weight), cast(rstd[some]), cast(dy[some]))
    cols = ranges[0]
    x, dy = cast(x[:, cols]), cast(dy[:, cols])
    import torch

    wide = x if x.dtype == torch.float64 else x.float()
    sums = (dy.to(wide.dtype) * (wide * cast(rstd)[:, None])).sum(dim=0).to(x.dtype)
    return None, sums


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows off centre of different size, and gradients whose sums over rows are not near zero."""

    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    x = draw.rows(rows, cols, spread=(0.5, 2.0), level=(-1.5, 1.5)).to(case.torch_dtype)
    weight = 1.0 + 0.5 * draw.normal(cols)
    wide = x.float()
    rstd = (wide.square().mean(dim=-1) + EPS).rsqrt()
    # A part that every row has, so that sums over rows grow with their number.
    dy = draw.normal(rows, cols) + (wide - wide.mean(dim=-1, keepdim=True)) * 0.5 + 0.3
    return x, weight.to(case.torch_dtype), rstd, dy.to(case.torch_dtype)


TASK = row_task(
    __file__,
    title="Gradients of RMS normalisation",
    statement=(
        "Compute the gradients of RMS normalisation y = n * weight with n = x * rstd for every "
        "row. With g = dy * weight, dx = rstd * (g - n * mean_j(g * n)), the mean being that of "
        "the row; dweight[j] = sum_i dy[i, j] * n[i, j] over all rows. Return (dx, dweight). x "
        "and dy are [rows, cols], row-major and contiguous, and weight is [cols], of one dtype, "
        "float32, float16 or bfloat16; rstd (1 / sqrt(mean(x^2) + 1e-6)) is [rows] in float32, "
        "as the forward pass keeps it. dx has x's shape, dweight is [cols], both in x's dtype. "
        "Compute in float32. cols is at most 8192."
    ),
    parameters=("x", "weight", "rstd", "dy"),
    reference=reference,
    part=part,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 4096)),),
    untimed=(Case("float32", sizes(8192, 4096)),),
    operations=10.0,
    matrices=3,
    min_bytes=lambda case: (
        case.torch_dtype.itemsize * (3.0 * case["rows"] * case["cols"] + 2 * case["cols"])
        + 4.0 * case["rows"]
    ),
    summed=True,
    knobs={
        "STAGES": (1, 2, 3),
        "NUM_WARPS": (4, 8, 16),
        "PROGRAMS": (132, 264, 528),
    },
    tags=("backward", "reduction", "normalization"),
)
