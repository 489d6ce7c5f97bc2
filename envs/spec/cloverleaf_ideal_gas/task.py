"""The equation of state of an ideal gas: pressure and speed of sound from density and energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_gym.task import Case

from ...draws import Draw
from ...grids import grid_task

if TYPE_CHECKING:
    import torch

GAMMA = 1.4
"""Ratio of specific heats of air."""


def reference(density: torch.Tensor, energy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """p = (γ-1) ρ e and c = sqrt(v² (p ∂p/∂e - ∂p/∂v)) with v = 1/ρ.

    Source: the `ideal_gas` kernel of CloverLeaf (Mallinson et al., 2013), in its own steps.
    """
    volume = 1.0 / density
    pressure = (GAMMA - 1.0) * density * energy
    by_energy = (GAMMA - 1.0) * density
    by_volume = -density * pressure
    return pressure, (volume * volume * (pressure * by_energy - by_volume)).sqrt()


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Densities and energies that differ by more than a factor of ten."""
    draw = Draw(generator)
    shape = case["ny"], case["nx"]
    return draw.uniform(0.2, 4.0, *shape), draw.normal(*shape, scale=0.8).exp_()


TASK = grid_task(
    __file__,
    title="Ideal gas of CloverLeaf",
    statement=(
        "Compute pressure and speed of sound of an ideal gas at every point: with gamma = 1.4 and "
        "v = 1 / density, pressure = (gamma - 1) * density * energy and sound = sqrt(v^2 * "
        "(pressure * pe - pv)), where pe = (gamma - 1) * density and pv = -density * pressure. "
        "Return (pressure, sound). density and energy are [ny, nx], row-major and contiguous, "
        "positive, in float32; the results have their shape and dtype, contiguous."
    ),
    parameters=("density", "energy"),
    reference=reference,
    inputs=inputs,
    tiny=((7, 33), (3, 3), (12, 260), (37, 9), (70, 140)),
    bench=((3840, 3840),),
    untimed=((7680, 7680),),
    operations=11.0,
    grids=4,
    border=0,
    category="elementwise",
    knobs={
        "BLOCK": (512, 1024, 2048, 4096),
        "NUM_WARPS": (2, 4, 8),
        "PROGRAMS": (0, 528, 1056, 2112),
    },
)
