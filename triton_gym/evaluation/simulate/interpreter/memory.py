"""Reads and writes of a process's memory by address."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array

_RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


_SMALL_BYTES = 64 << 20
_NO_RESERVE = 0x4000  # MAP_NORESERVE of Linux


def sparse_zeros(count: int, dtype: type[np.generic]) -> Array:
    """Zeros that take memory only where they are touched.

    Many of them are mapped as shared, with nobody: the kernel counts private memory that is
    reserved as if it were used (RLIMIT_DATA).
    """
    nbytes = count * np.dtype(dtype).itemsize
    if nbytes <= _SMALL_BYTES:
        return np.zeros(count, dtype)
    flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _NO_RESERVE
    return np.frombuffer(mmap.mmap(-1, nbytes, flags=flags), dtype)


def read(addresses: Array, itemsize: int) -> Array:
    """The raw values at addresses that are known to be valid."""
    if not addresses.size:
        return np.zeros(addresses.shape, _RAW[itemsize])
    return _around(addresses, itemsize).read(addresses, itemsize)


def write(addresses: Array, values: Array) -> None:
    """Put raw values at addresses that are known to be valid; of equal ones the last counts."""
    if addresses.size:
        _around(addresses, values.itemsize).write(addresses, values)


def _around(addresses: Array, itemsize: int) -> Window:
    """From the first of some addresses to the last. What lies between them is not touched."""
    return Window(int(addresses.min()), int(addresses.max()) + itemsize)


class Window:
    """The memory between two addresses as arrays."""

    def __init__(self, start: int, end: int) -> None:
        self._start = np.uint64(start)
        self._end = end
        self._views: dict[int, Array] = {}

    def read(self, addresses: Array, itemsize: int) -> Array:
        """The raw values at addresses inside."""
        places = self._places(addresses, itemsize)
        if places is not None:
            return np.asarray(self._view(itemsize).take(places))
        found = self._view(1).take(self._bytes(addresses, itemsize))
        return found.view(_RAW[itemsize])[..., 0]

    def block(
        self, first: int, shape: tuple[int, ...], steps: tuple[int, ...], itemsize: int
    ) -> Array:
        """The raw values of a rectangle inside.

        Args:
            first: address of its first element.
            shape: elements along each axis.
            steps: bytes from one to the next along each axis.
            itemsize: bytes of an element.
        """
        at = first - int(self._start)
        return np.ndarray(shape, _RAW[itemsize], self._view(1), at, steps).copy()

    def write(self, addresses: Array, values: Array) -> None:
        """Put raw values at addresses inside; of equal ones the last counts."""
        itemsize = values.itemsize
        places = self._places(addresses, itemsize)
        if places is not None:
            self._view(itemsize)[places.ravel()] = values.ravel()
        else:
            whole = np.ascontiguousarray(values).reshape(*values.shape, 1)
            self._view(1)[self._bytes(addresses, itemsize)] = whole.view(np.uint8)

    def _places(self, addresses: Array, itemsize: int) -> Array | None:
        """Which elements lie at addresses; None if some do not lie at whole ones."""
        left = addresses - self._start
        if itemsize > 1:
            if int(np.bitwise_or.reduce(left, axis=None)) % itemsize:
                return None
            left >>= np.uint64(itemsize.bit_length() - 1)
        return left.view(np.int64)

    def _bytes(self, addresses: Array, itemsize: int) -> Array:
        """Which bytes those at addresses that are not aligned are made of."""
        first = (addresses - self._start).view(np.int64)
        return np.asarray(first[..., None] + np.arange(itemsize))

    def _view(self, itemsize: int) -> Array:
        """The memory as raw elements."""
        if itemsize not in self._views:
            count = (self._end - int(self._start)) // itemsize
            self._views[itemsize] = np.asarray(_Exposed(int(self._start), count, itemsize))
        return self._views[itemsize]


class _Exposed:
    """Tells NumPy of memory that somebody else keeps."""

    def __init__(self, start: int, count: int, itemsize: int) -> None:
        self.__array_interface__ = {
            "data": (start, False), "shape": (count,), "typestr": np.dtype(_RAW[itemsize]).str,
            "version": 3,
        }  # fmt: skip


@dataclass(slots=True)
class Undo:
    """What lay where something is about to be written."""

    _saved: list[tuple[Array, Array]] = field(default_factory=list)

    def save(self, addresses: Array, itemsize: int) -> None:
        """Note what lies there now."""
        if addresses.size:
            kept = np.array(addresses, dtype=np.uint64)
            self._saved.append((kept, read(kept, itemsize)))

    def changed(self, start: int, end: int) -> bool:
        """Whether anything between two addresses is not as it was."""
        return any(
            bool((read(at, old.itemsize) != old).any())
            for at, old in self._saved
            if start <= int(at[0]) < end
        )

    def restore(self) -> None:
        """Put everything back, the last first."""
        while self._saved:
            write(*self._saved.pop())
