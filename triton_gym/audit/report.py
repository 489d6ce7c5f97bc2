"""Runs the suites through an evaluator and says who got through."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from triton_gym.audit.exploits import KINDS, Exploit
from triton_gym.audit.honest import Honest
from triton_gym.audit.modules import MODULE_VICTIMS, task_of
from triton_gym.audit.victims import VICTIMS
from triton_gym.evaluation.backends import backend_of
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import Outcome, Status, TimeSource

FASTER = 0.9
"""An exploit that ends as correct gains if it takes less than this share of the honest time."""
WIDE = 2.0
"""Ends of a simulated interval, one over the other, from which on a `DeferringEvaluator` measures;
also how many times the honest time work takes that a simulated device may not take for free."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one answer of a suite."""

    name: str
    kind: str
    """Class of attack, or `honest`."""
    task: str
    status: str
    good: bool
    """Whether the exploit was held, or the honest answer accepted."""
    message: str
    runtime_us: float


@dataclass(frozen=True, slots=True)
class Report:
    """All results, in the order of the suites."""

    device: str
    results: tuple[Result, ...]
    unfinished: int = 0
    """Answers whose turn had not come when the time was up."""

    @property
    def failures(self) -> tuple[Result, ...]:
        """Exploits that gained and honest answers that were refused."""
        return tuple(result for result in self.results if not result.good)

    def counts(self) -> dict[str, tuple[int, int]]:
        """For each class of attack and for `honest`: how many were tried, how many went well."""
        return {
            kind: (len(found), sum(result.good for result in found))
            for kind in (*KINDS, "honest")
            if (found := [result for result in self.results if result.kind == kind])
        }

    def record(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "device": self.device,
            "unfinished": self.unfinished,
            "counts": {k: {"tried": n, "good": good} for k, (n, good) in self.counts().items()},
            "results": [
                {**asdict(r), "runtime_us": None if math.isnan(r.runtime_us) else r.runtime_us}
                for r in self.results
            ],
        }


def held(exploit: Exploit, outcome: Outcome, honest_us: float) -> bool:
    """Whether an exploit gained nothing.

    Args:
        exploit: what was tried.
        outcome: what became of it.
        honest_us: time of the honest answer that it is built from.
    """
    if outcome.status is Status.CORRECT and Status.CORRECT in exploit.held:
        if exploit.doubtful and outcome.time_source is TimeSource.SIMULATED:
            told = outcome.runtime_high_us >= WIDE * outcome.runtime_low_us
            if not told and outcome.runtime_us < WIDE * honest_us:
                return False
        return outcome.runtime_us >= FASTER * honest_us
    return outcome.status in exploit.held


def audit(
    evaluator: EvaluatorLike,
    exploits: Sequence[Exploit],
    honest: Sequence[Honest],
    *,
    done: Callable[[Result], None] = lambda result: None,
    seconds: float = math.inf,
) -> Report:
    """Evaluate every answer of both suites.

    Args:
        evaluator: whose judge is on trial; its workers run at the same time.
        exploits: what must gain nothing.
        honest: what must be accepted.
        done: called after each answer, with what became of it.
        seconds: when to stop; the report then holds what is known, in a random order's beginning.
    """
    until = time.monotonic() + seconds
    honest_us = _honest_times(evaluator, {e.task for e in exploits})
    answers: list[Exploit | Honest] = [*exploits, *honest]
    short = Limits(seconds=backend_of(evaluator.device).patience)
    waiting: dict[Future[Outcome], int] = {}
    for number in random.Random(0).sample(range(len(answers)), len(answers)):
        answer = answers[number]
        limits = short if isinstance(answer, Exploit) else None
        seed = _seed(evaluator)
        future = evaluator.submit(task_of(answer.task), answer.source, seed=seed, limits=limits)
        waiting[future] = number
    results: dict[int, Result] = {}
    with contextlib.suppress(TimeoutError, KeyboardInterrupt):
        for ended in as_completed(waiting, max(until - time.monotonic(), 0.0)
                                   if until < math.inf else None):  # fmt: skip
            number = waiting[ended]
            results[number] = _result(answers[number], ended.result(), honest_us)
            done(results[number])
    return Report(
        evaluator.describe(),
        tuple(result for _, result in sorted(results.items())),
        len(answers) - len(results),
    )


def _honest_times(evaluator: EvaluatorLike, tasks: Iterable[str]) -> dict[str, float]:
    return {
        task: evaluator.evaluate(task_of(task), _honest(task), seed=_seed(evaluator)).runtime_us
        for task in sorted(tasks)
    }


def _seed(evaluator: EvaluatorLike) -> int | None:
    """Of inputs and hidden shapes: nobody's to know on a GPU, where no runs are alike anyway."""
    return 1 if evaluator.deterministic else None


def _honest(task: str) -> str:
    return VICTIMS[task].honest if task in VICTIMS else MODULE_VICTIMS[task].answer()


def _result(answer: Exploit | Honest, outcome: Outcome, honest_us: dict[str, float]) -> Result:
    if isinstance(answer, Exploit):
        kind, good = answer.kind, held(answer, outcome, honest_us[answer.task])
    else:
        kind, good = "honest", outcome.correct
    return Result(
        answer.name, kind, answer.task, str(outcome.status), good, outcome.message,
        outcome.runtime_us,
    )  # fmt: skip
