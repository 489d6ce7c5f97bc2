"""Tensors in calls of operators: which there are, what they span, how a warp meets them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

SECTOR = 32
"""Bytes that L2 gives at once (CUDA C++ Best Practices Guide, coalesced access)."""
WARP = 32


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """The tensors among arguments or results, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def spanned_bytes(tensor: torch.Tensor) -> int:
    """Bytes that a tensor really spans: broadcast axes are read once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count * tensor.element_size()


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor as one kernel meets it."""

    storage: int
    """Which memory it lies in."""
    bytes: float
    """That device memory gives or takes: whole sectors where elements lie far apart."""
    asked: float
    """That L2 gives or takes: a sector for every warp that touches it."""
    size: float
    """Bytes of that memory: operands that overlap come to no more."""
    offset: int = 0
    """Where in it the tensor begins, in elements."""
    item: int = 4
    """Bytes of an element."""

    @property
    def place(self) -> tuple[int, int]:
        """What tells parts of one memory apart."""
        return self.storage, self.offset


def whole(tensor: torch.Tensor, times: float = 1.0) -> Operand:
    """A tensor that a kernel reads or writes in the order of its memory, so many times."""
    moved = _memory_bytes(tensor.shape, tensor.stride(), tensor.element_size()) * times
    return Operand(
        storage_of(tensor),
        moved,
        moved,
        _size(tensor, moved),
        _offset(tensor),
        tensor.element_size(),
    )


def storage_of(tensor: torch.Tensor) -> int:
    """What tells memories apart while they are alive."""
    number: int = tensor.untyped_storage()._cdata
    return number


def _size(tensor: torch.Tensor, moved: float) -> float:
    return max(float(tensor.untyped_storage().nbytes()), moved)


def _offset(tensor: torch.Tensor) -> int:
    return int(tensor.storage_offset())


def _memory_bytes(shape: Sequence[int], strides: Sequence[int], size: int) -> float:
    """Bytes of all sectors that hold an element."""
    axes = [(abs(st), n) for n, st in zip(shape, strides, strict=True) if st and n > 1]
    nearest = min((step for step, _ in axes), default=1)
    return math.prod(n for _, n in axes) * float(min(nearest * size, max(SECTOR, size)))


@dataclass(frozen=True, slots=True)
class Walk:
    """How an elementwise kernel goes through its tensors: `TensorIterator` of PyTorch."""

    shape: tuple[int, ...]
    """Axes after merging, the one that neighbouring threads follow first."""
    strides: tuple[tuple[int, ...], ...]
    """Of each operand, in elements."""
    sizes: tuple[int, ...]
    """Bytes of an element of each."""

    @property
    def elements(self) -> int:
        """Of the whole."""
        return math.prod(self.shape)

    @property
    def straight(self) -> bool:
        """Whether all operands are followed as they lie, so that accesses are vectorised."""
        return len(self.shape) <= 1 and all(s in ((), (1,)) for s in self.strides)

    def asked(self, index: int) -> float:
        """Bytes of sectors that warps ask L2 for on behalf of an operand."""
        strides, size = self.strides[index], self.sizes[index]
        if not self.shape:
            return float(max(SECTOR, size))
        run, step = self.shape[0], abs(strides[0])
        if step == 0:
            return self.elements / min(run, WARP) * SECTOR
        lanes = min(run, WARP)
        sectors = min(lanes * step * size / SECTOR, lanes * max(size / SECTOR, 1.0))
        return self.elements / lanes * max(sectors, lanes * size / SECTOR) * SECTOR


def walk(outputs: Iterable[torch.Tensor], inputs: Iterable[torch.Tensor]) -> Walk:
    """How an elementwise kernel goes through outputs and inputs.

    Axes are ordered by the strides of the outputs, then of the inputs, and merged where all
    operands allow it, as `TensorIterator::reorder_dimensions` and `coalesce_dimensions` do.
    """
    tensors = [*outputs, *inputs]
    shape = torch.broadcast_shapes(*(t.shape for t in tensors))
    table = [_broadcast(t, len(shape), shape) for t in tensors]
    axes = [a for a in range(len(shape)) if shape[a] > 1]
    axes.sort(key=lambda a: ([abs(row[a]) for row in table], -a))
    merged: list[int] = []
    steps: list[list[int]] = [[] for _ in table]
    for axis in axes:
        if merged and all(
            row[axis] == own[-1] * merged[-1] for row, own in zip(table, steps, strict=True)
        ):
            merged[-1] *= shape[axis]
            continue
        merged.append(shape[axis])
        for row, own in zip(table, steps, strict=True):
            own.append(row[axis])
    return Walk(tuple(merged), tuple(map(tuple, steps)), tuple(t.element_size() for t in tensors))


def _broadcast(tensor: torch.Tensor, rank: int, shape: Sequence[int]) -> list[int]:
    own = [
        step if size == wide else 0
        for size, step, wide in zip(
            tensor.shape, tensor.stride(), shape[rank - tensor.dim() :], strict=True
        )
    ]
    return list(itertools.repeat(0, rank - tensor.dim())) + own


def operand(tensor: torch.Tensor, way: Walk, index: int) -> Operand:
    """An operand of an elementwise kernel."""
    moved = _memory_bytes(way.shape, way.strides[index], way.sizes[index])
    asked = max(moved, way.asked(index))
    return Operand(
        storage_of(tensor),
        moved,
        asked,
        _size(tensor, moved),
        _offset(tensor),
        tensor.element_size(),
    )
