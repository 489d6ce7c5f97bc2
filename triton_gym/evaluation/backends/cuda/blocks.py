"""Physical memory of a GPU that the judge owns, and lends to its runner for a call at a time."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable

import torch

from triton_gym.errors import DeviceError
from triton_gym.evaluation.backends.cuda.driver import CudaError, check
from triton_gym.evaluation.backends.cuda.margins import Margins
from triton_gym.evaluation.backends.cuda.orders import Memory
from triton_gym.evaluation.backends.cuda.window import access, allocation_properties
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import SEGMENT

SPARE_BYTES, SPARE_SHARE = 8 << 30, 8
"""Memory that a judge keeps for later evaluations: making a block that others can open takes a
millisecond. All judges of a device keep one part of it in so many at most."""


class Block:
    """A piece of physical memory, mapped in this process at an address of its own."""

    def __init__(self, number: int, nbytes: int, device: torch.device) -> None:
        from cuda.bindings import driver as cu

        self.memory = Memory(number, nbytes)
        self.poison = 0
        """Word that it is filled with before a call, while it is lent as an answer's own memory."""
        self.margins: Margins | None = None
        """Its gaps, while it holds a module's parameters."""
        self.nbytes = nbytes
        self._device = device
        index = device.index or 0
        self._handle = check(cu.cuMemCreate(nbytes, allocation_properties(index), 0))
        self.address = int(check(cu.cuMemAddressReserve(nbytes, SEGMENT, 0, 0)))
        check(cu.cuMemMap(self.address, nbytes, 0, self._handle, 0))
        check(cu.cuMemSetAccess(self.address, nbytes, [access(index, writes=True)], 1))
        kind = cu.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
        self.file = int(check(cu.cuMemExportToShareableHandle(self._handle, kind, 0)))

    def view(self, view: View, zone: int) -> torch.Tensor:
        """A tensor of the block.

        Args:
            view: where it lies in the window.
            zone: where the block's first byte lies there.

        Raises:
            DeviceError: it lies outside the block.
        """
        low, high = view.extent
        if low < zone or high > zone + self.nbytes:
            raise DeviceError("a tensor lies outside its memory")
        place = self.address + low - zone
        storage = torch._C._construct_storage_from_data_pointer(place, self._device, high - low)
        empty = torch.empty(0, dtype=getattr(torch, view.dtype), device=self._device)
        strides = [abs(stride) for stride in view.strides]
        tensor = empty.set_(storage, 0, view.shape, strides)
        backwards = [axis for axis, stride in enumerate(view.strides) if stride < 0]
        return torch.flip(tensor, backwards) if backwards else tensor

    def bytes(self) -> torch.Tensor:
        """All of it."""
        return self.view(View("uint8", 0, (self.nbytes,), (1,)), 0)

    def release(self) -> None:
        """Give the memory back, once nothing of this process on the device uses it any more."""
        from cuda.bindings import driver as cu

        torch.cuda.synchronize(self._device)
        os.close(self.file)
        check(cu.cuMemUnmap(self.address, self.nbytes))
        check(cu.cuMemAddressFree(self.address, self.nbytes))
        check(cu.cuMemRelease(self._handle))


class BlockPool:
    """Blocks that are used again and again. For use from several threads.

    Args:
        device: the GPU.
        forget: tells runners that blocks are gone.
        spare_bytes: what is kept at most while nobody uses it.
    """

    def __init__(
        self, device: torch.device, forget: Callable[[tuple[int, ...]], None],
        spare_bytes: int = SPARE_BYTES,
    ) -> None:  # fmt: skip
        self.device, self._forget = device, forget
        self._most_spare = spare_bytes
        self._numbers, self._returns = itertools.count(), itertools.count()
        self._spare: dict[int, deque[tuple[int, Block]]] = {}  # by size, numbered as they came back
        self._spare_bytes = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Block:
        """A block of so many bytes or a little more. It holds what it held last.

        Raises:
            torch.OutOfMemoryError: the device has too little memory.
        """
        size = block_bytes(nbytes)
        with self._lock:
            if self._spare.get(size):
                self._spare_bytes -= size
                return self._spare[size].pop()[1]
        try:
            return Block(next(self._numbers), size, self.device)
        except CudaError as error:
            if error.name != "CUDA_ERROR_OUT_OF_MEMORY":
                raise
        self.trim(0)
        torch.cuda.empty_cache()
        try:
            return Block(next(self._numbers), size, self.device)
        except CudaError as error:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {size >> 20} MiB") from error

    def give_back(self, block: Block) -> None:
        """Take a block back. What used it on the device is over."""
        with self._lock:
            there = self._spare.setdefault(block.nbytes, deque())
            there.append((next(self._returns), block))
            self._spare_bytes += block.nbytes
        if self._spare_bytes > self._most_spare:
            self.trim(self._most_spare)

    def trim(self, keep: int) -> None:
        """Give memory back to the device until so much is kept, first what lay there longest: the
        sizes of hidden cases vary, those of timed ones are wanted by every evaluation."""
        gone = []
        with self._lock:
            while self._spare_bytes > keep:
                oldest = min(filter(None, self._spare.values()), key=lambda blocks: blocks[0][0])
                gone.append(oldest.popleft()[1])
                self._spare_bytes -= gone[-1].nbytes
        if gone:
            self._forget(tuple(block.memory.block for block in gone))
        for block in gone:
            block.release()


def spare_bytes_of(total_bytes: int, judges: int) -> int:
    """What each judge of a device with so much memory keeps while nobody uses it."""
    return min(SPARE_BYTES, total_bytes // SPARE_SHARE // judges)


def block_bytes(nbytes: int) -> int:
    """Size of the block for so many bytes: one of eight steps between powers of two."""
    segments = max(1, -(-nbytes // SEGMENT))
    step = max(1, (1 << (segments - 1).bit_length()) // 16)
    return -(-segments // step) * step * SEGMENT
