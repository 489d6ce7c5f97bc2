"""A second look at results that are off by little: what rounding alone does to them.

Among millions of values one may be a small difference of large ones. A reference rounds it well or
badly, by chance, and an honest answer that sums in another order does otherwise. What the
reference's own error was on other inputs, or on these, says little of such a value. How far the
oracle moves when its arguments are rounded does: an answer that is backward stable errs by as much
(Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., §1.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import check
from triton_gym.evaluation.comparison import read, worst_of
from triton_gym.task import Case, Task

NEAR = 64.0
"""How many times the tolerance an error may be for a second look."""
_ROUNDING = float(torch.finfo(torch.float32).eps)
"""By how much arguments are moved, relative to each value."""


def reconsidered(
    verdict: check.Verdict, results: Sequence[torch.Tensor], task: Task, case: Case,
    arguments: Sequence[Any], where: str,
) -> check.Verdict:  # fmt: skip
    """The verdict after a second look, which only what is off by little gets.

    Results are held against the oracle of these very arguments, each with the largest of its
    tolerance there and `check.FACTOR` times what rounding the arguments to float32 once does to the
    oracle, capped as every tolerance is.

    Args:
        verdict: of the first look.
        results: what the answer returned.
        task: bound to the parameters of the evaluation.
        case: of the arguments.
        arguments: of the call, as the reference takes them.
        where: name of the case, for the message.
    """
    if verdict.ok or not 0.0 < verdict.max_error <= NEAR * verdict.tolerance:
        return verdict
    try:
        again = check.compare(results, _bearing_rounding(results, task, case, arguments), where)
    except (torch.OutOfMemoryError, InvalidTaskError):  # full size; values it is not made for
        return verdict
    return again if again.ok else verdict


def _bearing_rounding(
    results: Sequence[torch.Tensor], task: Task, case: Case, arguments: Sequence[Any]
) -> check.Expected:
    """What a call must return, with tolerances that bear that its arguments are rounded."""
    expected = check.expect(task, case, arguments)
    moved = check.oracle(task, check.moved(arguments, _ROUNDING), case)
    tolerances = list(expected.tolerances)
    for index, (result, other, exact) in enumerate(
        zip(results, moved, expected.outputs, strict=True)
    ):
        if other.shape != exact.shape or not _in_float32(result):
            continue
        (error,) = read([worst_of(other, exact, expected.mask(index))[0]])
        most = check.CAP * check.spread(exact)
        tolerances[index] = max(tolerances[index], min(check.FACTOR * error, most))
    return replace(expected, tolerances=tuple(tolerances))


def _in_float32(result: torch.Tensor) -> bool:
    """Whether a result is one that is computed in float32; one in float64 rounds much less."""
    real = result.is_floating_point() or result.is_complex()
    return real and result.dtype not in (torch.float64, torch.complex128)
