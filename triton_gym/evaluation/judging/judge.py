"""The judge: takes an answer through screen, compile, test and profile, and says what it is worth.

A judge is trusted and long-lived. It owns the reference, the inputs, the oracle and the clock; the
answer runs in a single-use recorder. What differs between devices is in their backends.
"""

from __future__ import annotations

import abc
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from triton_gym.errors import MachineError
from triton_gym.evaluation.admission import Admissions
from triton_gym.evaluation.confine.layers import Layer, available
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.screening.screen import screened
from triton_gym.evaluation.workers.room import check_room, machine_errors
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.session import Ended
from triton_gym.evaluation.workers.worker_pool import WorkerLost
from triton_gym.outcome import Outcome, Status, timed_case
from triton_gym.task import Case, Task

TRIES = 5
"""How often an answer is evaluated whose fork server dies, the last time alone."""
KILLS = 16
"""How often an answer has another try whose worker was killed, by whomever, or found no room. One
that kills its own process gains nothing by it."""
LASTS = 4.0
"""After how many of its time limits it has none."""
PARTED = 16
"""Tasks of several timed cases that are kept apart."""
HIDDEN_CASES = 3
"""How many shapes are drawn from the task's range for each evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One evaluation to do."""

    task: Task
    source: str
    seed: int | None = None
    """Decides inputs and hidden shapes; None for one that nobody knows."""
    baseline: str = "eager"
    """What the speedup is against: `eager` or `compile`."""
    tested: bool = False
    """Whether the answer passed the tests already, and is only timed."""
    brief: bool = False
    """Whether fewer calls are timed, as for a table of many configurations."""
    limits: Limits = field(default_factory=Limits)


class Phases:
    """Wall time of each phase of one evaluation."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time inside the block to the phase `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


class Turns:
    """Lets many evaluations run at once, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._lonely = 0  # evaluations that run alone, or wait for it

    @property
    def crowded(self) -> bool:
        """Whether several evaluations run."""
        return self._running > 1

    @contextmanager
    def __call__(self, *, alone: bool) -> Iterator[None]:
        """Wait for a turn, and hold it.

        Args:
            alone: whether nothing else may run meanwhile. Who comes later then waits.
        """
        with self._changed:
            if alone:
                self._lonely += 1
                self._changed.wait_for(lambda: not self._running)
            else:
                self._changed.wait_for(lambda: not self._lonely)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._lonely -= alone
                self._changed.notify_all()


class Judge(abc.ABC):
    """What all devices share."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._admissions = Admissions()
        self._parting = threading.Lock()
        self._parted: OrderedDict[int, tuple[Task, tuple[Task, ...]]] = OrderedDict()

    def evaluate(self, request: Request) -> Outcome:
        """The outcome of one answer. Never raises because of the answer.

        Raises:
            InvalidTaskError: the task itself is at fault.
            EvaluatorError: the machine is; a `MachineError` if it may be well later.
        """
        started = time.perf_counter()
        phases = Phases()
        refused, reached = screened(request.source, request.task.entry)
        if refused:
            status, message = refused
            outcome = Outcome(status=status, message=message)
        else:
            self._admit(request.task)
            try:
                with machine_errors():
                    check_room()
                    outcome = self._every_case(replace(request, source=reached), phases)
            except Ended as end:
                check_room()  # or the answer may have failed for want of it
                outcome = outcome_of(end)
        return self._finish(outcome, time.perf_counter() - started, phases)

    def evaluate_each(self, request: Request) -> tuple[Outcome, ...]:
        """The outcome of one answer on each timed case of its task, timed briefly.

        An answer that was not tested yet is tested with the first of them.

        Raises:
            InvalidTaskError, EvaluatorError: see `evaluate`.
        """
        request = replace(request, brief=True)
        tasks = self._apart(request.task)
        found = []
        if not request.tested:
            found.append(self.evaluate(replace(request, task=tasks[0])))
            tasks = tasks[1:]
        return (*found, *self._timed_each(replace(request, tested=True), tasks))

    def _timed_each(self, request: Request, tasks: Sequence[Task]) -> list[Outcome]:
        """Outcomes of a tested answer on tasks of one timed case each."""
        return [self.evaluate(replace(request, task=task)) for task in tasks]

    def _apart(self, task: Task) -> tuple[Task, ...]:
        """A task for each timed case: the same ones for the same task, of which much is kept."""
        with self._parting:
            known = self._parted.get(id(task))
            if known is None:
                known = task, tuple(replace(task, bench=(case,)) for case in task.bench)
                self._parted[id(task)] = known  # nobody else has its id while it is kept
                if len(self._parted) > PARTED:
                    self._parted.popitem(last=False)
        return known[1]

    def _admit(self, task: Task) -> None:
        """Refuse a task that nothing can be judged by."""
        self._admissions.hold(task, torch.device("cpu"))

    def _every_case(self, request: Request, phases: Phases) -> Outcome:
        """Evaluate an answer on the first timed case, and if it is right, time it on the others.

        Raises:
            Ended: see `_judge`.
        """
        task = request.task
        outcome = self._persistently(request, phases)
        cases = [timed_case(outcome, str(task.bench[0]))]
        for case in task.bench[1:]:
            if not outcome.correct:
                return outcome
            alone = replace(request, task=replace(task, bench=(case,)), tested=True)
            other = self._persistently(alone, phases)
            if not other.correct:
                return other
            cases.append(timed_case(other, str(case)))
        outcome = outcome.replace(cases=tuple(cases))
        if len(cases) == 1 or not outcome.correct:
            return outcome
        speedup = outcome.over_cases(lambda one: one.speedup)
        others = "; ".join(
            f"{one.case}: {one.runtime_us:.1f} µs, speedup {one.speedup:.2f}" for one in cases[1:]
        )
        told = f" Also timed on {others}. The speedup of all is {speedup:.2f}."
        return outcome.replace(speedup=speedup, message=outcome.message + told)

    def _persistently(self, request: Request, phases: Phases) -> Outcome:
        """Evaluate again if the fork server died meanwhile: most often another answer did it.

        The last time it runs alone, so that it cannot be blamed for what another one does. So does
        an answer whose worker somebody killed, or found the disk full.

        Raises:
            Ended: see `_judge`; also if the fork server dies every time, on a machine that cannot
                keep an answer from doing that.
            EvaluatorError: the machine's fault: no fork server starts, no process can be had.
        """
        left, kills, began = TRIES, 0, time.monotonic()
        while left:
            left -= 1
            with self._turns(alone=not left):
                try:
                    return self._judge(request, phases)
                except WorkerLost:
                    continue
                except Ended as end:
                    lasts = time.monotonic() - began < LASTS * request.limits.seconds
                    if end.again and kills < KILLS and lasts:
                        kills, left = kills + 1, max(left, 1)
                        continue
                    raise
        told = "The process that starts workers died whenever the answer ran."
        if available() >= {Layer.SIGNALS, Layer.PROCESSES}:
            raise MachineError(f"{told} It cannot have done that.")
        raise Ended(Status.RUNTIME_ERROR, told)

    @abc.abstractmethod
    def _judge(self, request: Request, phases: Phases) -> Outcome:
        """Evaluate an answer that passed the screen."""

    @abc.abstractmethod
    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        """Label an outcome with its device and what it took."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what the judge holds."""


def outcome_of(end: Ended) -> Outcome:
    """What an evaluation comes to that was over before its end."""
    ran = (Status.RUNTIME_ERROR, Status.TIMEOUT, Status.INCORRECT, Status.CHEATING)
    return Outcome(
        status=end.status,
        message=end.message,
        compiled=end.status in ran,
        **end.numbers,  # type: ignore[arg-type]
    )


def test_cases(task: Task, seed: int, *, tiny: bool) -> list[Case]:
    """The hidden shapes of one evaluation: distinct draws from the task's range."""
    with blaming(task, "drawing of hidden cases", None):
        return task.hidden(random.Random(seed), HIDDEN_CASES, tiny=tiny)
