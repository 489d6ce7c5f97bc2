"""The Q matrix of a magnetic resonance image: a sum of waves at every voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triton_gym.task import Case, Entry, Span, Task

from ...answers import answers
from ...draws import Draw

if TYPE_CHECKING:
    import torch

PAIRS_AT_ONCE = 1 << 26
"""Pairs of a sample and a voxel that the reference works on at once."""


def reference(
    k: torch.Tensor, phi: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary part of Q(x) = Σ_k |φ_k|² exp(2πi k·x): k (3, K), φ (2, K), x (3, X).

    Source: Stone et al., "Accelerating Advanced MRI Reconstructions on GPUs" (2008), Parboil's
    `mri-q`.
    """
    import math

    import torch

    weight = phi[0] ** 2 + phi[1] ** 2
    real, imaginary = torch.empty_like(x[0]), torch.empty_like(x[0])
    chunk = max(1, PAIRS_AT_ONCE // k.shape[1])
    for first in range(0, x.shape[1], chunk):
        some = x[:, first : first + chunk]
        turns = (some[:, :, None] * k[:, None, :]).sum(dim=0)
        # A whole turn is none: the angle is taken from the fraction, which is exact.
        angle = 2 * math.pi * (turns - turns.round())
        real[first : first + chunk] = (weight * angle.cos()).sum(dim=-1)
        imaginary[first : first + chunk] = (weight * angle.sin()).sum(dim=-1)
    return real, imaginary


def part(
    ranges: Any, cast: Any, k: torch.Tensor, phi: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Some voxels."""
    return reference(cast(k), cast(phi), cast(x[:, ranges[0]]))


def inputs(case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Samples of low frequency and voxels of a unit cube, so that a voxel's waves partly agree."""
    draw = Draw(generator)
    k = draw.normal(3, case["samples"], scale=0.7)
    phi = draw.normal(2, case["samples"])
    return k, phi, draw.uniform(-0.5, 0.5, 3, case["voxels"])


TASK = Task(
    name="mri_q",
    title="MRI-Q",
    statement=(
        "Compute for every voxel x the sum of waves Q(x) = sum_k |phi_k|^2 * exp(2*pi*i * k.x): "
        "return (real, imaginary), real = sum_k w_k * cos(2*pi * k.x) and imaginary = sum_k w_k * "
        "sin(2*pi * k.x) with w_k = phi[0, k]^2 + phi[1, k]^2. k is [3, samples] and x is [3, "
        "voxels], coordinates by row; phi is [2, samples]; all contiguous, in float32. Both "
        "results are [voxels] in float32. Angles reach some turns."
    ),
    entry=Entry("mri_q", ("k", "phi", "x")),
    reference=reference,
    part=part,
    inputs=inputs,
    tiny=(
        Case("float32", {"samples": 40, "voxels": 70}),
        Case("float32", {"samples": 1, "voxels": 33}),
        Case("float32", {"samples": 300, "voxels": 9}),
        Case("float32", {"samples": 5, "voxels": 1100}),
    ),
    bench=(Case("float32", {"samples": 2048, "voxels": 262144}),),
    untimed=(Case("float32", {"samples": 4096, "voxels": 65536}),),
    spans={
        "samples": Span(low=1, high=1500, tiny=60),
        "voxels": Span(low=2, high=6000, tiny=200),
    },
    # Three products with their sums, and a sine and a cosine of one each, with two sums.
    flops=lambda case: 11.0 * case["samples"] * case["voxels"],
    min_bytes=lambda case: 20.0 * case["samples"] + 20.0 * case["voxels"],
    reduction=lambda case: case["samples"],
    knobs={
        "BLOCK_X": (32, 64, 128, 256),
        "BLOCK_K": (8, 16, 32, 64),
        "NUM_WARPS": (2, 4, 8),
    },
    tags=("spec", "pairs"),
    **answers(__file__),
)
