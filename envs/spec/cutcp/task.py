"""Coulomb potential with a cutoff on a lattice, from atoms sorted into cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...cells import neighbours
from ...draws import Draw

if TYPE_CHECKING:
    import torch

DEPTH = 8
"""Places for atoms in a cell, as in Parboil's code; unused ones have no charge."""
FINE = 8
"""Lattice points along the side of a cell."""


def reference(atoms: torch.Tensor) -> torch.Tensor:
    """V(p) = Σ q/r (1 - r²)² over the atoms with r < 1: (C, C, C, 8, 4) to (8C, 8C, 8C).

    Source: Hardy, Stone and Schulten, "Multilevel summation of electrostatic potentials using
    graphics processing units" (2009); Parboil's `cutcp`.
    """
    import torch

    cells = atoms.shape[0]
    # Points and atoms as seen from the corner of a cell.
    line = torch.arange(FINE, device=atoms.device).to(atoms.dtype) / FINE
    total = atoms.new_zeros((*atoms.shape[:3], FINE, FINE, FINE))
    for offset, there in neighbours(atoms):
        square = 0
        for axis in range(3):
            shape = [1] * 7
            shape[3 + axis] = FINE
            place = (there[..., axis] + offset[axis]).reshape(*atoms.shape[:3], 1, 1, 1, DEPTH)
            square = square + (line.view(shape) - place) ** 2
        q = there[..., 3].reshape(*atoms.shape[:3], 1, 1, 1, DEPTH)
        # The least distance keeps what is not there finite; no atom comes so near a point.
        value = q * square.clamp(min=1e-6).rsqrt() * (1 - square) ** 2
        total = total + torch.where(square < 1, value, 0.0).sum(dim=-1)
    return total.permute(0, 3, 1, 4, 2, 5).reshape((cells * FINE,) * 3)


def part(ranges: Any, cast: Any, atoms: torch.Tensor) -> torch.Tensor:
    """Some points, from the cells around them."""
    cells = atoms.shape[0]
    first = [max(r.start // FINE - 1, 0) for r in ranges]
    last = [min(-(-r.stop // FINE) + 1, cells) for r in ranges]
    # The reference takes a cube.
    side = max(b - a for a, b in zip(first, last, strict=True))
    first = [min(a, cells - side) for a in first]
    found = reference(cast(atoms[tuple(slice(a, a + side) for a in first)]))
    return found[tuple(slice(r.start - a * FINE, r.stop - a * FINE)
                       for r, a in zip(ranges, first, strict=True))]  # fmt: skip


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Atoms between the lattice points, with charges of either sign; a third of them missing."""
    import torch

    draw = Draw(generator)
    cells = case["cells"]
    shape = (cells, cells, cells, DEPTH, 3)
    # Never nearer than a quarter of the spacing, where q/r would drown all others.
    place = (draw.integers(0, FINE, *shape) + draw.uniform(0.25, 0.75, *shape)) / FINE
    charge = draw.signs(*shape[:4], 1) * draw.uniform(0.5, 1.5, *shape[:4], 1)
    there = draw.uniform(0.0, 1.0, *shape[:4], 1) < 2 / 3
    return (torch.cat((place, charge * there), dim=-1),)


def pairs(case: Case) -> float:
    """Pairs of a point and an atom within reach, on average: two thirds of the places in a ball
    around each point, whatever is cut off at the edges."""
    return (
        (case["cells"] * FINE) ** 3 * DEPTH * 2 / 3 * 4.18879 * ((1 - 1 / 3 / case["cells"]) ** 3)
    )


TASK = Task(
    name="cutcp",
    title="Cutoff Coulomb potential",
    statement=(
        "Compute the Coulomb potential with a cutoff on a lattice: V(p) = sum over all atoms with "
        "r < 1 of q / r * (1 - r^2)^2, r being the distance of the atom from point p. Space is cut "
        "into cells^3 cells of side 1 with 8 lattice points along each side. atoms is [cells, "
        "cells, cells, 8, 4], contiguous, in float32: for each cell (z, y, x) eight places with "
        "the coordinates (az, ay, ax) of an atom relative to the cell's corner, from 0 to 1, and "
        "its charge, which is 0 where there is no atom. Return V of shape [8*cells, 8*cells, "
        "8*cells] in float32, contiguous: V[k, j, i] is at the point (k/8, j/8, i/8). Nothing "
        "wraps around."
    ),
    entry=Entry("cutcp", ("atoms",)),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=tuple(Case("float32", {"cells": n}) for n in (1, 2, 3)),
    bench=(Case("float32", {"cells": 16}),),
    untimed=(Case("float32", {"cells": 24}),),
    spans={"cells": Span(low=1, high=12, tiny=3)},
    flops=lambda case: 10.0 * pairs(case),
    min_bytes=lambda case: 128.0 * case["cells"] ** 3 + 4.0 * (case["cells"] * FINE) ** 3,
    reduction=lambda case: 27 * DEPTH,
    knobs={
        "PLANES": (1, 2, 4, 8),
        "NUM_WARPS": (1, 2, 4, 8),
        "UNROLL": (1, 2, 4, 8),
    },
    tags=("spec", "pairs"),
    **answers(__file__),
)
