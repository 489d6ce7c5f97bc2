"""Memory that the judge and a worker share: the arguments and the results of an answer.

The judge lays tensors out in one block and sends the block's handle once; afterwards only
offsets travel. Nothing else of the judge's memory lies in the block, so a worker that reads
beyond its tensors finds only other arguments and results of the same evaluation.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from typing import Protocol

import torch

from triton_gym.evaluation import trees
from triton_gym.evaluation.exchange.block import Block, Slot


class Arena(Protocol):
    """A block of shared memory."""

    def view(self, slot: Slot) -> torch.Tensor:
        """The tensor at a slot; it shares the block's memory."""
        ...

    def settle(self) -> None:
        """Wait until what this process wrote is there for others."""
        ...

    def close(self) -> None:
        """Give the block back."""
        ...


def view(block: torch.Tensor, slot: Slot) -> torch.Tensor:
    """The tensor at a slot of a block of bytes."""
    piece = block[slot.offset : slot.offset + slot.bytes].view(getattr(torch, slot.dtype))
    if slot.stride is None:
        return piece.view(slot.shape)
    return piece.as_strided(slot.shape, slot.stride)


def put(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Copy a tensor into the view of its slot, which has its strides; returns the view."""
    trees.memory(target).copy_(trees.memory(source))
    return target


def rows_of(block: torch.Tensor, slot: Slot, pitch: int, count: int) -> torch.Tensor:
    """Tensors like that at a slot, each `pitch` bytes after the one before, as one tensor.

    A number stands as a row of one.
    """
    dtype = getattr(torch, slot.dtype)
    whole = block.numel() // dtype.itemsize * dtype.itemsize
    flat = block[:whole].view(dtype)
    shape = slot.shape or (1,)
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    size = dtype.itemsize
    start = flat.storage_offset() + slot.offset // size
    return flat.as_strided((count, *shape), (pitch // size, *steps), start)


def _piece(memory: mmap.mmap, slot: Slot) -> torch.Tensor:
    """The tensor at a slot, with a storage of exactly its size: so a kernel that reaches past its
    end is found out, though other tensors lie there."""
    dtype = getattr(torch, slot.dtype)
    count = slot.bytes // dtype.itemsize
    if not count:
        return torch.empty(slot.shape, dtype=dtype)
    piece = torch.frombuffer(memory, dtype=dtype, count=count, offset=slot.offset)
    if slot.stride is None:
        return piece.view(slot.shape)
    return piece.as_strided(slot.shape, slot.stride)


class HostArena(Block):
    """A block in host memory, shared through an anonymous file, with tensors in it."""

    def view(self, slot: Slot) -> torch.Tensor:
        """The tensor at a slot; it shares the block's memory."""
        return _piece(self._map, slot)

    def settle(self) -> None:
        """Nothing to do: what is written is there."""


class SealedBlock:
    """A block in host memory that nobody can change once it is sealed."""

    def __init__(self, size: int) -> None:
        self.size = max(size, 1)
        self.fd = os.memfd_create("triton-gym", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.size)

    def write(self, slot: Slot, tensor: torch.Tensor) -> None:
        """Put a tensor into a slot."""
        left = trees.memory(tensor).view(torch.uint8).numpy().data
        offset = slot.offset
        while left:
            done = os.pwrite(self.fd, left, offset)
            offset, left = offset + done, left[done:]

    def seal(self) -> None:
        """From here on the block can be mapped privately, but not changed."""
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)

    def close(self) -> None:
        """Give up the block; its memory goes with the last mapping."""
        os.close(self.fd)


class PrivateArena:
    """A process's own view of a sealed block: what it writes there nobody else sees."""

    def __init__(self, size: int, fd: int) -> None:
        size = max(size, 1)
        self._map = mmap.mmap(fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)

    def view(self, slot: Slot) -> torch.Tensor:
        """The tensor at a slot; it shares the block's memory."""
        return _piece(self._map, slot)

    def settle(self) -> None:
        """Nothing to do: nobody else sees it."""

    def close(self) -> None:
        """Nothing to do: the memory goes once no tensor views it."""
