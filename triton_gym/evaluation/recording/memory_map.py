"""Which memory an answer has: what lies at an address, and how it comes and goes."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections.abc import Sequence

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation.plan.messages import DeviceFacts
from triton_gym.evaluation.plan.step import Buffer, BufferKind
from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.allocator import Allocator, OutOfAddresses
from triton_gym.evaluation.recording.executor import Executor
from triton_gym.evaluation.recording.memory import Memory


class MemoryMap:
    """The memory of a session's stand-ins.

    Args:
        executor: is told what comes and goes.
        facts: of the device.
    """

    def __init__(self, executor: Executor, facts: DeviceFacts) -> None:
        self.executor = executor
        self.facts = facts
        self.section = 0
        """Which part of the session is recorded: counts up with every call."""
        self.moment = 0
        """Number of the next step, as `plan.Plan` counts."""
        self._allocator = Allocator(facts.total_bytes)
        self._memories: dict[int, Memory] = {}
        self._starts: list[int] = []
        self._ids = 0
        self._exposed: dict[int, Memory] = {}
        """Memory whose address host code knows as a number."""
        self._captured: list[Memory] | None = None
        """Memory that a graph keeps, while it is captured."""

    def memory_of(self, tensor: torch.Tensor) -> Memory:
        """The memory that a stand-in lies in."""
        return self._memories[tensor.untyped_storage().data_ptr()]

    def at(self, address: int) -> Memory | None:
        """The memory that an address lies in, or just behind."""
        found = self._memories.get(address)
        if found is not None:
            return found
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        found = self._memories[self._starts[index]]
        return found if address <= found.buffer.end else None

    def lay(self, address: int, nbytes: int, kind: BufferKind) -> Memory:
        """Memory that the judge laid out. It stays until `unlay`."""
        memory = self._begin(address, nbytes, kind, born=-1)
        memory.holders += 1
        return memory

    def unlay(self, memory: Memory) -> None:
        """The judge has no more use for memory that it laid out."""
        self._released(memory)

    def empty(self, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A stand-in in new memory."""
        if not standin.dtype_is_known(dtype):
            raise NotImplementedError(f"Tensors of {dtype} are not supported here.")
        count = 1 if all(size) else 0
        if count:
            count += sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        nbytes = max(count * dtype.itemsize, 1)
        try:
            address = self._allocator.allocate(nbytes)
        except OutOfAddresses:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {nbytes / 2**20:.2f} MiB. GPU 0 has a "
                f"total capacity of {self.facts.total_bytes / 2**30:.2f} GiB of which "
                f"{(self.facts.total_bytes - self._allocator.allocated) / 2**30:.2f} GiB is free."
            ) from None
        memory = self._begin(address, nbytes, BufferKind.SCRATCH, born=self.moment)
        return self._hold(memory, dtype, size, stride)

    def tensor_in(
        self, memory: Memory, dtype: torch.dtype, size: Sequence[int], stride: Sequence[int],
        address: int,
    ) -> torch.Tensor:  # fmt: skip
        """A stand-in of memory that there is already, with a storage of its own."""
        count = memory.buffer.nbytes // dtype.itemsize
        with _disable_current_modes():
            flat = self._hold(memory, dtype, (count,), (1,))
            offset, rest = divmod(address - memory.buffer.address, dtype.itemsize)
            if rest:
                raise ValueError(f"An address is not a multiple of the size of {dtype}.")
            return standin.restrided(flat, size, stride, offset)

    def _hold(
        self, memory: Memory, dtype: torch.dtype, size: Sequence[int], stride: Sequence[int]
    ) -> torch.Tensor:
        memory.holders += 1
        released = functools.partial(self._released, memory)
        return standin.tensor(memory.buffer.address, dtype, size, stride, released)

    def _begin(self, address: int, nbytes: int, kind: BufferKind, born: int) -> Memory:
        buffer = Buffer(self._ids, address, nbytes, kind, born)
        self._ids += 1
        memory = Memory(buffer, self.section)
        if self._captured is not None:
            memory.holders += 1
            self._captured.append(memory)
        self._memories[address] = memory
        bisect.insort(self._starts, address)
        self.executor.allocate(buffer)
        return memory

    def _released(self, memory: Memory) -> None:
        memory.holders -= 1
        if memory.holders:
            return
        address = memory.buffer.address
        if self._memories.pop(address, None) is None:
            return
        self._exposed.pop(address, None)
        del self._starts[bisect.bisect_left(self._starts, address)]
        self.executor.free(dataclasses.replace(memory.buffer, freed=self.moment))
        if memory.buffer.kind is BufferKind.SCRATCH:
            self._allocator.free(address)

    @property
    def allocated_bytes(self) -> int:
        """Bytes of device memory that the answer has."""
        return self._allocator.allocated

    @property
    def peak_bytes(self) -> int:
        """Most bytes of device memory that the answer had."""
        return self._allocator.peak
