"""An answer that finds no memory because others have it."""

from __future__ import annotations

import pytest

import triton_gym
from triton_gym.evaluation.judging.judge import Judge, Phases, Request
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Outcome, Status


class Full(Judge):
    """A judge whose device has no memory for an answer, the first times.

    Args:
        cramped: whether others have it.
        failures: how often there is none.
    """

    def __init__(self, cramped: bool, failures: int) -> None:
        super().__init__()
        self.tried = 0
        self._others, self._failures = cramped, failures

    def _judge(self, request: Request, phases: Phases) -> Outcome:
        self.tried += 1
        if self.tried <= self._failures:
            raise Ended(Status.RUNTIME_ERROR, "OutOfMemoryError: CUDA out of memory.")
        assert self._turns._lonely, "it runs alone"
        return Outcome(status=Status.CORRECT)

    def _cramped(self, end: Ended) -> bool:
        return self._others

    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        return outcome

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("cramped", "failures", "status", "tried"),
    [
        (True, 1, Status.CORRECT, 2),
        (True, 9, Status.RUNTIME_ERROR, 2),
        (False, 1, Status.RUNTIME_ERROR, 1),
    ],
)
def test_it_is_tried_once_more_alone(cramped, failures, status, tried):
    judge = Full(cramped, failures)
    task = triton_gym.load("softmax")
    outcome = judge.evaluate(Request(task=task, source=task.expert))
    assert (outcome.status, judge.tried) == (status, tried)
    assert ("out of memory" in outcome.message) == (status is Status.RUNTIME_ERROR)
