"""Observes programs whose every step is carried out."""

from __future__ import annotations

from collections.abc import Iterable

from triton_gym.evaluation.simulate.interpreter.effort import Effort
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo


class InEarnest:
    """Observes programs whose every step is carried out.

    Args:
        effort: what they cost.
        undo: notes what stores and atomics change, if anybody wants to know.
    """

    def __init__(self, effort: Effort, undo: Undo | None) -> None:
        self._effort, self._undo = effort, undo

    def access(
        self, kind: str, number: int, pointers: Array, active: Array, itemsize: int, bulk: bool
    ) -> bool:
        """Carry it out."""
        self._effort.access(pointers.size)
        if self._undo is not None and kind != "load":
            self._undo.save(active, itemsize)
        return True

    def dot(
        self, number: int, a: tuple[int, ...], b: tuple[int, ...], element: str, precision: str
    ) -> bool:
        """Compute it."""
        *batch, m, k = a
        for size in batch:
            m *= size
        self._effort.dot(m, b[-1], k)
        return True

    def reduction(self, number: int, size: int) -> None:
        """It takes a while."""
        self._effort.operation(size)

    def gather(self, number: int, index: Array, itemsize: int) -> None:
        """It takes a while."""
        self._effort.operation(index.size)

    def loop(self, number: int, steps: range) -> Iterable[int]:
        """All iterations."""
        return steps

    def again(self, number: int) -> bool:
        """As often as the program says."""
        return True
