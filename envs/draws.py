"""Random values of the shapes and distributions that inputs are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws float32 tensors on a generator's device; the task casts them to the case's dtype."""

    generator: torch.Generator
    """Where the values come from, and where they lie."""

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Normal values of mean 0 and deviation `scale`."""
        import torch

        drawn = torch.randn(shape, generator=self.generator, device=self.generator.device)
        return drawn if scale == 1.0 else drawn.mul_(scale)

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Uniform values from `low` to `high`."""
        import torch

        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return drawn.mul_(high - low).add_(low)

    def signs(self, *shape: int) -> torch.Tensor:
        """1 or -1, with equal chances."""
        import torch

        return torch.where(self.uniform(-1.0, 1.0, *shape) < 0, -1.0, 1.0)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Integers from `low` up to, but not including, `high`, as int64."""
        import torch

        return torch.randint(low, high, shape, generator=self.generator,
                             device=self.generator.device)  # fmt: skip

    def rows(self, rows: int, cols: int, *, spread: tuple[float, float] = (0.5, 3.0),
             level: tuple[float, float] = (-1.0, 1.0)) -> torch.Tensor:  # fmt: skip
        """Normal rows, each of its own spread and level from the ranges given: (rows, cols)."""
        noise = self.normal(rows, cols)
        return noise.mul_(self.uniform(*spread, rows, 1)).add_(self.uniform(*level, rows, 1))
