"""The gradients of layer normalisation: a row's and two sums over all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from ...draws import Draw
from ...rows import row_task, sizes

if TYPE_CHECKING:
    import torch

EPS = 1e-5
"""Added to the variance by the forward pass."""


def reference(
    x: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor, dy: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """dx, dweight and dbias of (x - mean) rstd · weight + bias.

    Source: the chain rule for Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.
    """
    import torch

    dtype = x.dtype
    if dtype != torch.float64:
        x, weight, dy = x.float(), weight.float(), dy.float()
    normal = (x - mean[:, None]) * rstd[:, None]
    g = dy * weight
    along = (g * normal).mean(dim=-1, keepdim=True)
    dx = rstd[:, None] * (g - g.mean(dim=-1, keepdim=True) - normal * along)
    return dx.to(dtype), (dy * normal).sum(dim=0).to(dtype), dy.sum(dim=0).to(dtype)


def part(
    ranges: Any,
    cast: Any,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    dy: torch.Tensor,
) -> Any:
    """Some rows of dx, or some columns of the sums over all rows."""
    if len(ranges) == 2:
        some = ranges[0]
        return reference(
            cast(x[some]), cast(weight), cast(mean[some]), cast(rstd[some]), cast(dy[some])
        )
    cols = ranges[0]
    x, dy = cast(x[:, cols]), cast(dy[:, cols])
    import torch

    wide = x if x.dtype == torch.float64 else x.float()
    sums = (
        (dy.to(wide.dtype) * ((wide - cast(mean)[:, None]) * cast(rstd)[:, None]))
        .sum(dim=0)
        .to(x.dtype)
    )
    return None, sums, dy.to(wide.dtype).sum(dim=0).to(x.dtype)


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Rows off centre of different size, and gradients whose sums over rows are not near zero."""

    draw = Draw(generator)
    rows, cols = case["rows"], case["cols"]
    x = draw.rows(rows, cols, spread=(0.5, 2.0), level=(-1.5, 1.5)).to(case.torch_dtype)
    weight = 1.0 + 0.5 * draw.normal(cols)
    wide = x.float()
    mean = wide.mean(dim=-1)
    rstd = (wide.var(dim=-1, correction=0) + EPS).rsqrt()
    # A part that every row has, so that sums over rows grow with their number.
    dy = draw.normal(rows, cols) + (wide - wide.mean(dim=-1, keepdim=True)) * 0.5 + 0.3
    return x, weight.to(case.torch_dtype), mean, rstd, dy.to(case.torch_dtype)


TASK = row_task(
    __file__,
    title="Gradients of layer normalisation",
    statement=(
        "Compute the gradients of layer normalisation y = n * weight + bias with n = (x - mean) "
        "* rstd for every row. With g = dy * weight, dx = rstd * (g - mean_j(g) - n * mean_j(g "
        "* n)), the means being those of the row; dweight[j] = sum_i dy[i, j] * n[i, j] and "
        "dbias[j] = sum_i dy[i, j] over all rows. Return (dx, dweight, dbias). x and dy are "
        "[rows, cols], row-major and contiguous, and weight is [cols], of one dtype, float32, "
        "float16 or bfloat16; mean and rstd (1 / sqrt(var + 1e-5)) are [rows] in float32, as "
        "the forward pass keeps them. dx has x's shape, dweight and dbias are [cols], all in "
        "x's dtype. Compute in float32. cols is at most 8192."
    ),
    parameters=("x", "weight", "mean", "rstd", "dy"),
    reference=reference,
    part=part,
    inputs=inputs,
    bench=(Case("bfloat16", sizes(8192, 4096)),),
    untimed=(Case("float32", sizes(8192, 4096)),),
    operations=12.0,
    matrices=3,
    min_bytes=lambda case: (
        case.torch_dtype.itemsize * (3.0 * case["rows"] * case["cols"] + 3 * case["cols"])
        + 8.0 * case["rows"]
    ),
    summed=True,
    knobs={
        "STAGES": (1, 2, 3),
        "NUM_WARPS": (4, 8, 16),
        "PROGRAMS": (132, 264, 528),
    },
    tags=("backward", "reduction", "normalization"),
)
