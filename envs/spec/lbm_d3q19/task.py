"""A step of the lattice Boltzmann method: nineteen streams in, nineteen shifted streams out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw
from ...grids import points, sizes, wrapped

if TYPE_CHECKING:
    import torch

DIRECTIONS = (
    (0, 0, 0),
    (0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0),
    (0, 1, 1), (0, 1, -1), (0, -1, 1), (0, -1, -1),
    (1, 0, 1), (1, 0, -1), (-1, 0, 1), (-1, 0, -1),
    (1, 1, 0), (1, -1, 0), (-1, 1, 0), (-1, -1, 0),
)  # fmt: skip
"""Velocities (z, y, x)."""
WEIGHTS = (1 / 3, *(1 / 18,) * 6, *(1 / 36,) * 12)
"""Of the equilibrium."""


def collided(f: torch.Tensor, omega: float) -> torch.Tensor:
    """f_i - ω (f_i - f_i^eq) with f_i^eq = w_i ρ (1 + 3 e·u + 9/2 (e·u)² - 3/2 u²)."""
    import torch

    e = torch.tensor(DIRECTIONS, dtype=f.dtype, device=f.device)
    w = torch.tensor(WEIGHTS, dtype=f.dtype, device=f.device)
    density = f.sum(dim=0)
    u = torch.einsum("ia,izyx->azyx", e, f) / density
    along = torch.einsum("ia,azyx->izyx", e, u)
    square = (u * u).sum(dim=0)
    shape = (-1, 1, 1, 1)
    equilibrium = w.view(shape) * density * (1 + 3 * along + 4.5 * along**2 - 1.5 * square)
    return f - omega * (f - equilibrium)


def reference(f: torch.Tensor, omega: float) -> torch.Tensor:
    """Collision by Bhatnagar, Gross and Krook (1954), then each f_i moved by e_i, periodically.

    Source: Qian, d'Humières and Lallemand, "Lattice BGK Models for Navier-Stokes Equation" (1992).
    """
    import torch

    after = collided(f, omega)
    moved = [torch.roll(one, e, dims=(0, 1, 2)) for one, e in zip(after, DIRECTIONS, strict=True)]
    return torch.stack(moved)


def part(ranges: Any, cast: Any, f: torch.Tensor, omega: float) -> torch.Tensor:
    """Some points of some of the directions."""
    import torch

    which, *block = ranges
    after = collided(cast(wrapped(f, block, 1)), omega)

    def moved(i: int) -> torch.Tensor:
        inner = (
            slice(1 - e, n - 1 - e)
            for e, n in zip(DIRECTIONS[i], after.shape[1:], strict=True)
        )  # fmt: skip
        return after[i][tuple(inner)]

    return torch.stack([moved(i) for i in range(which.start, which.stop)])


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """Distributions near their weights, a tenth off, so that there is flow everywhere."""
    import torch

    draw = Draw(generator)
    noise = draw.normal(19, case["nz"], case["ny"], case["nx"], scale=0.1)
    w = torch.tensor(WEIGHTS, device=noise.device).view(-1, 1, 1, 1)
    return w * (1 + noise), 1.2


TASK = Task(
    name="lbm_d3q19",
    title="Lattice Boltzmann D3Q19",
    statement=(
        "Compute a step of the lattice Boltzmann method with 19 velocities on a periodic grid. For "
        "every point: rho = sum_i f_i, u = sum_i e_i * f_i / rho, feq_i = w_i * rho * (1 + 3 "
        "(e_i.u) + 4.5 (e_i.u)^2 - 1.5 u.u); after collision g_i = f_i - omega * (f_i - feq_i) "
        "moves to the point e_i further: out[i, z+ez, y+ey, x+ex] = g_i[z, y, x], indices wrapping "
        "around. The velocities (ez, ey, ex), in order: (0,0,0); (0,0,1), (0,0,-1), (0,1,0), "
        "(0,-1,0), (1,0,0), (-1,0,0); (0,1,1), (0,1,-1), (0,-1,1), (0,-1,-1); (1,0,1), (1,0,-1), "
        "(-1,0,1), (-1,0,-1); (1,1,0), (1,-1,0), (-1,1,0), (-1,-1,0); w_i is 1/3 for the first, "
        "1/18 for the next six and 1/36 for the others. f is [19, nz, ny, nx], contiguous, in "
        "float32; omega is a Python float; return out of f's shape and dtype, contiguous. All "
        "sizes are 3 or more."
    ),
    entry=Entry("lbm_d3q19", ("f", "omega")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=tuple(
        Case("float32", sizes(*shape))
        for shape in ((4, 5, 6), (3, 3, 3), (3, 4, 70), (9, 3, 5), (3, 17, 4))
    ),
    bench=(Case("float32", sizes(128, 128, 128)),),
    untimed=(Case("float32", sizes(64, 128, 256)),),
    spans=dict.fromkeys(("nz", "ny", "nx"), Span(low=3, high=60, tiny=8)),
    flops=lambda case: 250.0 * points(case),
    min_bytes=lambda case: 2.0 * 19 * 4 * points(case),
    reduction=lambda case: 19,
    knobs={
        "BLOCK": (64, 128, 256, 512),
        "NUM_WARPS": (1, 2, 4, 8),
    },
    tags=("spec", "stencil"),
    **answers(__file__),
)
