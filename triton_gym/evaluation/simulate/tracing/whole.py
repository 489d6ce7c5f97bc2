"""Runs a whole launch, so that what later ones decide by is there.

Programs of full size are followed without their values, but some kernels decide by what others have
computed: where an expert's tokens begin, which rows are left. Such a kernel is most often a small
one, and all of it runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from triton_gym.evaluation.simulate.interpreter.effort import Effort, Exhausted
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo
from triton_gym.evaluation.simulate.tracing.launched import Launched, observed

TRIED = 2
"""Programs that tell how much effort the others will take."""


class _InEarnest:
    """Observes programs whose every step is carried out."""

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


def run_whole(launched: Launched, effort: Effort) -> bool:
    """Run all programs of a launch, one after the other; whether there was effort left for it.

    If not, memory is as it was, but for what programs beyond the first few have stored.

    Raises:
        OutOfBoundsError: a program accessed memory that is not the launch's.
    """
    if launched.program.waits:
        return False
    undo, before = Undo(), effort.us
    try:
        with observed(launched.machine, _InEarnest(effort, undo), effort):
            for number in range(min(TRIED, launched.programs)):
                launched.run(number)
        each = (effort.us - before) / TRIED
        if effort.us + each * (launched.programs - TRIED) > effort.limit_us:
            undo.restore()
            return False
        with observed(launched.machine, _InEarnest(effort, None), effort):
            for number in range(TRIED, launched.programs):
                launched.run(number)
    except Exhausted:
        undo.restore()
        return False
    return True
