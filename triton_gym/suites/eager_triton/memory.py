"""Memory as kernels see it: a tensor's storage with an offset, and blocks of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

MOST_ACCESSES = 20_000
"""Loads, stores and products of a launch, after which it is too long to be emulated."""


MOST_WAITS = 1000
"""Exchanges in a row that find another value than the one that they wait for."""


class EmulationError(RuntimeError):
    """A kernel does what cannot be followed here."""


class Program(threading.local):
    """Which program of which grid runs in this thread, and what its launch has done."""

    ids: tuple[Any, ...] = (0, 0, 0)
    grid: tuple[int, ...] = (1, 1, 1)
    accesses: int = 0
    idle: bool = False
    """Whether launches do nothing: what they would compute is not wanted."""
    ends: bool = False
    """Whether of a large grid only the first and the last programs run: enough to see which of its
    arguments a kernel writes to."""
    stores: list[tuple[torch.Tensor, tuple[torch.Tensor, ...]]] | None = None
    """Where many programs run at once: memory, and what is to be stored there afterwards."""

    waits: int = 0

    def exchanged(self, met: bool) -> None:
        """Note whether an exchange found what it waits for; raises `EmulationError` if that was
        long ago, since nothing else runs meanwhile."""
        self.waits = 0 if met else self.waits + 1
        if self.waits > MOST_WAITS:
            raise EmulationError(
                "one program waits for what another one stores, and here they run one after the "
                "other"
            )

    def count(self) -> None:
        """Note an access; raises `EmulationError` if there are too many."""
        self.accesses += 1
        if self.accesses > MOST_ACCESSES:
            raise EmulationError(
                f"it takes more than {MOST_ACCESSES:,} loads, stores and products of blocks, "
                "which are emulated one by one"
            )


PROGRAM = Program()


@dataclass(frozen=True, slots=True)
class PointerType:
    """The type of a pointer."""

    element_ty: torch.dtype

    def is_ptr(self) -> bool:
        """Yes."""
        return True


class Pointer:
    """A pointer or a block of them: the elements of a storage, and offsets in it.

    Args:
        flat: all elements of the storage, a view of it.
        offset: of shape (…), in elements.
    """

    def __init__(self, flat: torch.Tensor, offset: torch.Tensor) -> None:
        self.flat = flat
        self.offset = offset

    @classmethod
    def to_tensor(cls, tensor: torch.Tensor) -> Pointer:
        """Where a tensor begins."""
        elements = tensor.untyped_storage().nbytes() // tensor.element_size()
        flat = tensor.as_strided((elements,), (1,), 0)
        return cls(flat, torch.tensor(tensor.storage_offset()))

    @property
    def dtype(self) -> PointerType:
        """Its type; what it points to is `element_ty`."""
        return PointerType(self.flat.dtype)

    type = dtype

    @property
    def shape(self) -> torch.Size:
        """Of the block."""
        return self.offset.shape

    def __add__(self, other: Any) -> Pointer:
        return Pointer(self.flat, self.offset + other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Pointer:
        return Pointer(self.flat, self.offset - other)

    def __getitem__(self, index: Any) -> Pointer:
        return Pointer(self.flat, self.offset[index])

    def _at(self, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Offsets, 0 where nothing is accessed, and the mask in their shape."""
        PROGRAM.count()
        offset = self.offset
        if mask is not None:
            offset, mask = torch.broadcast_tensors(offset, mask.bool())
            offset = offset.where(mask, 0)
        return offset.long(), mask

    def load(self, mask: torch.Tensor | None, other: Any) -> torch.Tensor:
        """Values, `other` where the mask is not set.

        What lies outside of the storage is NaN, or 0 among whole numbers: many kernels read there
        and store nothing of it, and a result that depends on it cannot be judged.
        """
        offset, mask = self._at(mask)
        self._hold_unwritten()
        last = self.flat.numel() - 1
        if last < 0:
            return self.flat.new_zeros(offset.shape)
        inside = (offset >= 0) & (offset <= last)
        found = self.flat[offset.clamp(0, last)]
        found = found.where(inside, torch.full((), _outside(found.dtype)).to(found.dtype))
        if mask is None:
            return found
        if other is None:
            other = 0
        if not isinstance(other, torch.Tensor):
            other = torch.full((), other, dtype=torch.float64)
        return found.where(mask, other.to(found.dtype))

    def _hold_unwritten(self) -> None:
        """Raise if programs that run at once stored here: what they read comes later."""
        place = self.flat.untyped_storage().data_ptr()
        if any(place == flat.untyped_storage().data_ptr() for flat, _ in PROGRAM.stores or ()):
            raise EmulationError("it reads what it stored")

    def store(self, value: Any, mask: torch.Tensor | None) -> None:
        """Write values where the mask is set."""
        offset, mask = self._at(mask)
        value = torch.as_tensor(value).to(self.flat.dtype)
        shape = torch.broadcast_shapes(value.shape, offset.shape)
        value, offset = value.broadcast_to(shape), offset.broadcast_to(shape)
        chosen = torch.ones((), dtype=torch.bool) if mask is None else mask
        if PROGRAM.stores is None:
            write(self.flat, offset, value, chosen.broadcast_to(shape))
        else:
            PROGRAM.stores.append((self.flat, (offset, value, chosen.broadcast_to(shape))))

    def update(
        self, value: Any, mask: Any, combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """An atomic: every element in turn; what was there before."""
        offset, mask = self._alone(mask)
        value = torch.as_tensor(value).to(self.flat.dtype).broadcast_to(offset.shape)
        before = torch.zeros_like(value)
        chosen = mask.flatten().tolist() if mask is not None else [True] * offset.numel()
        places, values = offset.flatten().tolist(), value.flatten()
        olds = before.flatten()
        for k, (place, wanted) in enumerate(zip(places, chosen, strict=True)):
            if wanted:
                olds[k] = self.flat[place]
                self.flat[place] = combine(self.flat[place], values[k])
        return olds.reshape(offset.shape)

    def add(self, value: Any, mask: Any) -> torch.Tensor:
        """An atomic addition, all elements at once; what was there before it."""
        offset, mask = self._alone(mask)
        before = self.flat[offset]
        value = torch.as_tensor(value).to(self.flat.dtype).broadcast_to(offset.shape)
        if mask is not None:
            offset, value = offset[mask], value[mask]
        self.flat.index_put_((offset,), value, accumulate=True)
        return before

    def _alone(self, mask: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The same for an atomic, which one program does after the other."""
        if PROGRAM.stores is not None:
            raise EmulationError("an atomic")
        return self._at(None if mask is None else torch.as_tensor(mask))


def _outside(dtype: torch.dtype) -> float:
    return float("nan") if dtype.is_floating_point else 0


def write(
    flat: torch.Tensor, offset: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> None:
    """Store values at offsets of a storage, where the mask is set.

    Raises:
        EmulationError: an offset lies outside.
    """
    offset, value = offset[mask], value[mask]
    if offset.numel():
        low, high = (int(x) for x in offset.aminmax())
        if low < 0 or high >= flat.numel():
            raise EmulationError("it writes to memory outside of its tensors")
        flat[offset] = value


@dataclass(frozen=True, slots=True)
class BlockPointer:
    """A block of a larger array, as `tl.make_block_ptr` makes it."""

    base: Pointer
    sizes: tuple[Any, ...]
    strides: tuple[Any, ...]
    offsets: tuple[Any, ...]
    block: tuple[int, ...]

    @property
    def dtype(self) -> PointerType:
        """Of the pointer."""
        return self.base.dtype

    type = dtype

    def advanced(self, by: Sequence[Any]) -> BlockPointer:
        """The block so many elements further along each axis."""
        offsets = tuple(o + d for o, d in zip(self.offsets, by, strict=True))
        return BlockPointer(self.base, self.sizes, self.strides, offsets, self.block)

    def pointers(self, checked: Sequence[int]) -> tuple[Pointer, torch.Tensor | None]:
        """Pointers to its elements, and which of them lie inside along the checked axes."""
        where = self.base
        mask: torch.Tensor | None = None
        for axis, size in enumerate(self.block):
            shape = [1] * len(self.block)
            shape[axis] = size
            index = (torch.arange(size) + self.offsets[axis]).reshape(shape)
            where = where + index * self.strides[axis]
            if axis in checked:
                inside = (index >= 0) & (index < self.sizes[axis])
                mask = inside if mask is None else mask & inside
        return where, mask
