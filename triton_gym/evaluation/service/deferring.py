"""Two evaluators as one: every answer is simulated, and measured where that may say more.

A simulated device costs no GPU and says how certain its times are. What decides (answers whose
times it does not know, and those that may be the best so far) goes on to a GPU.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter, deque
from collections.abc import Collection
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Unpack

from triton_gym.errors import InvalidOptionError, QueueFullError
from triton_gym.evaluation.fingerprint import task_fingerprint
from triton_gym.evaluation.service.protocol import (
    EvaluationOptions,
    EvaluatorLike,
    EvaluatorWrapper,
)
from triton_gym.outcome import Outcome, Status
from triton_gym.task import Task

DOUBTED = frozenset({Status.RUNTIME_ERROR, Status.TIMEOUT})
"""What a simulator may end in that a GPU would not: it does not run everything that one can."""


class Deferral(StrEnum):
    """Why an answer was measured."""

    UNCERTAIN = "uncertain"
    """Its simulated interval is wider than allowed."""
    CONTENDER = "contender"
    """It may be faster than the task's best measured answer; also if there is none yet."""
    FAILED = "failed"
    """It failed in a way that may be the simulator's."""


@dataclass(slots=True)
class Deferred:
    """What a `DeferringEvaluator` has done."""

    simulated: int = 0
    """Answers that it was given; each is simulated."""
    measured: Counter[Deferral] = field(default_factory=Counter)
    """Those that were measured as well, by the reason."""


class DeferringEvaluator(EvaluatorWrapper):
    """Simulates every answer, and measures those that are uncertain or may be the best.

    An outcome says by `time_source` which of the two it is from. Speedups of both are over the
    measured time of the reference, once that is known: a modelled one may be far off, and would
    favour what is never measured. Both evaluators are closed with this one.

    Args:
        simulated: evaluates everything, e.g. `Evaluator("simulated:h200")`.
        measured: evaluates what is deferred to it, e.g. `Evaluator("cuda:0")`.
        widest: an answer is measured whose `runtime_high_us` is more than so many times its
            `runtime_low_us`.
        contenders: whether an answer is measured whose `runtime_low_us` is below the best time
            that was measured of its task.
        failures: statuses of the simulator that are asked of the other one as well.

    Raises:
        InvalidOptionError: `widest` is below 1.
    """

    def __init__(
        self, simulated: EvaluatorLike, measured: EvaluatorLike, *, widest: float = 2.0,
        contenders: bool = True, failures: Collection[Status] = DOUBTED,
    ) -> None:  # fmt: skip
        if not widest >= 1:
            raise InvalidOptionError(f"widest must be 1 or more; got {widest}.")
        super().__init__(measured)
        self.simulated = simulated
        self.deferred = Deferred()
        self._widest, self._contenders, self._failures = widest, contenders, frozenset(failures)
        self._best: dict[tuple[str, str], float] = {}
        self._baselines: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()

    @property
    def workers(self) -> int:
        """Answers simulated at the same time."""
        return self.simulated.workers

    def describe(self) -> str:
        """Both devices."""
        return f"{self.simulated.describe()} then {self.evaluator.describe()}"

    def close(self) -> None:
        """End both evaluators."""
        self.simulated.close()
        self.evaluator.close()

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """See `EvaluatorLike`. Cancelling the future gives both evaluations up."""
        best = (task_fingerprint(task), options.get("baseline", "eager"))
        request = _Request(task, source, options, best, _Relayed())
        first = self.simulated.submit(task, source, **options)
        request.future.follows = first
        with self._lock:
            self.deferred.simulated += 1
        first.add_done_callback(lambda done: self._simulated(request, done))
        return request.future

    def _simulated(self, request: _Request, done: Future[Outcome]) -> None:
        if request.future.take(done):
            return
        outcome = done.result()
        reason = self._reason(request.best, outcome)
        if reason is None:
            request.future.end(self._rebased(request.best, outcome))
            return
        with self._lock:
            self.deferred.measured[reason] += 1
        self._measure(request)

    def _rebased(self, best: tuple[str, str], outcome: Outcome) -> Outcome:
        """A simulated outcome, its speedup over the reference as it was measured."""
        with self._lock:
            baseline = self._baselines.get(best, math.nan)
        if not outcome.correct or not math.isfinite(baseline):
            return outcome
        return outcome.replace(baseline_us=baseline, speedup=baseline / outcome.runtime_us)

    def _reason(self, best: tuple[str, str], outcome: Outcome) -> Deferral | None:
        """Why an answer is to be measured; None if its simulated outcome will do."""
        if not outcome.correct:
            return Deferral.FAILED if outcome.status in self._failures else None
        low, high = outcome.runtime_low_us, outcome.runtime_high_us
        if not high <= self._widest * low:
            return Deferral.UNCERTAIN
        with self._lock:
            known = self._best.get(best, math.inf)
        return Deferral.CONTENDER if self._contenders and low < known else None

    def _measure(self, request: _Request) -> None:
        options: EvaluationOptions = {**request.options, "wait": False}
        try:
            second = self.evaluator.submit(request.task, request.source, **options)
        except QueueFullError:
            with self._lock:
                self._waiting.append(request)  # until another one ends
            return
        except Exception as error:
            request.future.fail(error)
            return
        request.future.follows = second
        second.add_done_callback(lambda done: self._measured(request, done))

    def _measured(self, request: _Request, done: Future[Outcome]) -> None:
        with self._lock:
            other = self._waiting.popleft() if self._waiting else None
        if other is not None:
            self._measure(other)
        if request.future.take(done):
            return
        outcome = done.result()
        if outcome.correct:
            with self._lock:
                known = self._best.get(request.best, math.inf)
                self._best[request.best] = min(known, outcome.runtime_us)
                self._baselines[request.best] = outcome.baseline_us
        request.future.end(outcome)


class _Relayed(Future[Outcome]):
    """The future of an outcome that one of two evaluators gives."""

    follows: Future[Outcome] | None = None
    """The evaluation under way."""

    def cancel(self) -> bool:
        """Give the evaluation up; False if it is already done."""
        if self.cancelled():
            return True
        if not super().cancel():
            return False
        self.set_running_or_notify_cancel()  # wakes those who wait for it
        if self.follows is not None:
            self.follows.cancel()
        return True

    def take(self, done: Future[Outcome]) -> bool:
        """Whether nothing more is to be done: it was given up, or the evaluation failed."""
        if self.cancelled():
            return True
        if done.cancelled():
            self.cancel()
            return True
        error = done.exception()
        if error is not None:
            self.fail(error)
        return error is not None

    def end(self, outcome: Outcome) -> None:
        """Give the outcome, unless nobody wants it any more."""
        with contextlib.suppress(InvalidStateError):
            self.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Give the error, unless nobody wants it any more."""
        with contextlib.suppress(InvalidStateError):
            self.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Request:
    task: Task
    source: str
    options: EvaluationOptions
    best: tuple[str, str]
    """What the best time is kept by: the task, and the baseline."""
    future: _Relayed
