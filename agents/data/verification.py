"""Many evaluations at once: several judges, since one of them keeps only a few workers busy."""

from __future__ import annotations

import os
from concurrent.futures import Future
from types import TracebackType

from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.outcome import Outcome
from triton_gym.task import Task

WORKERS_A_JUDGE = 4
"""Evaluations that one judge's process has under way."""


class Verification:
    """Evaluators that take turns.

    Args:
        device: see `triton_gym.device.resolve`.
        workers: evaluations at the same time; 0 for the number of processors.
    """

    def __init__(self, device: str, workers: int) -> None:
        self.workers = workers or os.cpu_count() or 1
        judges = -(-self.workers // WORKERS_A_JUDGE)
        shares = [self.workers // judges + (i < self.workers % judges) for i in range(judges)]
        self._evaluators = [Evaluator(device, workers=share) for share in shares]
        self._next = 0

    @property
    def device(self) -> str:
        """The device in a word."""
        return self._evaluators[0].describe()

    def submit(self, task: Task, source: str, seed: int) -> Future[Outcome]:
        """Start an evaluation; the seed counts on the simulated device alone."""
        evaluator = self._evaluators[self._next % len(self._evaluators)]
        self._next += 1
        return evaluator.submit(task, source, seed=seed if evaluator.device.simulated else None)

    def close(self) -> None:
        """End the processes."""
        for evaluator in self._evaluators:
            evaluator.close()

    def __enter__(self) -> Verification:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()
