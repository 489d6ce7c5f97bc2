"""From a problem's form to a task that was tried: its reference is judged on a case before anyone
is asked to beat it."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import check
from triton_gym.evaluation.admission import IndependentError, hold_dependence
from triton_gym.evaluation.modules import bind, pack
from triton_gym.suites.adjusted import SCALES, Scaled, WithoutDropout
from triton_gym.suites.execution import told
from triton_gym.suites.shapes import Form, counted, extent, fits, longest
from triton_gym.suites.shapes import input_elements as elements
from triton_gym.suites.shrinking import RUN_ELEMENTS, Small, halved
from triton_gym.task import Case, Entry, Task

TESTED_ELEMENTS = 1 << 28
"""Most elements of inputs, parameters and results in tests on a GPU, whose oracle takes 8 bytes for
each. Larger problems are tested on a smaller shape, and at their own against the reference in its
own dtype, in every timed launch."""


FEW_VALUES = 256
SMALL_INPUTS = 1 << 16
REPEATED = 8
"""A result of fewer than `FEW_VALUES` values, of inputs of at most `SMALL_INPUTS` elements, is
computed so many times more, others once: a few numbers drawn at random may be the same twice."""
OTHERS = 4
"""How many larger cases are tried where nothing can be judged by the smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a task says of itself."""

    name: str
    title: str
    statement: str
    entry: Entry
    tags: tuple[str, ...]
    starter: str = ""
    flops: float = 0.0
    """At the timed size, where they are known."""
    notes: tuple[str, ...] = ()


def task_of(
    form: Form, described: Description, bench: Sequence[Case], small: Small, path: str,
    *, hidden: Callable[[random.Random, bool], Case] | None = None,
) -> Task:  # fmt: skip
    """The task of a problem, tried on its smallest case.

    Args:
        form: the problem.
        described: what the task says of itself.
        bench: cases at full size.
        small: the smallest ones.
        path: of its file, for messages.
        hidden: draws test cases; otherwise the small ones, or on a GPU the largest that is tested.

    Raises:
        InvalidTaskError: the reference fails, is random, or nothing can be judged by it.
    """
    made = partial(
        _made, described=described, bench=bench, path=path, hidden=hidden, built={}
    )  # fmt: skip
    try:
        return _adjusted(form, partial(made, small=small))
    except (RandomError, IndependentError) as error:
        for case in [c for c in small.others if _runnable(form, c)][:OTHERS]:
            smaller = Small((case,), elements(form, case))
            with contextlib.suppress(InvalidTaskError):
                return made(form, small=smaller)
        raise error


def _adjusted(form: Form, made: Callable[[Form], Task]) -> Task:
    """The task of a form, or of one without what keeps it from being judged."""
    try:
        return made(form)
    except RandomError:
        return _with_note(made(WithoutDropout(form)), WithoutDropout.note)
    except IndependentError as error:
        for other in (Scaled(form, factor) for factor in SCALES):
            with contextlib.suppress(InvalidTaskError):
                return _with_note(made(other), other.note)
        raise error


def _runnable(form: Form, case: Case) -> bool:
    """Whether a case can be tried in seconds."""
    try:
        return elements(form, case) <= RUN_ELEMENTS >> 2
    except Exception:  # whatever a file raises at sizes that it is not made for
        return False


class RandomError(InvalidTaskError):
    """Equal inputs give different results."""


def _with_note(task: Task, note: str) -> Task:
    statement = f"{task.statement}\n\nNote: {note}."
    return replace(task, notes=(note, *task.notes), statement=statement)


def _made(
    form: Form, described: Description, bench: Sequence[Case], small: Small, path: str,
    hidden: Callable[[random.Random, bool], Case] | None, built: dict[tuple[Form, Case], Any],
) -> Task:  # fmt: skip
    task = untried_task_of(form, described, bench, small, path, hidden=hidden)
    # Scaled inputs leave the module as it is, and building one takes as long as running it.
    key = (form.form if isinstance(form, Scaled) else form, task.tiny[0])
    return replace(task, notes=(*_tried(task, path, built, key), *task.notes))


def untried_task_of(
    form: Form, described: Description, bench: Sequence[Case], small: Small, path: str,
    *, hidden: Callable[[random.Random, bool], Case] | None = None,
) -> Task:  # fmt: skip
    """The same without a look at its reference."""
    sized = Sized(form)
    return Task(
        name=described.name,
        title=described.title,
        statement=described.statement,
        entry=described.entry,
        reference=form.reference,
        init=form.init,
        inputs=form.inputs,
        tiny=small.cases,
        bench=tuple(bench),
        spans={},
        drawn=hidden or partial(_draw, form, small.cases, bench[0]),
        flops=partial(_flops, bench[0], described.flops),
        min_bytes=sized.min_bytes,
        reduction=sized.reduction,
        starter=described.starter,
        expert=described.starter,
        tags=described.tags,
        notes=(*described.notes, *_size_notes(small)),
    )


@dataclass(frozen=True, slots=True)
class Sized:
    """Sizes of a problem's cases, found when they are asked for."""

    form: Form

    def min_bytes(self, case: Case) -> float:
        """What the results are made of read once, they themselves written once; 0, which bounds
        nothing, where the reference cannot be followed without values."""
        found = extent(self.form, case)
        return float(found) if found is not None else 0.0

    def reduction(self, case: Case) -> int:
        """The longest axis of an input, or what a row of a parameter multiplies."""
        return longest(self.form, case)


def _size_notes(small: Small) -> tuple[str, ...]:
    if small.tiny:
        return ()
    return (
        f"its smallest shape has {small.elements} elements, which the interpreter may not get "
        "through in time: on a simulated device what ends as a timeout was not verified",
    )


def _tried(
    task: Task, path: str, built: dict[tuple[Form, Case], Any], key: tuple[Form, Case]
) -> tuple[str, ...]:
    """Judge the reference on the smallest case as an evaluation does; what was found.

    Args:
        task: the task.
        path: of its file.
        built: the reference that was built last, by what it was built from.
        key: what this one is built from.
    """
    case = task.tiny[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pack(tuple(task.init(case)))
            if key not in built:
                built.clear()
                built[key] = bind(task, case, 1).reference
            return _judged(replace(task, reference=built[key]), case, path)
    except InvalidTaskError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidTaskError(
            f"The reference of {path} fails on {case}: {told(error, path)}."
        ) from error


def _judged(bound: Task, case: Case, path: str) -> tuple[str, ...]:
    cpu = torch.device("cpu")
    inputs = check.draw_inputs(bound, case, 1, cpu)
    plain = check.returned(bound, inputs)
    other = check.reference(bound, check.draw_inputs(bound, case, 2, cpu))
    # What takes least is looked at first: the oracle takes several times as long as the reference,
    # and by its tolerances, which are no smaller, no more can be judged.
    least = _least(plain.tensors, bound.reduction(case))
    if any(_finite(result) for result in plain.tensors):
        hold_dependence(least, plain.tensors, other, path, case)
    for _ in range(_repeats(inputs, plain.tensors)):
        again = check.reference(bound, inputs)
        if not _alike(again, plain.tensors, least, case):
            raise RandomError(
                f"The reference of {path} is random, or keeps state from call to call: equal "
                "inputs differ in result."
            )
    return hold_dependence(
        check.expect(bound, case, inputs, plain), plain.tensors, other, path, case
    )


def _repeats(inputs: Sequence[Any], results: Sequence[torch.Tensor]) -> int:
    """How often a result is computed anew to see whether it is random."""
    few = sum(result.numel() for result in results) < FEW_VALUES
    return REPEATED if few and counted(list(inputs)) <= SMALL_INPUTS else 1


def _finite(result: torch.Tensor) -> bool:
    """Whether any value is: what has none is refused for that."""
    return bool((result.float() if result.itemsize == 1 else result).isfinite().any())


def _least(plain: tuple[torch.Tensor, ...], length: int) -> check.Expected:
    """A result with the smallest tolerances that there are: those of another order of sums."""
    tolerances = (
        check.floor(p, length) if p.is_floating_point() or p.is_complex() else 0.0 for p in plain
    )
    return check.Expected(plain, tuple(tolerances))


def _alike(
    again: Sequence[torch.Tensor], plain: tuple[torch.Tensor, ...], least: check.Expected,
    case: Case,
) -> bool:  # fmt: skip
    """Whether two results for equal inputs differ by no more than another order of sums makes; so
    does what is drawn at random and fades within a long sequence."""
    if [(a.shape, a.dtype) for a in again] != [(p.shape, p.dtype) for p in plain]:
        return False
    return check.compare(list(again), least, str(case)).ok


def _draw(form: Form, tiny: tuple[Case, ...], bench: Case, rng: random.Random, small: bool) -> Case:
    return rng.choice(tiny) if small else tested(form, bench, tiny[0])


@lru_cache(maxsize=512)
def tested(form: Form, bench: Case, small: Case) -> Case:
    """The largest case that tests on a GPU have room for."""
    if fits(form, bench, TESTED_ELEMENTS):
        return bench
    for case in reversed(halved(bench, 16)):
        if fits(form, case, TESTED_ELEMENTS):
            return case
    return small


def _flops(bench: Case, flops: float, case: Case) -> float:
    return flops if case == bench else 0.0


def statement_of(source: str, what: str) -> str:
    """A task's statement: what to do, then the source that says what is meant."""
    fence = "````" if "```" in source else "```"
    return f"{what}\n\n{fence}python\n{source.strip()}\n{fence}"
