"""Timing that host code asks for: `@triton.autotune`, `do_bench`, pairs of events.

What is to be timed is recorded as an alternative beside the plan. Alternatives of one decision are
collected until somebody looks at a time, and then timed together by who can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

from triton_gym.evaluation.plan.step import Step
from triton_gym.evaluation.recording.memory import ImportEnded
from triton_gym.evaluation.recording.recorder import Recorder


class Tuner:
    """Has alternatives timed."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._pending: list[tuple[Sequence[Step], Times]] = []
        self._moment = -1

    def bench(
        self, call: Callable[[], Any], warmup: Any = None, rep: Any = None,
        grad_to_none: Any = None, quantiles: Sequence[float] | None = None,
        return_mode: str = "mean", **_: Any,
    ) -> Any:  # fmt: skip
        """What `triton.testing.do_bench` does: milliseconds of a call.

        Args:
            call: what is timed.
            warmup, rep, grad_to_none: have no meaning here.
            quantiles: as many times are returned, all the same.
            return_mode: `all` for a list of one.
        """
        del warmup, rep, grad_to_none
        if self._recorder.moment != self._moment:
            self.resolve()
        times = Times(self, max(1, len(quantiles or ())))
        with self._recorder.alternative() as steps:
            call()
        self._moment = self._recorder.moment
        self._pending.append((steps, times))
        if quantiles is not None and len(quantiles) > 1:
            return times
        return list(times) if quantiles is None and return_mode == "all" else times[0]

    def elapsed_ms(self, steps: Sequence[Step]) -> float:
        """Milliseconds that steps of the plan take."""
        self.resolve()
        if not steps:
            return 0.0
        return self._time([steps])[0] * 1e3

    def forget(self) -> None:
        """Nobody asks any more for what waits to be timed."""
        self._pending = []

    def resolve(self) -> None:
        """Have everything timed that waits for it."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        alternatives = [steps for steps, _ in pending]
        seconds = self._time(alternatives)
        for (_, times), value in zip(pending, seconds, strict=True):
            times.fill(value * 1e3)

    def _time(self, alternatives: Sequence[Sequence[Step]]) -> list[float]:
        line = self._recorder.line()
        if self._recorder.importing:
            raise ImportEnded(line)
        return self._recorder.executor.time(alternatives, line)


class Times(list[float]):
    """Milliseconds that are found out when somebody looks.

    Args:
        tuner: finds them out.
        count: how many there are; all are the same.
    """

    def __init__(self, tuner: Tuner, count: int) -> None:
        super().__init__([0.0] * count)
        self._tuner: Tuner | None = tuner

    def fill(self, value: float) -> None:
        """They were found out."""
        self._tuner = None
        self[:] = [value] * len(self)

    def _look(self) -> list[float]:
        if self._tuner is not None:
            self._tuner.resolve()
        return list(super().__iter__())

    def __iter__(self) -> Any:
        return iter(self._look())

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        return self._look()[index]

    def __lt__(self, other: list[float]) -> bool:
        return self._look() < list(other)

    def __gt__(self, other: list[float]) -> bool:
        return self._look() > list(other)

    def __le__(self, other: list[float]) -> bool:
        return self._look() <= list(other)

    def __ge__(self, other: list[float]) -> bool:
        return self._look() >= list(other)

    def __eq__(self, other: object) -> bool:
        return self._look() == (list(other) if isinstance(other, list) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self._look())
