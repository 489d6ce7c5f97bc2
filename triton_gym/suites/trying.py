"""Problems with a list of cases: those that can be judged are kept, the others are told of."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation.admission import EmptyError, IndependentError
from triton_gym.suites.loading import Description, task_of, untried_task_of
from triton_gym.suites.shapes import Form, tensors, without_values
from triton_gym.suites.shrinking import TINY_ELEMENTS, Small
from triton_gym.task import Case, Task

TRIED_ELEMENTS = 1 << 22
"""Most elements of the inputs of a case that is tried when a problem is loaded, on the CPU."""
FAILURES = 8
"""After so many cases that cannot be judged no further ones are tried."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Draws test cases from a list."""

    tiny: tuple[Case, ...]
    tested: tuple[Case, ...]

    def __call__(self, rng: random.Random, small: bool) -> Case:
        """One of the small ones, or one of those that tests on a GPU have room for."""
        return rng.choice(self.tiny if small else self.tested)


def tried_cases(
    forms: Sequence[Form], described: Description, cases: Sequence[Case], path: str,
    *, tested_elements: int = 1 << 26, failures: int = FAILURES, as_given: int = 0,
) -> Task:  # fmt: skip
    """The task of a problem and its cases.

    Args:
        forms: ways to draw its inputs, the best first; the first by which a case can be judged
            is taken.
        described: what the task says of itself.
        cases: all of its cases.
        path: of its file, for messages.
        tested_elements: most elements of inputs in tests on a GPU.
        failures: after so many cases that cannot be judged no further ones are tried: half of
            them the smallest, half the largest.
        as_given: which of the forms has the problem's own inputs.

    Raises:
        InvalidTaskError: no case can be judged. The reason is that of the first case with the
            problem's own inputs if it fails there, else of the first way to draw them; a case
            whose result is empty tells only where all do.
    """
    first: list[InvalidTaskError] = []
    for form in forms:
        sized = sorted(((_elements(form, case), i, case) for i, case in enumerate(cases)))
        sizes = {case: elements for elements, _, case in sized}
        tasks: dict[Case, Task] = {}
        kept: list[Case] = []  # not tried: the small ones show what there is to show
        errors: list[InvalidTaskError] = []
        waiting = deque(case for _, _, case in sized)
        while waiting:
            large = not tasks and failures // 2 <= len(errors) < failures
            tried = [case for case in waiting if sizes[case] <= TRIED_ELEMENTS]
            case = tried[-1] if large and tried else waiting[0]
            waiting.remove(case)
            most = TINY_ELEMENTS if tasks or kept else TRIED_ELEMENTS
            if sizes[case] > most or len(errors) >= failures:
                kept.append(case)
                continue
            try:
                small = Small((case,), sizes[case])
                tasks[case] = task_of(form, described, (case,), small, path)
            except InvalidTaskError as error:
                errors.append(error)
        judged = [case for case in sizes if case in tasks or case in kept]
        first += sorted(errors, key=lambda error: isinstance(error, EmptyError))[:1]
        if len(errors) >= failures and not tasks:
            continue
        reason = first[0] if first else None
        if judged and not tasks:
            return _told(_untried(form, described, judged, sizes, path), cases, judged, reason)
        if judged:
            found = [tasks[case] for case in judged if case in tasks]
            return _told(_joined(found, judged, sizes, tested_elements), cases, judged, reason)
    own = first[as_given] if as_given < len(first) else None
    if own is not None and not isinstance(own, IndependentError):
        raise own
    raise first[0] if first else InvalidTaskError(f"{path} has no cases.")


def _untried(
    form: Form, described: Description, cases: list[Case], sizes: dict[Case, int], path: str
) -> Task:
    """The task of a problem whose every case is too large to be tried here."""
    note = (
        f"its smallest case has {sizes[cases[0]]} elements of inputs, too many to try its "
        "reference when it was loaded: it is tried before its first answer"
    )
    task = untried_task_of(form, described, cases[-1:], Small((cases[0],), sizes[cases[0]]), path)
    tested = tuple(case for case in cases if sizes[case] <= 1 << 26) or (cases[0],)
    return replace(task, drawn=Listed((cases[0],), tested), notes=(*task.notes, note))


def _joined(tasks: Sequence[Task], judged: list[Case], sizes: dict[Case, int], limit: int) -> Task:
    """One task of those of single cases."""
    first = tasks[0].tiny[0]
    tiny = tuple(case for case in judged if sizes[case] <= TINY_ELEMENTS) or (first,)
    tested = tuple(case for case in judged if sizes[case] <= limit) or tiny
    notes = dict.fromkeys(note for task in tasks for note in task.notes)
    return replace(
        tasks[0], tiny=tiny, bench=(judged[-1],), drawn=Listed(tiny, tested), notes=tuple(notes)
    )


def _told(
    task: Task, cases: Sequence[Case], judged: list[Case], first: InvalidTaskError | None
) -> Task:
    """The task, which says of how many cases nothing can be judged."""
    left = len(cases) - len(judged)
    if first is None or not left:
        return task
    note = f"{left} of its {len(cases)} cases are not judged; the first: {first}"
    return replace(task, notes=(*task.notes, note))


def _elements(form: Form, case: Case) -> int:
    """Elements of a case's inputs, which are drawn if they cannot be counted without values."""
    try:
        return sum(t.numel() for t in tensors(without_values(partial(form.inputs, case))))
    except Exception:  # told when the case is tried; what is larger has larger sizes
        return max(case.sizes.values(), default=0)
