"""A block of shared memory as raw bits, for processes that do without PyTorch.

Tensors are laid out in it one after another; only offsets travel.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym.evaluation.plan.view import ITEMSIZE, RAW
from triton_gym.evaluation.sizes import span

ALIGN = 512
"""Alignment of every tensor, in bytes; torch's CUDA allocator gives the same."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one tensor lies in the block."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    stride: tuple[int, ...] | None = None
    """In elements; None for a contiguous tensor."""

    @property
    def itemsize(self) -> int:
        """Bytes of an element.

        Raises:
            ValueError: no plan may name this dtype.
        """
        if self.dtype not in ITEMSIZE:
            raise ValueError(f"no dtype {self.dtype[:40]!r}")
        return ITEMSIZE[self.dtype]

    @property
    def bytes(self) -> int:
        """Size of the memory that the tensor lies in."""
        count = math.prod(self.shape)
        if self.stride is not None:
            count = span(self.shape, self.stride)
        return count * self.itemsize

    def message(self) -> list[Any]:
        """The slot as JSON."""
        return [self.offset, list(self.shape), self.dtype, self.stride and list(self.stride)]

    def moved(self, offset: int) -> Slot:
        """The slot that lies `offset` bytes further."""
        return dataclasses.replace(self, offset=self.offset + offset)

    @classmethod
    def read(cls, message: list[Any]) -> Slot:
        """The slot that `message` describes."""
        offset, shape, dtype, stride = message
        steps = None if stride is None else tuple(int(n) for n in stride)
        return cls(int(offset), tuple(int(n) for n in shape), str(dtype), steps)


class Layout:
    """Places tensors one after another."""

    def __init__(self) -> None:
        self.end = 0

    def place(
        self, shape: tuple[int, ...], dtype: str, stride: tuple[int, ...] | None = None
    ) -> Slot:
        """The slot of a new tensor; contiguous, if no strides are given."""
        slot = Slot(self.end, tuple(shape), dtype, stride)
        self.end += -(-slot.bytes // ALIGN) * ALIGN
        return slot

    def like(self, tensor: Any) -> Slot:
        """The slot of a contiguous tensor with the shape and dtype of a `torch.Tensor`."""
        return self.place(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))

    def same(self, tensor: Any) -> Slot:
        """The slot of a tensor with the strides of `tensor`, too."""
        stride = None if tensor.is_contiguous() else tuple(tensor.stride())
        return self.place(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), stride)


class Block:
    """A block in host memory, shared through an anonymous file.

    Args:
        size: in bytes.
        fd: the file, if another process made it.
    """

    def __init__(self, size: int, fd: int | None = None) -> None:
        self.size = max(size, 1)
        if fd is None:
            fd = os.memfd_create("triton-gym", os.MFD_CLOEXEC)
            os.ftruncate(fd, self.size)
        self.fd = fd
        self._map = mmap.mmap(fd, self.size)

    def array(self, slot: Slot) -> np.ndarray[Any, np.dtype[Any]]:
        """The bits of the tensor at a slot, in its shape; shares the block's memory."""
        size = slot.itemsize
        steps = None if slot.stride is None else tuple(step * size for step in slot.stride)
        return np.ndarray(slot.shape, RAW[size], self._map, slot.offset, steps)

    def close(self) -> None:
        """Give the block back; its memory goes once nothing views it."""
        os.close(self.fd)
        del self._map
