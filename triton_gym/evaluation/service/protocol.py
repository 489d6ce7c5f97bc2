"""What every evaluator is: this machine's, a cluster's, and those that stand before another."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol, TypedDict, Unpack

from triton_gym.device import Device
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import Outcome
from triton_gym.task import Task


class EvaluationOptions(TypedDict, total=False):
    """How an answer is evaluated; all may be left out."""

    seed: int | None
    """Decides inputs and hidden shapes. None for one that nobody knows; where outcomes are
    reproducible None means 0."""
    baseline: str
    """What the speedup is against: `eager` or `compile`."""
    limits: Limits | None
    """Time and memory."""
    priority: int
    """What waits with a higher one is started earlier."""
    wait: bool | float
    """If there is no room, wait for it (True), raise at once (False), or wait so many seconds."""
    fresh: bool
    """Evaluate even if the answer's outcome is known."""
    tested: bool
    """Only time it: it passed the hidden shapes before. What timed calls return is compared all the
    same. Its outcome is not kept for others."""


class EvaluatorLike(Protocol):
    """Answers in, outcomes out. `Evaluator` says what each method does."""

    @property
    def device(self) -> Device:
        """What answers are evaluated on; the first of several."""

    @property
    def deterministic(self) -> bool:
        """Whether equal requests with equal seeds have equal outcomes."""

    @property
    def workers(self) -> int:
        """Evaluations at the same time on each device."""

    def describe(self) -> str:
        """The device in a word."""

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """Start an evaluation."""

    def evaluate(self, task: Task, source: str, **options: Unpack[EvaluationOptions]) -> Outcome:
        """Evaluate one answer and wait for its outcome."""

    def close(self) -> None:
        """End what it has started."""


class EvaluatorWrapper:
    """An evaluator that asks another, as `gymnasium.Wrapper` is an environment.

    Args:
        evaluator: which answers what a subclass does not.
    """

    def __init__(self, evaluator: EvaluatorLike) -> None:
        self.evaluator = evaluator

    @property
    def device(self) -> Device:
        """See `EvaluatorLike`."""
        return self.evaluator.device

    @property
    def deterministic(self) -> bool:
        """See `EvaluatorLike`."""
        return self.evaluator.deterministic

    @property
    def workers(self) -> int:
        """See `EvaluatorLike`."""
        return self.evaluator.workers

    def describe(self) -> str:
        """See `EvaluatorLike`."""
        return self.evaluator.describe()

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """See `EvaluatorLike`."""
        return self.evaluator.submit(task, source, **options)

    def evaluate(self, task: Task, source: str, **options: Unpack[EvaluationOptions]) -> Outcome:
        """See `EvaluatorLike`."""
        return self.submit(task, source, **options).result()

    def close(self) -> None:
        """See `EvaluatorLike`."""
        self.evaluator.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> EvaluatorWrapper:
        return self  # Gymnasium copies the arguments of an environment
