"""A smoother for an elliptic problem with variable coefficients, as in geometric multigrid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from ...draws import Draw
from ...grids import grid_task, wrapped

if TYPE_CHECKING:
    import torch

OMEGA = 2.0 / 3.0
"""Weight of Jacobi's step, as HPGMG has it."""


def smoothed(
    x: torch.Tensor, rhs: torch.Tensor, beta_z: torch.Tensor, beta_y: torch.Tensor,
    beta_x: torch.Tensor, inverse: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """The inner points of blocks with a border of one on each side."""
    inner = slice(1, -1)
    near, far, here = slice(0, -2), slice(2, None), (inner, inner, inner)
    u = x[here]
    ax = beta_z[here] * (x[near, inner, inner] - u) + beta_z[far, inner, inner] * (
        x[far, inner, inner] - u
    )
    ax = ax + beta_y[here] * (x[inner, near, inner] - u)
    ax = ax + beta_y[inner, far, inner] * (x[inner, far, inner] - u)
    ax = ax + beta_x[here] * (x[inner, inner, near] - u)
    ax = ax + beta_x[inner, inner, far] * (x[inner, inner, far] - u)
    return u + OMEGA * inverse[here] * (rhs[here] + ax)


def part(ranges: Any, cast: Any, *grids: torch.Tensor) -> torch.Tensor:
    """A block of the result."""
    return smoothed(*(cast(wrapped(x, ranges, 1)) for x in grids))


def reference(*grids: torch.Tensor) -> torch.Tensor:
    """x + ω D⁻¹ (rhs - A x) with A x = -Σ over the six faces of β_face (x_neighbour - x).

    Source: HPGMG-FV (Adams et al., 2014), `operators.7pt` with a Jacobi smoother and periodic
    boundaries.
    """
    import torch

    pad = torch.nn.functional.pad
    return smoothed(*(pad(x[None, None], (1,) * 6, mode="circular")[0, 0] for x in grids))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """A rough field, and coefficients that differ by a factor of five from face to face."""
    draw = Draw(generator)
    shape = case["nz"], case["ny"], case["nx"]
    betas = (draw.uniform(0.4, 2.0, *shape) for _ in range(3))
    return draw.normal(*shape), draw.normal(*shape), *betas, draw.uniform(0.1, 0.3, *shape)


TASK = grid_task(
    __file__,
    title="Smoother of HPGMG",
    statement=(
        "Compute a weighted Jacobi step for an elliptic problem with variable coefficients on a "
        "periodic grid: out = x + 2/3 * inverse * (rhs + sum over the six faces of beta_face * "
        "(neighbour - x)), the neighbour being the value of x across the face. beta_z[z, y, x] "
        "belongs to the face between planes z-1 and z, beta_y to that between y-1 and y, beta_x to "
        "that between x-1 and x; indices wrap around. All six arguments are [nz, ny, nx], "
        "contiguous, in float32; return out of the same shape and dtype, contiguous. All sizes are "
        "3 or more."
    ),
    parameters=("x", "rhs", "beta_z", "beta_y", "beta_x", "inverse"),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=((5, 7, 33), (3, 3, 3), (4, 12, 130), (18, 5, 9), (6, 70, 12)),
    bench=((256, 256, 256),),
    untimed=((128, 256, 512),),
    operations=21.0,
    grids=7,
    border=1,
    knobs={
        "BLOCK_Y": (1, 2, 4, 8),
        "BLOCK_X": (64, 128, 256),
        "PLANES": (1, 4, 8, 16, 32),
        "NUM_WARPS": (2, 4, 8),
    },
)
