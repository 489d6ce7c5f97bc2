"""Reads and writes of a process's memory by address, as the interpreter's own loads do them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from triton_gym.evaluation.simulate.formats import Array

_RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def read(addresses: Array, itemsize: int) -> Array:
    """The raw values at addresses that are known to be valid."""
    from triton.runtime.interpreter import _interpreter as cpp

    raw = _RAW[itemsize]
    everywhere = np.ones(addresses.shape, dtype=bool)
    return np.asarray(
        cpp.load(addresses, everywhere, np.zeros(addresses.shape, raw), np.dtype(raw))
    )


def write(addresses: Array, values: Array) -> None:
    """Put raw values at addresses that are known to be valid."""
    from triton.runtime.interpreter import _interpreter as cpp

    cpp.store(addresses, values, np.ones(addresses.shape, dtype=bool))


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
