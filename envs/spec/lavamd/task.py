"""Potentials of particles in boxes, each of which sees its own and the 26 around."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...cells import neighbours
from ...draws import Draw

if TYPE_CHECKING:
    import torch


def reference(position: torch.Tensor, charge: torch.Tensor, alpha: float) -> torch.Tensor:
    """v_i = Σ_j q_j exp(-α |r_i - r_j|²) over the particles j of the 27 boxes around i's.

    Source: Rodinia's `lavaMD` (Che et al., 2009), its potential.
    """
    import torch

    total = torch.zeros_like(charge)
    there = zip(neighbours(position), neighbours(charge), strict=True)
    for (_, other), (_, q) in there:
        square = (position[..., :, None, :] - other[..., None, :, :]).square().sum(dim=-1)
        # Beyond an edge the charge is nothing.
        total = total + ((-alpha * square).exp() * q[..., None, :]).sum(dim=-1)
    return total


def part(
    ranges: Any, cast: Any, position: torch.Tensor, charge: torch.Tensor, alpha: float
) -> torch.Tensor:
    """Some particles of some boxes."""
    wide = tuple(
        slice(max(r.start - 1, 0), min(r.stop + 1, n))
        for r, n in zip(ranges[:3], charge.shape[:3], strict=True)
    )
    inner = tuple(
        slice(r.start - w.start, r.stop - w.start) for r, w in zip(ranges[:3], wide, strict=True)
    )
    found = reference(cast(position[wide]), cast(charge[wide]), alpha)
    return found[(*inner, ranges[3])]


def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    """Particles anywhere in boxes of side 1, with charges of either sign off zero."""
    import torch

    draw = Draw(generator)
    side, count = case["side"], case["particles"]
    corner = torch.stack(
        torch.meshgrid(*(torch.arange(side, device=generator.device),) * 3, indexing="ij"), dim=-1
    )
    position = corner[:, :, :, None] + draw.uniform(0.0, 1.0, side, side, side, count, 3)
    charge = draw.normal(side, side, side, count) + 0.3
    return position, charge, 2.0


def pairs(case: Case) -> float:
    """Pairs of particles: boxes at the edges have fewer neighbours."""
    return float((3 * case["side"] - 2) ** 3 * case["particles"] ** 2)


TASK = Task(
    name="lavamd",
    title="Potentials of LavaMD",
    statement=(
        "Compute the potential of every particle from all particles in its own box and the up to "
        "26 boxes around it: v_i = sum_j charge_j * exp(-alpha * |position_i - position_j|^2), "
        "where i itself counts too. Boxes form a cube of side^3; box (z, y, x) has the neighbours "
        "(z+-1, y+-1, x+-1) that exist, nothing wraps around. position is [side, side, side, "
        "particles, 3] and charge is [side, side, side, particles], contiguous, in float32; alpha "
        "is a Python float; return v of charge's shape in float32, contiguous."
    ),
    entry=Entry("lavamd", ("position", "charge", "alpha")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"side": 2, "particles": 9}),
        Case("float32", {"side": 1, "particles": 33}),
        Case("float32", {"side": 3, "particles": 4}),
        Case("float32", {"side": 1, "particles": 140}),
    ),
    bench=(Case("float32", {"side": 10, "particles": 100}),),
    untimed=(Case("float32", {"side": 16, "particles": 64}),),
    spans={
        "side": Span(low=1, high=6, tiny=2),
        "particles": Span(low=2, high=150, tiny=20),
    },
    # Three differences, their squares' sum, a scaling, an exponential, a product and a sum.
    flops=lambda case: 12.0 * pairs(case),
    min_bytes=lambda case: 20.0 * case["side"] ** 3 * case["particles"],
    reduction=lambda case: 27 * case["particles"],
    knobs={
        "BLOCK_I": (16, 32, 64, 128),
        "BLOCK_J": (8, 16, 32, 64),
        "NUM_WARPS": (1, 2, 4, 8),
    },
    tags=("spec", "pairs"),
    **answers(__file__),
)
