"""Whether anything can be judged by a task: before its first answer, and when a suite loads it.

Published problems hold references that nothing can be judged by: a group norm followed by the mean,
a softmax over one element. Such a task would teach an agent to return zeros. Others depend on their
input by little, which is told.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import check
from triton_gym.evaluation.faults import hold_counts
from triton_gym.evaluation.fingerprint import remembered_fingerprint
from triton_gym.evaluation.modules import bind
from triton_gym.task import Case, Task

WEAK = 0.01
"""Change of a result by another input, relative to its size, below which a task says so."""
KEPT = 512
"""Tasks that are not looked at again."""


class IndependentError(InvalidTaskError):
    """Nothing can be judged by a reference."""


class EmptyError(IndependentError):
    """A reference's result has no elements on a case, which says nothing of other cases."""


def hold_dependence(
    expected: check.Expected, plain: Sequence[torch.Tensor], other: Sequence[torch.Tensor],
    what: str, case: Case,
) -> tuple[str, ...]:  # fmt: skip
    """What is to be told of a reference's dependence on its input.

    Args:
        expected: what an answer must return.
        plain: the reference's result.
        other: its result for other inputs of the case.
        what: whose reference it is, in words.
        case: its sizes.

    Raises:
        EmptyError: there is nothing in the result.
        IndependentError: an answer that does not look at its input would pass.
    """
    if not any(p.numel() for p in plain):
        raise EmptyError(f"The reference of {what} returns no elements on {case}.")
    _hold_precision(expected, plain, what, case)
    answers = {"zeros": [torch.zeros_like(p) for p in plain]}
    if [tuple(o.shape) for o in other] == [tuple(p.shape) for p in plain]:
        answers["the result of other inputs"] = list(other)
        answers["a constant"] = [_constant(o) for o in other]
    for name, answer in answers.items():
        verdict = check.compare(answer, expected, str(case))
        if verdict.ok:
            raise IndependentError(
                f"Nothing can be judged by the reference of {what}: on {case} {name} would pass "
                f"(error {verdict.max_error:.2g}, tolerance {verdict.tolerance:.2g})."
            )
    change = max((_change(p, o) for p, o in zip(plain, other, strict=False)), default=1.0)
    if change >= WEAK:
        return ()
    return (
        f"its result hardly depends on the input: another input changes it by {change:.2g} of its "
        f"size on {case}",
    )


def _hold_precision(
    expected: check.Expected, plain: Sequence[torch.Tensor], what: str, case: Case
) -> None:
    """Raise if a reference's own rounding is as large as what its values differ by."""
    told = ""
    for index, (p, exact) in enumerate(zip(plain, expected.outputs, strict=True)):
        if not (p.is_floating_point() or p.is_complex()):
            return
        mask = expected.mask(index)
        errors = check.errors_of(p, exact)
        errors = errors.nan_to_num_(posinf=0.0) if mask is None else errors.masked_fill_(mask, 0.0)
        own, spread = float(errors.square().mean().sqrt()), check.spread(exact)
        if not p.numel() or own <= spread:
            return
        told = f"its own error is {own:.2g} of its values' size, which spread by {spread:.2g}"
    raise IndependentError(
        f"Nothing can be judged by the reference of {what}: on {case} {told}, so that its result "
        "is hardly more than rounding."
    )


def _constant(result: torch.Tensor) -> torch.Tensor:
    """The mean of a result everywhere, or its most frequent value."""
    if not result.numel():
        return result
    if result.is_floating_point():
        wide = result.double()
        return torch.full_like(result, float(wide[wide.isfinite()].mean().nan_to_num(0.0)))
    if result.is_complex():
        wide = result.to(torch.complex128)
        return torch.full_like(result, complex(wide[wide.isfinite()].sum() / wide.numel()))
    most = result.flatten().to(torch.int64).mode().values
    return torch.full_like(result, int(most))


def _change(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square of a difference, relative to that of the result; 1 for another shape."""
    if one.shape != other.shape:
        return 1.0
    wide = torch.complex128 if one.is_complex() else torch.float64
    first, second = (t.to(wide).nan_to_num(0.0, 0.0, 0.0) for t in (one, other))
    size = float(first.abs().square().mean().sqrt())
    return float((first - second).abs().square().mean().sqrt()) / size if size else 0.0


def admit(task: Task, device: torch.device) -> Case:
    """The first of a task's tiny cases by which answers can be judged.

    Args:
        task: any.
        device: where the reference runs.

    Raises:
        IndependentError: there is none; the message says what was measured on the last.
        InvalidTaskError: a function of the task fails, or equal inputs have different results.
    """
    what = f"task {task.name!r}"
    for case in (*task.tiny, *task.bench):
        hold_counts(task, case)
    failure: IndependentError | None = None
    for case in task.tiny:
        bound = bind(task, case, 1, device)
        inputs = check.draw_inputs(task, case, 1, device)
        plain = check.returned(bound, inputs, case)
        expected = check.expect(bound, case, inputs, plain)
        _hold_repetition(bound, case, inputs, plain.tensors)
        others = check.draw_inputs(task, case, 2, device)
        try:
            hold_dependence(
                expected, plain.tensors, check.reference(bound, others, case), what, case
            )
        except IndependentError as error:
            failure = error
            continue
        return case
    raise failure or IndependentError(f"{what} has no tiny case.")


def _hold_repetition(
    task: Task, case: Case, inputs: Sequence[object], plain: tuple[torch.Tensor, ...]
) -> None:
    """Raise if equal inputs have results that differ by more than another order of sums makes."""
    length = task.reduction(case)
    least = tuple(
        check.floor(p, length) if p.is_floating_point() or p.is_complex() else 0.0 for p in plain
    )
    again = check.reference(task, inputs, case)
    verdict = None
    if [a.shape for a in again] == [p.shape for p in plain]:
        verdict = check.compare(again, check.Expected(plain, least), str(case))
    if verdict is None or not verdict.ok:
        raise InvalidTaskError(
            f"The reference of task {task.name!r} is random, or keeps state from call to call: "
            "called twice on equal inputs it returned two results. "
            f"{verdict.message if verdict else ''}"
        )


_UNKNOWN = object()


class Admissions:
    """Remembers what became of tasks. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[str, object] = OrderedDict()  # an error, or None for a good task

    def hold(
        self,
        task: Task,
        device: torch.device,
        using: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Look at a task that was not seen before.

        Args:
            task: which may be known already.
            device: where its reference runs.
            using: what is entered for that, if it is not: the device may be shared.

        Raises:
            InvalidTaskError: see `admit`.
        """
        key = remembered_fingerprint(task)
        refused = self._found.get(key, _UNKNOWN)
        if refused is _UNKNOWN:
            with self._lock:
                refused = self._found.get(key, _UNKNOWN)
                if refused is _UNKNOWN:
                    with using():
                        refused = self._found[key] = _refusal(task, device)
                    while len(self._found) > KEPT:
                        self._found.popitem(last=False)
        if isinstance(refused, InvalidTaskError):
            raise refused


def _refusal(task: Task, device: torch.device) -> InvalidTaskError | None:
    try:
        admit(task, device)
    except InvalidTaskError as error:
        return error.with_traceback(None)
    return None
