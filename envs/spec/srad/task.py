"""Speckle-reducing anisotropic diffusion: a coefficient and the divergence of what it lets flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from ...draws import Draw
from ...grids import grid_task

if TYPE_CHECKING:
    import torch


def reference(image: torch.Tensor, q0: float, rate: float) -> torch.Tensor:
    """J + rate/4 · (c_S d_S + c d_N + c_E d_E + c d_W) with the coefficients c of each point.

    Source: Yu and Acton, "Speckle Reducing Anisotropic Diffusion" (2002), as in Rodinia.
    """
    import torch

    j = image
    north = torch.cat((j[:1], j[:-1])) - j
    south = torch.cat((j[1:], j[-1:])) - j
    west = torch.cat((j[:, :1], j[:, :-1]), 1) - j
    east = torch.cat((j[:, 1:], j[:, -1:]), 1) - j
    gradient = (north**2 + south**2 + west**2 + east**2) / (j * j)
    laplacian = (north + south + west + east) / j
    q = (0.5 * gradient - laplacian**2 / 16) / (1 + 0.25 * laplacian) ** 2
    c = (1 / (1 + (q - q0) / (q0 * (1 + q0)))).clamp(0, 1)
    c_south, c_east = torch.cat((c[1:], c[-1:])), torch.cat((c[:, 1:], c[:, -1:]), 1)
    return j + 0.25 * rate * (c_south * south + c * north + c_east * east + c * west)


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """A speckled image: values that differ by a few percent to a half from their neighbours."""
    draw = Draw(generator)
    shape = case["ny"], case["nx"]
    return (0.15 * draw.normal(*shape) + draw.uniform(0.0, 0.4, case["ny"], 1)).exp(), 0.05, 0.5


TASK = grid_task(
    __file__,
    title="SRAD",
    statement=(
        "Compute a step of speckle-reducing anisotropic diffusion. With J a point of the image and "
        "N, S, W, E its neighbours (north is the row before, west the column before; beyond an "
        "edge the edge's own value): dN = N - J and likewise dS, dW, dE; G = (dN^2 + dS^2 + dW^2 + "
        "dE^2) / J^2; L = (dN + dS + dW + dE) / J; q = (G/2 - L^2/16) / (1 + L/4)^2; c = 1 / (1 + "
        "(q - q0) / (q0 * (1 + q0))), clipped to [0, 1]. Then out = J + rate/4 * (c_S * dS + c * "
        "dN + c_E * dE + c * dW), where c_S and c_E are the coefficients of the southern and the "
        "eastern neighbour (at an edge the point's own). image is [ny, nx], row-major and "
        "contiguous, positive, in float32; q0 and rate are Python floats; return out of its shape "
        "and dtype, contiguous."
    ),
    parameters=("image", "q0", "rate"),
    reference=reference,
    inputs=inputs,
    tiny=((7, 33), (3, 3), (12, 260), (37, 9), (70, 140)),
    bench=((2048, 2048),),
    untimed=((8192, 8192),),
    operations=45.0,
    grids=2,
    border=2,
    knobs={
        "BLOCK_Y": (1, 2, 4, 8),
        "BLOCK_X": (64, 128, 256),
        "NUM_WARPS": (2, 4, 8),
    },
)
