"""One step of Gaussian elimination: a column is cleared below its pivot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(a: torch.Tensor, k: int) -> torch.Tensor:
    """a_ij - a_ik a_kj / a_kk for i > k and j >= k, a_ij elsewhere.

    Source: Rodinia's `gaussian` (Che et al., 2009), both of its kernels.
    """
    out = a.clone()
    out[k + 1 :, k:] -= (a[k + 1 :, k] / a[k, k])[:, None] * a[k, k:]
    return out


def part(ranges: Any, cast: Any, a: torch.Tensor, k: int) -> torch.Tensor:
    """A tile of the result."""
    import torch

    rows, cols = ranges
    tile, index = cast(a[rows, cols]), torch.arange(a.shape[0], device=a.device)
    factor = cast(a[rows, k]) / cast(a[k, k])
    below, right = index[rows] > k, index[cols] >= k
    change = factor[:, None] * cast(a[k, cols])[None, :]
    return torch.where(below[:, None] & right[None, :], tile - change, tile)


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """A matrix whose diagonal is away from zero, and a pivot at a quarter of it."""
    import torch

    draw = Draw(generator)
    n = case["n"]
    a = draw.normal(n, n)
    a += torch.diag(3.0 * draw.signs(n) + a.diagonal().sign())
    return a, n // 4


TASK = Task(
    name="gaussian_elimination_step",
    title="Step of Gaussian elimination",
    statement=(
        "Compute one step of Gaussian elimination without pivoting: out[i, j] = a[i, j] - a[i, k] "
        "* a[k, j] / a[k, k] for all i > k and j >= k, and out[i, j] = a[i, j] elsewhere. a is [n, "
        "n], row-major and contiguous, in float32, with a[k, k] away from zero; k is a Python int "
        "from 0 to n-2; return out of a's shape and dtype, contiguous. a must not be changed."
    ),
    entry=Entry("gaussian_elimination_step", ("a", "k")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=tuple(Case("float32", {"n": n}) for n in (33, 2, 70, 131)),
    bench=(Case("float32", {"n": 2048}),),
    untimed=(Case("float32", {"n": 8192}),),
    spans={"n": Span(low=3, high=2000, tiny=90)},
    flops=lambda case: 2.0 * (case["n"] - case["n"] // 4 - 1) * (case["n"] - case["n"] // 4),
    min_bytes=lambda case: 8.0 * case["n"] ** 2,
    reduction=lambda case: 2,
    knobs={
        "BLOCK_ROWS": (1, 2, 4, 8, 16),
        "BLOCK_COLS": (256, 512, 1024, 2048),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("spec", "matrix-vector"),
    **answers(__file__),
)
