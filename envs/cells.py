"""What tasks on particles in cells share: a cubic arrangement of cells and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OFFSETS = tuple((z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1))
"""A cell and its 26 neighbours."""


def neighbours(cells: torch.Tensor) -> Iterator[tuple[tuple[int, int, int], torch.Tensor]]:
    """For every offset what lies there, seen from each cell; nothing (zeros) beyond the edges.

    Args:
        cells: (Z, Y, X, …), anything per cell.

    Yields:
        The offset (z, y, x), and (Z, Y, X, …) of the cells at that distance.
    """
    import torch

    padding = (0, 0) * (cells.dim() - 3) + (1, 1) * 3
    padded = torch.nn.functional.pad(cells, padding)
    depth, height, width = cells.shape[:3]
    for z, y, x in OFFSETS:
        yield (
            (z, y, x),
            padded[1 + z : 1 + z + depth, 1 + y : 1 + y + height, 1 + x : 1 + x + width],
        )
