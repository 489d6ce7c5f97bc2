"""What a caller holds of an evaluation that is not over yet, and how a batch of them stands."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from triton_gym.outcome import Outcome

Result = Outcome | tuple[Outcome, ...]
"""What a judge answers: an outcome, or those of an answer's cases one by one."""


class Evaluation(Future[Outcome]):
    """The future of an outcome; works with `concurrent.futures.wait` and `as_completed`.

    Attributes:
        id: a number of its own among the evaluations of one evaluator, in the order of `submit`.
        task: name of the task.
        source: the answer.
        priority: as given to `submit`.

    It can be cancelled until it is done. One that waits is then never started. One that runs
    keeps its place in the judge until it ends there, at the latest when its time limit does; what
    comes of it is thrown away.
    """

    def __init__(
        self, number: int, task: str, source: str, priority: int,
        withdraw: Callable[[Evaluation], None], keeps: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.id = number
        self.task = task
        self.source = source
        self.priority = priority
        self.sent = False
        """Whether a judge has it."""
        self._withdraw = withdraw
        self._keeps = keeps  # an evaluator lives as long as a future of its own is in use

    def running(self) -> bool:
        """Whether a judge has it."""
        return self.sent and not self.done()

    def cancel(self) -> bool:
        """Give the evaluation up; False if it is already done."""
        if not super().cancel():
            return False
        self._withdraw(self)
        return True


@dataclass(frozen=True, slots=True)
class JudgeState:
    """One judge of an evaluator."""

    device: str
    """What it runs on, e.g. `cuda:1`."""
    state: str
    """`idle` before it is needed, `starting`, `ready`, or `drained`: given up after failures."""
    running: int
    """Evaluations that it has."""
    done: int
    """Evaluations that it answered."""
    deaths: int
    """How often its process died."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How the evaluations of an evaluator stand. Each is counted in one place."""

    submitted: int
    """All since the evaluator was made."""
    waiting: int
    """Not with a judge yet."""
    running: int
    """With a judge."""
    done: int
    """Ended in an outcome, those that were recorded included."""
    recorded: int
    """Answered from the store."""
    failed: int
    """Ended in an error of the service or of the task."""
    cancelled: int
    """Given up by the caller."""
    redone: int
    """Times that an evaluation was started again because its judge failed."""
    judges: tuple[JudgeState, ...]
    """The judges, in the order of the devices."""
