"""Host memory at the addresses of a device: the window of a plan, mapped where the plan says."""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

from triton_gym.evaluation.plan.view import RAW, View
from triton_gym.evaluation.plan.window import ARGUMENTS, PARAMETERS, SCRATCH
from triton_gym.evaluation.simulate.interpreter.formats import Array

POISON = 0xFF
"""Every byte of memory that nothing was written to yet: NaN in every floating dtype."""
_FIXED_NO_REPLACE = 0x100000
_NO_RESERVE = 0x4000
_LEAST_SCRATCH = 4 << 30
"""Bytes of addresses that are reserved; pages come as they are touched. What goes beyond is shared
with nobody, but mapped as shared: the kernel counts reserved private memory as used (RLIMIT_DATA),
where results of a large case take gigabytes of addresses and some pages."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class HostMemory:
    """The window's zones in this process."""

    def __init__(self) -> None:
        self._mapped: dict[int, int] = {}
        self._scratch_end = SCRATCH.start

    def arguments(self, fd: int, nbytes: int, *, private: bool) -> None:
        """Map a file as the zone of arguments.

        Args:
            fd: the file.
            nbytes: its size.
            private: whether what is written stays in this process.
        """
        self._map(ARGUMENTS.start, nbytes, fd, mmap.MAP_PRIVATE if private else mmap.MAP_SHARED)

    def parameters(self, fd: int, nbytes: int) -> None:
        """Map a file as the zone of parameters; what is written stays in this process."""
        self._map(PARAMETERS.start, nbytes, fd, mmap.MAP_PRIVATE)

    def scratch_to(self, end: int) -> None:
        """Have memory for all scratch buffers below an address; what there is stays."""
        anonymous = mmap.MAP_ANONYMOUS | _NO_RESERVE
        if self._scratch_end == SCRATCH.start:
            self._map(SCRATCH.start, _LEAST_SCRATCH, -1, mmap.MAP_PRIVATE | anonymous)
            self._scratch_end += _LEAST_SCRATCH
        if end > self._scratch_end:
            size = -(-(end - self._scratch_end) // _LEAST_SCRATCH) * _LEAST_SCRATCH
            self._map(self._scratch_end, size, -1, mmap.MAP_SHARED | anonymous)
            self._scratch_end += size

    def _map(self, address: int, nbytes: int, fd: int, flags: int) -> None:
        size = -(-max(nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        if address in self._mapped:
            _libc.munmap(address, self._mapped.pop(address))
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        found = _libc.mmap(address, size, protection, flags | _FIXED_NO_REPLACE, fd, 0)
        if found != address:
            raise MemoryError(
                f"No memory of {size >> 20} MiB can be had at {address:#x}: "
                f"{os.strerror(ctypes.get_errno())}."
            )
        self._mapped[address] = size


def poison(address: int, nbytes: int) -> None:
    """Leave nothing of what lay there before."""
    ctypes.memset(address, POISON, nbytes)


def array(view: View) -> Array:
    """The elements of a view as raw bits, in its shape; shares its memory."""

    class _At:
        __array_interface__ = {  # noqa: RUF012
            "data": (view.address, False),
            "shape": view.shape,
            "strides": tuple(stride * view.itemsize for stride in view.strides),
            "typestr": np.dtype(RAW[view.itemsize]).str,
            "version": 3,
        }

    if not view.numel:
        return np.empty(view.shape, RAW[view.itemsize])
    return np.asarray(_At())


def dense(view: View) -> Array:
    """A copy of a view's elements as raw bits, one after the other in its shape."""
    return np.array(array(view), order="C")
