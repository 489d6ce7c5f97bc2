"""Problems with a list of cases: those that can be judged are kept, the others are told of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.loading import Description, task_of
from triton_gym.suites.shapes import Form, input_elements
from triton_gym.suites.shrinking import TINY_ELEMENTS, Small
from triton_gym.task import Case, Task


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
    *, tested_elements: int = 1 << 26,
) -> Task:  # fmt: skip
    """The task of a problem and its cases.

    Args:
        forms: ways to draw its inputs, the best first; the first by which a case can be judged
            is taken.
        described: what the task says of itself.
        cases: all of its cases.
        path: of its file, for messages.
        tested_elements: most elements of inputs in tests on a GPU.

    Raises:
        InvalidTaskError: no case can be judged, for the reason that the first cannot.
    """
    first: InvalidTaskError | None = None
    for form in forms:
        sized = sorted(((_elements(form, case), i, case) for i, case in enumerate(cases)))
        sizes = {case: elements for elements, _, case in sized}
        tasks: list[Task] = []
        judged: list[Case] = []
        for elements, _, case in sized:
            if judged and elements > TINY_ELEMENTS:
                judged.append(case)  # the small ones show what there is to show
                continue
            try:
                small = Small((case,), elements)
                tasks.append(task_of(form, described, (case,), small, path))
                judged.append(case)
            except InvalidTaskError as error:
                first = first or error
        if judged:
            return _joined(tasks, judged, sizes, len(cases), tested_elements, first)
    raise first or InvalidTaskError(f"{path} has no cases.")


def _joined(
    tasks: Sequence[Task], judged: list[Case], sizes: dict[Case, int], count: int, limit: int,
    first: InvalidTaskError | None,
) -> Task:  # fmt: skip
    """One task of those of single cases."""
    tiny = tuple(case for case in judged if sizes[case] <= TINY_ELEMENTS) or (judged[0],)
    tested = tuple(case for case in judged if sizes[case] <= limit) or tiny
    notes = dict.fromkeys(note for task in tasks for note in task.notes)
    if len(judged) < count and first is not None:
        notes[f"{count - len(judged)} of its {count} cases are not judged; the first: {first}"] = (
            None
        )
    return replace(
        tasks[0], tiny=tiny, bench=(judged[-1],), drawn=Listed(tiny, tested), notes=tuple(notes)
    )


def _elements(form: Form, case: Case) -> int:
    try:
        return input_elements(form, case)
    except Exception:  # tests that read values, whose tensors are small
        return 0
