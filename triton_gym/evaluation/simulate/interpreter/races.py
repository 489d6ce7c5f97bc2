"""Reads of what other threads of the same program have stored, with no barrier between."""

from __future__ import annotations

from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array


class RaceError(RuntimeError):
    """A program reads what other threads of it may not have written yet."""


class Races:
    """What the threads of one program have stored since their last barrier.

    The compiler gives equal places of blocks of one shape to one thread, and puts no barriers
    between accesses of global memory; reductions, products and atomics bring some.
    """

    def __init__(self) -> None:
        self._stored: dict[int, list[tuple[Array, Array, tuple[int, ...]]]] = {}

    def barrier(self) -> None:
        """All threads have come to one place."""
        if self._stored:
            self._stored = {}

    def store(self, owner: int, pointers: Array, mask: Array | None, active: Array) -> None:
        """Threads store."""
        lanes = _lanes(pointers, mask)
        self._stored.setdefault(owner, []).append((np.array(active), lanes, pointers.shape))

    def load(self, owner: int, pointers: Array, mask: Array | None, active: Array) -> None:
        """Threads load.

        Raises:
            RaceError: some of it was stored by others.
        """
        for stored, lanes, shape in self._stored.get(owner, ()):
            if stored.max() < active.min() or active.max() < stored.min():
                continue
            order = np.argsort(stored, kind="stable")
            place = np.minimum(np.searchsorted(stored[order], active), stored.size - 1)
            same: Any = stored[order][place] == active
            mine = _lanes(pointers, mask)
            if (same & ((lanes[order][place] != mine) | (shape != pointers.shape))).any():
                raise RaceError(
                    "A program loads what other threads of it have stored, with no barrier "
                    "between: on a GPU it may find what was there before. Use tl.debug_barrier(), "
                    "or keep the values."
                )


def _lanes(pointers: Array, mask: Array | None) -> Array:
    return np.arange(pointers.size) if mask is None else np.flatnonzero(mask)
