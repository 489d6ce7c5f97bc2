"""The evaluator that a step's environments share: several judges, and no answer evaluated twice."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import cloudpickle

from triton_gym.device import Device
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.outcome import Outcome
from triton_gym.task import Task

_A_JUDGE = 4
"""Evaluations that one judge of the simulated device keeps under way."""


class SharedEvaluator:
    """What an environment needs of an `Evaluator`, over one or several.

    Replies of a group are often the same text. Each text is evaluated once a step for each task;
    its outcome, time included, is every such reply's. `forget` begins the next step.
    """

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        self._evaluators = list(evaluators)
        self._turn = itertools.cycle(self._evaluators)
        self._lock = threading.Lock()
        self._known: dict[bytes, Future[Outcome]] = {}
        self.asked = 0
        """Evaluations that were asked for since `forget`."""

    @classmethod
    def on(cls, device: str, workers: int) -> SharedEvaluator:
        """For `workers` evaluations at the same time.

        A judge of the simulated device keeps few workers busy, so there are several; a GPU has one.
        """
        first = Evaluator(device, workers=1)
        if not first.device.simulated:
            return cls([Evaluator(device, workers=workers)])
        judges = -(-workers // _A_JUDGE)
        shares = [workers // judges + (i < workers % judges) for i in range(judges)]
        return cls([Evaluator(device, workers=share) for share in shares])

    @property
    def device(self) -> Device:
        """What answers are evaluated on."""
        return self._evaluators[0].device

    @property
    def made(self) -> int:
        """Evaluations that were made since `forget`."""
        return len(self._known)

    def describe(self) -> str:
        """The device in a word."""
        return self._evaluators[0].describe()

    def evaluate(self, task: Task, source: str, **options: Any) -> Outcome:
        """As `Evaluator.evaluate`."""
        return self.submit(task, source, **options).result()

    def submit(self, task: Task, source: str, **options: Any) -> Future[Outcome]:
        """As `Evaluator.submit`; a text that was asked for before has the same future."""
        asked = cloudpickle.dumps((task, source, sorted(options.items())))
        key = hashlib.sha256(asked).digest()
        with self._lock:
            self.asked += 1
            if key not in self._known:
                self._known[key] = next(self._turn).submit(task, source, **options)
            return self._known[key]

    def forget(self) -> None:
        """Evaluate afresh from here on."""
        with self._lock:
            self._known.clear()
            self.asked = 0

    def close(self) -> None:
        """End the judges."""
        for evaluator in self._evaluators:
            evaluator.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedEvaluator:
        return self  # Gymnasium copies the arguments of an environment
