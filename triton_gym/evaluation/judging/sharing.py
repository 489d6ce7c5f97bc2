"""How evaluations share one GPU: timing has it alone, everything else together."""

from __future__ import annotations

import collections
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

Entering = Callable[[AbstractContextManager[None]], AbstractContextManager[None]]

PART_BYTES = 2 << 30
"""What is worked on at once while the GPU is shared: some milliseconds."""


class GpuLock:
    """A GPU shared or alone, between the threads of a judge and between judges of a machine.

    Whoever waits for it alone goes before those who come later to share it.

    Args:
        path: a file that stands for the GPU; a second one is made beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._door = path, path.with_name(path.name + ".door")

    @contextmanager
    def __call__(self, *, alone: bool) -> Iterator[None]:
        """Hold the GPU."""
        with open(self._path, "a") as file:
            with open(self._door, "a") as door:
                fcntl.flock(door, fcntl.LOCK_EX)  # held while waiting: who comes later queues here
                fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)


def gpu_lock(device: torch.device, name: str = "lock") -> GpuLock:
    """A GPU's lock: the same for all judges, and all who sample or train there, of one user.

    Args:
        device: the GPU. CUDA is started.
        name: of what is locked, if it is not the GPU's time.
    """
    properties = torch.cuda.get_device_properties(device)
    return GpuLock(Path("/tmp", f"triton-gym-{os.getuid()}-{properties.uuid}.{name}"))


class Share:
    """One evaluation's use of a GPU, and how long it used it.

    Args:
        lock: of the GPU.
        enter: enters the lock, and limits the worker's time with the GPU.
    """

    def __init__(self, lock: GpuLock, enter: Entering) -> None:
        self._lock, self._enter = lock, enter
        self.seconds = 0.0
        """Time with the GPU, without waiting for it."""

    @contextmanager
    def __call__(self, *, alone: bool) -> Iterator[None]:
        """Hold the GPU."""
        with self._enter(self._lock(alone=alone)):
            start = time.monotonic()
            try:
                yield
            finally:
                self.seconds += time.monotonic() - start

    def parts(self, count: int, size: int) -> Iterator[range]:
        """The numbers up to `count` in parts, each while the GPU is shared.

        So who waits for the GPU alone never waits long.

        Args:
            count: of what is to do.
            size: bytes of device memory that each works on.
        """
        step = max(1, PART_BYTES // size)
        for start in range(0, count, step):
            with self(alone=False):
                yield range(start, min(start + step, count))
                torch.cuda.current_stream().synchronize()

    def each(self, count: int, size: int) -> Iterator[int]:
        """The same, one by one."""
        for part in self.parts(count, size):
            yield from part


class Lanes:
    """Streams for evaluations that are profiled at the same time, as many as memory bears.

    Args:
        device: the GPU.
        count: most at the same time.
        capacity: bytes of device memory that they may take together; one may have more, alone.
        large: the right to have more, which one judge of a GPU has at a time.
    """

    def __init__(self, device: torch.device, count: int, capacity: int, large: GpuLock) -> None:
        self._free = [torch.cuda.Stream(device) for _ in range(count)]
        self._capacity = capacity
        self._large = large
        self._held = 0
        self._waiting: collections.deque[object] = collections.deque()
        self._changed = threading.Condition()

    @contextmanager
    def __call__(self, size: int) -> Iterator[torch.cuda.Stream]:
        """Wait in line for a stream and `size` bytes of memory, and hold them."""
        large = self._large(alone=True) if size > self._capacity else nullcontext()
        with large, self._lane(size) as stream:
            yield stream

    @contextmanager
    def _lane(self, size: int) -> Iterator[torch.cuda.Stream]:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(size))
            self._waiting.popleft()
            stream = self._free.pop()
            self._held += size
            self._changed.notify_all()
        try:
            yield stream
        finally:
            with self._changed:
                self._free.append(stream)
                self._held -= size
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return bool(self._free) and (not self._held or self._held + size <= self._capacity)
