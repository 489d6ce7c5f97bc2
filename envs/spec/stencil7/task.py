"""A seven-point stencil, one step of Jacobi's iteration for the heat equation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from ...draws import Draw
from ...grids import grid_task

if TYPE_CHECKING:
    import torch


def reference(u: torch.Tensor, c0: float, c1: float) -> torch.Tensor:
    """c1 · (sum of six neighbours) - c0 · u inside, u on the border.

    Source: the stencil of Parboil (Stratton et al., 2012), which SPEC ACCEL took over.
    """
    out = u.clone()
    around = u[2:, 1:-1, 1:-1] + u[:-2, 1:-1, 1:-1] + u[1:-1, 2:, 1:-1]
    around = around + u[1:-1, :-2, 1:-1] + u[1:-1, 1:-1, 2:] + u[1:-1, 1:-1, :-2]
    out[1:-1, 1:-1, 1:-1] = c1 * around - c0 * u[1:-1, 1:-1, 1:-1]
    return out


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """A field of noise, in which no neighbour stands for another."""
    return Draw(generator).normal(case["nz"], case["ny"], case["nx"], scale=2.0), 1.75, 0.4


TASK = grid_task(
    __file__,
    title="Seven-point stencil",
    statement=(
        "For every inner point of a grid compute out = c1 * (sum of its six neighbours) - c0 * u; "
        "on the border (first and last index of any axis) out = u. u is [nz, ny, nx], contiguous, "
        "in float32; c0 and c1 are Python floats; return out of u's shape and dtype, contiguous. "
        "All sizes are 3 or more."
    ),
    parameters=("u", "c0", "c1"),
    reference=reference,
    inputs=inputs,
    tiny=((5, 7, 33), (3, 3, 3), (4, 12, 130), (18, 5, 9), (6, 70, 12)),
    bench=((64, 512, 512),),
    untimed=((256, 256, 256),),
    operations=8.0,
    grids=2,
    border=1,
    knobs={
        "BLOCK_Y": (1, 2, 4, 8, 16),
        "BLOCK_X": (64, 128, 256, 512),
        "PLANES": (4, 8, 16, 32, 64),
        "NUM_WARPS": (2, 4, 8),
    },
)
