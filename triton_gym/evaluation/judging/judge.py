"""The judge: takes an answer through screen, compile, test and profile, and says what it is worth.

A judge is trusted and long-lived. It owns the reference, the inputs, the oracle and the clock; the
answer runs in a single-use worker (`session.py`). What differs between a GPU and its simulation
is in the two subclasses (`measured.py`, `simulated.py`).
"""

from __future__ import annotations

import abc
import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from triton_gym.errors import MachineError
from triton_gym.evaluation import check, trees
from triton_gym.evaluation.admission import Admissions
from triton_gym.evaluation.confine.layers import Layer, available
from triton_gym.evaluation.exchange.arena import Arena, Layout, Slot, put
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.modules import bind, construction, state_of
from triton_gym.evaluation.screening.screen import screened
from triton_gym.evaluation.workers.room import check_room, machine_errors
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.evaluation.workers.worker_pool import WorkerLost
from triton_gym.outcome import Outcome, Status, timed_case
from triton_gym.task import Case, Task

POISON = 0xFF
"""Bytes that results are filled with beforehand: NaN in every floating dtype."""
TRIES = 5
"""How often an answer is evaluated whose fork server dies, the last time alone."""
KILLS = 8
"""How often an answer has another try whose worker was killed, by whomever, or found no room. One
that kills its own process gains nothing by it."""
LASTS = 3.0
"""After how many of its time limits it has none."""
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """A test case that is laid out for a worker, with what it must return."""

    case: Case
    call: dict[str, Any]
    expected: check.Expected
    inputs: tuple[torch.Tensor, ...]
    """The tensors of the arguments, in order, and those of a module's state."""
    input_slots: tuple[Slot, ...]
    output_slots: tuple[Slot, ...]


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
                outcome = Outcome(
                    status=end.status,
                    message=end.message,
                    compiled=end.status
                    in (Status.RUNTIME_ERROR, Status.TIMEOUT, Status.INCORRECT, Status.CHEATING),
                    **end.numbers,  # type: ignore[arg-type]
                )
        return self._finish(outcome, time.perf_counter() - started, phases)

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
        an answer that found no memory, and one whose worker somebody killed, or found the disk
        full.

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
                    if not left or not self._cramped(end):
                        raise
                    left = 1
        told = "The process that starts workers died whenever the answer ran."
        if available() >= {Layer.SIGNALS, Layer.PROCESSES}:
            raise MachineError(f"{told} It cannot have done that.")
        raise Ended(Status.RUNTIME_ERROR, told)

    def _cramped(self, end: Ended) -> bool:
        """Whether an answer failed for want of memory that others have; if so, what is kept of it
        is given up."""
        return False

    @abc.abstractmethod
    def _judge(self, request: Request, phases: Phases) -> Outcome:
        """Evaluate an answer that passed the screen."""

    @abc.abstractmethod
    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        """Label an outcome with its device and what it took."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what the judge holds."""


def test_cases(task: Task, seed: int, *, tiny: bool) -> list[Case]:
    """The hidden shapes of one evaluation: distinct draws from the task's range."""
    with blaming(task, "drawing of hidden cases", None):
        return task.hidden(random.Random(seed), HIDDEN_CASES, tiny=tiny)


def lay_out(task: Task, case: Case, seed: int, device: torch.device, layout: Layout) -> Prepared:
    """Draw a test case, compute what it must return, and place it in shared memory.

    The state of a module's reference travels as further inputs.
    """
    how = construction(task, case, seed)
    task = bind(task, case, seed, device)
    arguments = check.draw_inputs(task, case, seed, device)
    plain = check.returned(task, arguments, case)
    expected = check.expect(task, case, arguments, plain)
    inputs, tree = trees.flatten(arguments)
    input_slots = tuple(layout.same(x) for x in inputs)
    output_slots = tuple(layout.like(x) for x in plain.tensors)
    call = call_message(task, case, tree, input_slots, plain.tree, output_slots)
    if how is not None:
        names, values = zip(*state_of(task), strict=True) if state_of(task) else ((), ())
        slots = tuple(layout.like(value) for value in values)
        call["module"] = {**how, "state": state_message(names, slots)}
        inputs, input_slots = (*inputs, *values), (*input_slots, *slots)
    return Prepared(case, call, expected, inputs, input_slots, output_slots)


def state_message(names: Iterable[str], slots: Iterable[Slot]) -> list[Any]:
    """Where a worker finds the parameters and buffers of a module."""
    return [[name, slot.message()] for name, slot in zip(names, slots, strict=True)]


def shapes(arguments: tuple[Any, ...]) -> Any:
    """Arguments without their values, as a worker that only compiles needs them."""
    return trees.message(trees.flatten(arguments)[1])


def call_message(
    task: Task, case: Case, arguments: trees.Tree, input_slots: Iterable[Slot],
    results: trees.Tree, output_slots: Iterable[Slot],
) -> dict[str, Any]:  # fmt: skip
    """A call of the answer as a worker understands it.

    Args:
        task: says whether results must be strided like the reference's.
        case: what it is called on, by name.
        arguments: the tree of the arguments, a tuple.
        input_slots: where their tensors lie.
        results: the tree of the reference's result.
        output_slots: where its tensors go, contiguous.
    """
    return {
        "case": str(case),
        "arguments": trees.message(arguments),
        "inputs": [slot.message() for slot in input_slots],
        "results": trees.message(results),
        "outputs": [slot.message() for slot in output_slots],
        "same_strides": task.same_strides,
    }


def run_tests(worker: Session, prepared: list[Prepared], arena: Arena) -> check.Verdict:
    """Run all test cases in the worker and compare; raises `Ended` at the first that fails."""
    for test in prepared:
        for slot, value in zip(test.input_slots, test.inputs, strict=True):
            put(arena.view(slot), value)
        for slot in test.output_slots:
            _bytes(arena.view(slot)).fill_(POISON)
    arena.settle()
    worker.ask("call", calls=[test.call for test in prepared])
    return judge_results(prepared, arena)


def judge_results(prepared: list[Prepared], arena: Arena) -> check.Verdict:
    """Compare what lies in shared memory with what was expected.

    Raises:
        Ended: a result is wrong, or an argument was changed.
    """
    calls, changed = [], []
    for test in prepared:
        results = [arena.view(slot).clone() for slot in test.output_slots]
        calls.append((results, test.expected, str(test.case)))
        changed.append(_changed(test, arena))
    verdicts, flags = check.compare_all(calls, changed)
    worst = check.Verdict(True, 0.0, prepared[0].expected.tolerances[0])
    for test, verdict, flag in zip(prepared, verdicts, flags, strict=True):
        if not verdict.ok:
            raise Ended(
                Status.INCORRECT, verdict.message,
                max_error=verdict.max_error, tolerance=verdict.tolerance,
            )  # fmt: skip
        if flag:
            raise Ended(
                Status.INCORRECT, f"The answer changed one of its arguments on {test.case}."
            )
        if verdict.share >= worst.share:
            worst = verdict
    return worst


def _changed(test: Prepared, arena: Arena) -> torch.Tensor:
    """Whether arguments in shared memory are not as they were drawn, as a tensor."""
    flags = [
        (_bytes(arena.view(slot)) != _bytes(value)).any()
        for slot, value in zip(test.input_slots, test.inputs, strict=True)
    ]
    where = test.expected.outputs[0].device
    return torch.stack(flags).any() if flags else torch.zeros((), device=where)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return trees.memory(tensor).view(torch.uint8)
