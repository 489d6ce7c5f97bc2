"""The matrix-vector product of a conjugate gradient solver, fused with its scalar product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from ...draws import Draw
from ...grids import bordered, grid_task

if TYPE_CHECKING:
    import torch


def product(p: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor) -> torch.Tensor:
    """w = p + Σ over the four faces of k_face (p - neighbour), no flow beyond an edge."""
    import torch

    across = kx[:, 1:] * (p[:, 1:] - p[:, :-1])  # flow through the face between x-1 and x
    along = ky[1:] * (p[1:] - p[:-1])
    pad = torch.nn.functional.pad
    w = p + pad(across, (1, 0)) - pad(across, (0, 1))
    return w + pad(along, (0, 0, 1, 0)) - pad(along, (0, 0, 0, 1))


def reference(
    p: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """w = A p and the scalar product of p and w.

    Source: `tea_leaf_cg_calc_w` of TeaLeaf (McIntosh-Smith et al., 2017), with its 5-point matrix.
    """
    w = product(p, kx, ky)
    return w, (p * w).sum().reshape(1)


def part(
    ranges: Any, cast: Any, p: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor
) -> tuple[Any, ...]:
    """Some of w; of the scalar product there is but the whole."""
    if len(ranges) == 1:
        return None, reference(cast(p), cast(kx), cast(ky))[1]
    return bordered(product, ranges, cast, (p, kx, ky), 1), None


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """A rough vector off zero, and conductivities that differ tenfold."""
    draw = Draw(generator)
    shape = case["ny"], case["nx"]
    p = draw.normal(*shape) + 0.5
    return p, draw.uniform(0.2, 2.0, *shape), draw.uniform(0.2, 2.0, *shape)


TASK = grid_task(
    __file__,
    title="Matrix-vector product of TeaLeaf",
    statement=(
        "Compute w = A p for the five-point matrix of a heat problem, and the scalar product of p "
        "and w. kx[y, x] is the conductivity of the face between points x-1 and x of row y (kx[y, "
        "0] is not used), ky[y, x] that of the face between rows y-1 and y (ky[0] is not used); "
        "through the edges nothing flows. w[y, x] = p[y, x] + sum over the point's inner faces of "
        "k_face * (p[y, x] - p of the neighbour across that face). Return (w, pw) with pw = "
        "sum(p * w) of shape [1]. p, kx and ky are [ny, nx], row-major and contiguous, in float32; "
        "w has their shape; both results are float32, contiguous."
    ),
    parameters=("p", "kx", "ky"),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=((7, 33), (3, 3), (12, 260), (37, 9), (70, 140)),
    bench=((4096, 4096),),
    untimed=((8192, 8192),),
    operations=14.0,
    grids=4,
    border=1,
    # The first column of kx and the first row of ky are of faces that do not exist.
    min_bytes=lambda case: 4.0 * (4 * case["ny"] * case["nx"] - case["ny"] - case["nx"]) + 4.0,
    knobs={
        "BLOCK_Y": (1, 2, 4, 8, 16),
        "BLOCK_X": (128, 256, 512, 1024),
        "NUM_WARPS": (2, 4, 8),
    },
)
