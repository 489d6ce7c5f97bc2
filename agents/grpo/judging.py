"""The evaluator that a step's environments share: no answer is evaluated twice."""

from __future__ import annotations

import hashlib
import math
import statistics
import threading
from concurrent.futures import Future
from typing import Unpack

import cloudpickle

from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.evaluation.service.protocol import (
    EvaluationOptions,
    EvaluatorLike,
    EvaluatorWrapper,
)
from triton_gym.outcome import PHASES, Outcome
from triton_gym.task import Task


class SharedEvaluator(EvaluatorWrapper):
    """What an environment needs of an `Evaluator`, for all environments of a step.

    Replies of a group are often the same text. Each text is evaluated once a step for each task;
    its outcome, time included, is every such reply's. `forget` begins the next step.
    """

    def __init__(self, evaluator: EvaluatorLike) -> None:
        super().__init__(evaluator)
        self._lock = threading.Lock()
        self._known: dict[bytes, Future[Outcome]] = {}
        self.asked = 0
        """Evaluations that were asked for since `forget`."""

    @classmethod
    def on(cls, device: str, workers: int) -> SharedEvaluator:
        """For `workers` evaluations at the same time on a device."""
        return cls(Evaluator(device, workers=workers))

    @property
    def made(self) -> int:
        """Evaluations that were made since `forget`."""
        return len(self._known)

    def seconds(self) -> dict[str, float]:
        """Mean wall time of the evaluations since `forget` that are over: `total`, and each of
        `PHASES` that they had. Empty if there is none, or their times were not taken."""
        with self._lock:
            futures = list(self._known.values())
        done = [f.result() for f in futures if f.done() and not f.cancelled() and not f.exception()]
        timed = [outcome for outcome in done if math.isfinite(outcome.evaluation_s)]
        if not timed:
            return {}
        found = {"total": statistics.fmean(outcome.evaluation_s for outcome in timed)}
        for phase in PHASES:
            spent = [seconds for o in timed for name, seconds in o.phases if name == phase]
            if spent:
                found[phase] = sum(spent) / len(timed)
        return found

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """As `Evaluator.submit`; a text that was asked for before has the same future."""
        asked = cloudpickle.dumps((task, source, sorted(options.items())))
        key = hashlib.sha256(asked).digest()
        with self._lock:
            self.asked += 1
            if key not in self._known:
                self._known[key] = self.evaluator.submit(task, source, **options)
            return self._known[key]

    def forget(self) -> None:
        """Evaluate afresh from here on."""
        with self._lock:
            self._known.clear()
            self.asked = 0
