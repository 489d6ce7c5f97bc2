"""Where a worker's GPU work waits until the judge's GPU lets it in, and says that it is done.

Two words in host memory that both processes map, and that streams wait for and write by
themselves. So the judge's clock consists of two events on a stream of its own: no process, socket
or interpreter lies between, and what a host needs to queue work is outside of it.

A worker that writes the words itself gains nothing. Before it is let in its inputs are not there,
and what it has not written when it says that it is done is missing from its results.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os

import torch

from triton_gym.evaluation.exchange.driver import call

_PAGE = 4096
_ENTRY, _EXIT = 0, 256  # offsets of the words, which lie in different cache lines
_PORTABLE_AND_MAPPED = 1 | 2  # CU_MEMHOSTREGISTER_PORTABLE, CU_MEMHOSTREGISTER_DEVICEMAP
_AT_LEAST = 0  # CU_STREAM_WAIT_VALUE_GEQ
_LAST_TURN = 0x7FFFFFFF


class Gate:
    """One gate; turns count up from 1. A CUDA context must be current.

    Args:
        fd: the file that holds the other side's gate; None for a new one.
    """

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            fd = os.memfd_create("triton-gym", os.MFD_CLOEXEC)
            os.ftruncate(fd, _PAGE)
        self.fd = fd
        self._map = mmap.mmap(fd, _PAGE)
        self._bytes = (ctypes.c_char * _PAGE).from_buffer(self._map)
        self._host = ctypes.c_void_p(ctypes.addressof(self._bytes))
        call(
            "cuMemHostRegister_v2", self._host, ctypes.c_size_t(_PAGE),
            ctypes.c_uint(_PORTABLE_AND_MAPPED),
        )  # fmt: skip
        address = ctypes.c_uint64()
        call("cuMemHostGetDevicePointer_v2", ctypes.byref(address), self._host, ctypes.c_uint(0))
        self._device = int(address.value)

    # -- the worker's side --------------------------------------------------------------------

    def enter(self, turn: int) -> None:
        """Have the current stream wait until it is let in."""
        self._wait(_ENTRY, turn)

    def leave(self, turn: int) -> None:
        """Have the current stream say that all before is done."""
        self._write(_EXIT, turn)

    # -- the judge's side ---------------------------------------------------------------------

    def admit(self, turn: int) -> None:
        """Have the current stream let the worker's in, and wait until it has left."""
        self._write(_ENTRY, turn)
        self._wait(_EXIT, turn)

    def release(self) -> None:
        """Wait for no worker any more, at once: it is not coming."""
        self._map[_EXIT : _EXIT + 4] = _LAST_TURN.to_bytes(4, "little")

    def close(self) -> None:
        """Give the memory back. Nothing may wait at the gate."""
        with contextlib.suppress(RuntimeError):  # a context that is broken has given it back
            call("cuMemHostUnregister", self._host)
        del self._bytes
        self._map.close()
        os.close(self.fd)

    def _wait(self, word: int, turn: int) -> None:
        self._operate("cuStreamWaitValue32_v2", word, turn, _AT_LEAST)

    def _write(self, word: int, turn: int) -> None:
        self._operate("cuStreamWriteValue32_v2", word, turn, 0)

    def _operate(self, name: str, word: int, turn: int, flags: int) -> None:
        call(
            name, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream),
            ctypes.c_uint64(self._device + word), ctypes.c_uint32(turn), ctypes.c_uint(flags),
        )  # fmt: skip
