"""Many replies at once: those of a group are evaluated together, and equal ones once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from triton_gym.action import InvalidAction, extract
from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.outcome import Outcome, Status
from triton_gym.registration import task_of
from triton_gym.task import Task


def evaluate_replies(
    evaluator: EvaluatorLike, tasks: Sequence[str | Task], replies: Sequence[str], **options: Any
) -> list[Outcome]:
    """The outcome of each reply.

    A reply in which there is no kernel has the outcome `invalid_action`. On a device whose
    outcomes are reproducible equal replies to a task are evaluated once; on a GPU too: the
    replies of a group are often the same text, and its time is every such reply's.

    Args:
        evaluator: what evaluates them.
        tasks: of each reply its task, or the task's name.
        replies: what a model wrote.
        options: of `Evaluator.submit`, for all of them.

    Raises:
        InvalidOptionError: there are not as many tasks as replies, or a task is unknown.
        EvaluatorError: the evaluation service failed.
    """
    if len(tasks) != len(replies):
        raise InvalidOptionError(
            f"{len(tasks)} tasks were given for {len(replies)} replies; give one for each reply."
        )
    known: dict[str, Task] = {}
    outcomes: list[Outcome | None] = []
    first: dict[tuple[int, str], int] = {}
    places: list[tuple[int, int]] = []
    chosen: list[Task] = []
    sources: list[str] = []
    for one, reply in zip(tasks, replies, strict=True):
        task = one if isinstance(one, Task) else known.setdefault(one, task_of(one))
        outcomes.append(None)
        try:
            source = extract(reply, task)
        except InvalidAction as invalid:
            outcomes[-1] = Outcome(status=Status.INVALID_ACTION, message=str(invalid))
            continue
        place = first.setdefault((id(task), source), len(sources))
        if place == len(sources):
            chosen.append(task)
            sources.append(source)
        places.append((len(outcomes) - 1, place))
    futures: list[Future[Outcome]] = []
    try:
        for task, source in zip(chosen, sources, strict=True):
            futures.append(evaluator.submit(task, source, **options))
        found = [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()  # one failed, or somebody interrupts: nobody wants the others
    for index, place in places:
        outcomes[index] = found[place]
    return [outcome for outcome in outcomes if outcome is not None]
