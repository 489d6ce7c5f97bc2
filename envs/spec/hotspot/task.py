"""A step of a chip's temperature: five points and the power that is spent there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from ...draws import Draw
from ...grids import grid_task

if TYPE_CHECKING:
    import torch

AMBIENT = 80.0
"""Temperature around the chip, in the units of Rodinia's code."""


def reference(
    temperature: torch.Tensor, power: torch.Tensor, step: float, gx: float, gy: float, gz: float
) -> torch.Tensor:
    """T + step (P + gy (N + S - 2T) + gx (E + W - 2T) + gz (80 - T)), edges repeated.

    Source: the HotSpot model (Skadron et al., 2003) as in Rodinia (Che et al., 2009).
    """
    import torch

    t = temperature
    north, south = torch.cat((t[:1], t[:-1])), torch.cat((t[1:], t[-1:]))
    west, east = torch.cat((t[:, :1], t[:, :-1]), 1), torch.cat((t[:, 1:], t[:, -1:]), 1)
    flow = power + gy * (north + south - 2 * t) + gx * (east + west - 2 * t) + gz * (AMBIENT - t)
    return t + step * flow


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """A rough field around the ambient temperature, and power that differs from point to point."""
    draw = Draw(generator)
    shape = case["ny"], case["nx"]
    return (
        80.0 + draw.normal(*shape, scale=10.0),
        draw.normal(*shape, scale=20.0),
        0.2,
        1.1,
        0.7,
        0.3,
    )


TASK = grid_task(
    __file__,
    title="HotSpot",
    statement=(
        "Compute a step of a chip's temperature: with T a point and N, S, W, E its neighbours "
        "(north is the row before, west the column before; beyond an edge the edge's own value), "
        "out = T + step * (P + gy * (N + S - 2*T) + gx * (E + W - 2*T) + gz * (80 - T)). "
        "temperature (T) and power (P) are [ny, nx], row-major and contiguous, in float32; step, "
        "gx, gy and gz are Python floats; return out of the same shape and dtype, contiguous."
    ),
    parameters=("temperature", "power", "step", "gx", "gy", "gz"),
    reference=reference,
    inputs=inputs,
    tiny=((7, 33), (3, 3), (12, 260), (37, 9), (70, 140)),
    bench=((4096, 4096),),
    untimed=((8192, 8192),),
    operations=16.0,
    grids=3,
    border=1,
    knobs={
        "BLOCK_Y": (1, 2, 4, 8, 16),
        "BLOCK_X": (128, 256, 512, 1024),
        "NUM_WARPS": (2, 4, 8),
    },
)
