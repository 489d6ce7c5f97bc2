"""Values drawn like those of an example: what stays of a tensor when its values are left behind.

Floating-point values are drawn through the example's quantiles, those that make up more than a
hundredth of it (zeros, the -inf of a mask) with their share. Integers come from the example's
range; permutations and sorted rows stay such. What no single value shows (an orthogonal matrix,
offsets that fit another argument) needs a `draw` of the user's.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

SAMPLE = 1 << 16
"""Most values of an example that are looked at."""
QUANTILES = 65
"""Points of the distribution that are kept."""
_SHARE = 0.01
"""Of the values that must be equal for their value to be kept as such."""


class Pattern(enum.StrEnum):
    """What the places of a tensor's values say."""

    NONE = "none"
    LOWER = "lower triangle"
    """A causal mask: what is above the diagonal has one value, the rest another."""
    FULL_ROWS = "no empty row"
    """A mask with something in each row."""
    PERMUTATION = "permutation"
    """Every row holds each integer from 0 on once."""
    COUNT = "count"
    """Every row is 0, 1, 2, …"""
    SORTED = "sorted"
    """Every row grows."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What values are drawn from."""

    atoms: tuple[tuple[float, float], ...] = ()
    """Values that stand for themselves, each with its share of all."""
    quantiles: tuple[float, ...] = ()
    """Of the others, evenly spaced; of integers the smallest and the largest."""
    pattern: Pattern = Pattern.NONE
    bound: str = ""
    """Of indices: the named size that they stay below; empty for none."""

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Likeness:
        """What an example's values are like."""
        if tensor.numel() == 0:
            return cls(quantiles=(-1.0, 1.0))
        if tensor.is_complex():
            return cls.of(torch.view_as_real(tensor.detach().resolve_conj()))
        values = _sample(tensor)
        if tensor.dtype == torch.bool:
            share = float(values.double().mean())
            return cls(((1.0, share), (0.0, 1.0 - share)), (), _mask_pattern(tensor))
        if not tensor.is_floating_point():
            ends = (float(values.min()), float(values.max()))
            return cls((), ends, _integer_pattern(tensor))
        return _of_floating(values.double(), tensor)

    def draw(
        self, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator,
        below: int | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """Values of a shape, contiguous, on the generator's device.

        Args:
            shape: of the tensor.
            dtype: of the tensor.
            generator: what they are drawn with.
            below: for indices, what they stay below.
        """
        if dtype.is_complex:
            parts = self.draw((*shape, 2), dtype.to_real(), generator)
            return torch.view_as_complex(parts)
        if dtype == torch.bool:
            return self._mask(shape, generator)
        if not dtype.is_floating_point:
            return self._integers(shape, dtype, generator, below)
        if self.pattern is Pattern.LOWER:
            inside, outside = (value for value, _ in self.atoms)
            upper = torch.ones(tuple(shape), dtype=torch.bool, device=generator.device).triu(1)
            return torch.full_like(upper, inside, dtype=dtype).masked_fill_(upper, outside)
        return self._floating(shape, generator).to(dtype)

    def _floating(self, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        device = generator.device
        where = torch.rand(tuple(shape), generator=generator, device=device)
        values = torch.zeros_like(where)
        if self.quantiles:
            table = torch.tensor(self.quantiles, device=device)
            last = len(self.quantiles) - 1
            place = torch.rand(tuple(shape), generator=generator, device=device).mul_(last)
            low = place.floor().clamp_(max=last - 1)
            start = low.to(torch.int64)
            values = torch.lerp(table[start], table[start + 1], place - low)
        reached = 0.0
        for value, share in self.atoms:
            values = values.masked_fill((where >= reached) & (where < reached + share), value)
            reached += share
        return values

    def _mask(self, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        device = generator.device
        if self.pattern is Pattern.LOWER:
            return torch.ones(tuple(shape), dtype=torch.bool, device=device).tril()
        share = self.atoms[0][1]
        mask = torch.rand(tuple(shape), generator=generator, device=device) < share
        if self.pattern is Pattern.FULL_ROWS and shape[-1]:
            place = torch.rand((*shape[:-1], 1), generator=generator, device=device)
            mask.scatter_(-1, place.mul_(shape[-1]).to(torch.int64), True)
        return mask

    def _integers(
        self, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator,
        below: int | None,
    ) -> torch.Tensor:  # fmt: skip
        device = generator.device
        if self.pattern in (Pattern.COUNT, Pattern.PERMUTATION):
            if self.pattern is Pattern.PERMUTATION:
                row = torch.rand(tuple(shape), generator=generator, device=device).argsort(-1)
            else:
                row = torch.arange(shape[-1], device=device).expand(tuple(shape))
            return row.to(dtype, memory_format=torch.contiguous_format)
        low, high = (int(end) for end in self.quantiles[:2])
        if below is not None:
            high = max(low, min(high, below - 1))
        drawn = torch.randint(
            low, high + 1, tuple(shape), generator=generator, device=device, dtype=torch.int64
        )
        if self.pattern is Pattern.SORTED:
            drawn = drawn.sort(-1).values
            if shape[-1] > 1:
                drawn[..., 0], drawn[..., -1] = low, high
        return drawn.to(dtype)


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """Some of a tensor's values, evenly spread over it, on the CPU."""
    flat = tensor.detach().reshape(-1)
    step = max(1, flat.numel() // SAMPLE)
    values = flat[::step].cpu()
    return values.float() if values.is_floating_point() and values.itemsize < 4 else values


def _of_floating(values: torch.Tensor, tensor: torch.Tensor) -> Likeness:
    values = values[~values.isnan()]
    distinct, counts = values.unique(return_counts=True)
    if not distinct.numel():
        return Likeness(quantiles=(-1.0, 1.0))
    if distinct.numel() == 1:
        return Likeness(quantiles=_around(float(distinct[0])))
    if distinct.numel() == 2 and _is_lower(tensor):
        inside = float(tensor.reshape(-1)[0])
        other = float(distinct[0] if float(distinct[1]) == inside else distinct[1])
        return Likeness(((inside, 0.5), (other, 0.5)), (), Pattern.LOWER)
    shares = counts / values.numel()
    common = (shares >= _SHARE) & (counts >= 8) | ~distinct.isfinite()
    rest = values[~torch.isin(values, distinct[common]) & values.isfinite()]
    atoms = sorted(zip(distinct[common].tolist(), shares[common].tolist(), strict=True),
                   key=lambda atom: -atom[1])[:16]  # fmt: skip
    if not rest.numel():
        return Likeness(tuple(atoms))
    points = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    return Likeness(tuple(atoms), tuple(torch.quantile(rest, points).tolist()))


def _around(value: float) -> tuple[float, float]:
    """A range about a value that a whole tensor has: a weight of ones must not be learned by heart.

    It keeps the sign: a variance stays positive.
    """
    if not math.isfinite(value) or value == 0:
        return (-0.5, 0.5)
    return (0.5 * value, 1.5 * value)


def _is_lower(tensor: torch.Tensor) -> bool:
    """Whether what is above the diagonal has one value and the rest another."""
    if tensor.dim() < 2 or min(tensor.shape[-2:]) < 3:
        return False
    first = tensor.detach().reshape(-1, *tensor.shape[-2:])[0].cpu()
    lower = torch.ones(first.shape, dtype=torch.bool).tril()
    return bool(((first == first[0, 0]) == lower).all())


def _mask_pattern(tensor: torch.Tensor) -> Pattern:
    if tensor.dim() == 0:
        return Pattern.NONE
    if bool(tensor.reshape(-1)[0]) and _is_lower(tensor):
        return Pattern.LOWER
    return Pattern.FULL_ROWS if bool(tensor.any(-1).all()) else Pattern.NONE


def _integer_pattern(tensor: torch.Tensor) -> Pattern:
    if tensor.dim() == 0 or tensor.shape[-1] < 4:
        return Pattern.NONE
    rows = tensor.detach().reshape(-1, tensor.shape[-1])[:64].cpu().to(torch.int64)
    count = torch.arange(rows.shape[1])
    if bool((rows == count).all()):
        return Pattern.COUNT
    if bool((rows.sort(-1).values == count).all()):
        return Pattern.PERMUTATION
    return Pattern.SORTED if bool((rows.diff(dim=-1) >= 0).all()) else Pattern.NONE
