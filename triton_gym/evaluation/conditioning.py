"""A second look at results that are off by little: what rounding alone does to them.

Among millions of values one may be a small difference of large ones. A reference rounds it well or
badly, by chance, and an honest answer that sums in another order does otherwise. What the
reference's own error was on other inputs, or on these, says little of such a value. How far the
oracle moves when its arguments are rounded does: an answer that is backward stable errs by as much
(Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., §1.5).

Among tens of millions some are worse still: where weights and values happen to be large in one
column of a row whose size the others make, results of 16 bits are off by 20 times what is usual,
the reference's as well as an answer's, and more than every tolerance's cap. Not more than one in a
million may be so, and only where rounding the arguments to the result's own dtype explains it.
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
RARE = 1e-6
"""Share of values that may be off by more than the cap: none of fewer than a million."""
_DRAWS = 3
"""How often arguments are moved for these: one move may happen to leave a value where it is."""
_RARE_FACTOR = 6.0
"""How many times the root mean square of these moves they may be off: the largest of tens of
millions of normal errors is at 5.6 times their deviation. The 40 worst of 1.2 million values of
two_simplicial_attention's reference are off by 0.4 to 3.4 times that (in bfloat16)."""


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
        expected = _bearing_rounding(results, task, case, arguments)
        again = check.compare(results, expected, where)
        if not again.ok:
            rare = _sparing_rare(results, expected, task, case, arguments)
            again = again if rare is None else check.compare(results, rare, where)
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


def _sparing_rare(
    results: Sequence[torch.Tensor], expected: check.Expected, task: Task, case: Case,
    arguments: Sequence[Any],
) -> check.Expected | None:  # fmt: skip
    """The same, without the few values that rounding explains; None if none are, or not all."""
    places = [_few_off(result, expected, index) for index, result in enumerate(results)]
    off = [(index, at) for index, at in enumerate(places) if at is not None and len(at)]
    if not off or any(at is None for at in places):
        return None
    rounding = min(float(torch.finfo(results[index].dtype).eps) / 2 for index, _ in off)
    squares = [expected.outputs[index].new_zeros(len(at)).abs() for index, at in off]
    for draw in range(_DRAWS):
        others = check.oracle(task, check.moved(arguments, rounding, seed=2 + draw), case)
        for (index, at), square in zip(off, squares, strict=True):
            exact = expected.outputs[index]
            if others[index].shape != exact.shape:
                return None
            move = others[index].flatten()[at] - exact.flatten()[at]
            square += move.abs().square() / _DRAWS
    masks = [expected.mask(index) for index in range(len(results))]
    for (index, at), square in zip(off, squares, strict=True):
        exact, mask = expected.outputs[index], masks[index]
        error = (results[index].flatten()[at].to(exact.dtype) - exact.flatten()[at]).abs()
        if not bool((error <= _RARE_FACTOR * square.sqrt()).all()):
            return None
        if mask is None:
            mask = torch.zeros(exact.shape, dtype=torch.bool, device=exact.device)
        masks[index] = mask.flatten().index_fill(0, at, True).view(exact.shape)
    return replace(expected, undecided=tuple(masks))


def _few_off(result: torch.Tensor, expected: check.Expected, index: int) -> torch.Tensor | None:
    """Flat indices of the values of an output that are off; None if these are not rare."""
    exact, mask = expected.outputs[index], expected.mask(index)
    if not _in_float32(result) or result.itemsize < 2:  # 8 bits explain anything
        return torch.zeros(0, dtype=torch.int64, device=result.device)
    off = check.errors_of(result, exact) > expected.tolerances[index]
    at = (off if mask is None else off & ~mask).flatten().nonzero()[:, 0]
    return at if len(at) <= RARE * exact.numel() else None


def _in_float32(result: torch.Tensor) -> bool:
    """Whether a result is one that is computed in float32; one in float64 rounds much less."""
    real = result.is_floating_point() or result.is_complex()
    return real and result.dtype not in (torch.float64, torch.complex128)
