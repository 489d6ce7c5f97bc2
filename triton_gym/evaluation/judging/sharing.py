"""How evaluations share one GPU: timing has it alone, everything else together."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


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


def gpu_lock(device: torch.device) -> GpuLock:
    """A GPU's lock: the same for all judges, and all who sample or train there, of one user.

    Args:
        device: the GPU. CUDA is started.
    """
    properties = torch.cuda.get_device_properties(device)
    return GpuLock(Path("/tmp", f"triton-gym-{os.getuid()}-{properties.uuid}.lock"))


def memory_lock(device: torch.device) -> GpuLock:
    """A lock of the same kind for a GPU's memory. Who also holds the GPU's takes this first."""
    properties = torch.cuda.get_device_properties(device)
    return GpuLock(Path("/tmp", f"triton-gym-{os.getuid()}-{properties.uuid}.memory"))
