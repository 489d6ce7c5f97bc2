"""What a call must return, and how far off an answer may be.

A judge needs four functions of this module. `draw_inputs` makes the arguments of a case,
`returned` calls the reference on them, `expect` says what an answer must return, and `compare`
holds its tensors against that. Results of any kind are lists of tensors there: `trees` takes them
apart, and says what an answer's must look like. Where the oracle would take too long for every
call, as in timed rounds, `timed` says once what may be held against what.

The tolerance of a floating-point output is `max(FACTOR · error of the PyTorch reference in the
task's dtype, 2 ε(dtype) + 8 ε(float32) √n)` with n the longest sum, errors as in `comparison`. The
second term is the rounding of the result plus the statistical growth of rounding errors in a
float32 sum of n terms in any order (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd
ed., §2.8 and §4.2); for results in float64, `_DOUBLE` stands for ε(float32). The first is capped: a
reference may round so much that its error is that of 8-bit products. More than `CAP` of the error
that the mean of all values makes is never allowed, unless rounding the result alone makes it. The
same holds for the root mean square of an output's errors, which tells fewer bits from bad luck:
twice the reference's own, at least a third of that floor, and at most `USUAL_CAP`.

Integers and booleans must be equal, and so must what floating-point numbers jump by: the index of a
maximum, a value rounded to 8 bits. Where the oracle itself jumps as its arguments move by what
float32 sums round them, or where the reference does, a value is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import trees
from triton_gym.evaluation.comparison import (
    Expected,
    Verdict,
    bits,
    compare,
    compare_all,
    errors_of,
    largest,
    plainly_right,
    read,
    spread_of,
    told,
    worst_of,
)
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.reference import (
    Returned,
    draw_inputs,
    exactly,
    fake_arguments,
    nearly,
    oracle,
    reference,
    returned,
    upcast,
)
from triton_gym.task import Case, Task

__all__ = [
    "FACTOR", "Expected", "Returned", "Timed", "Verdict", "compare", "compare_all",
    "draw_inputs", "errors_of", "expect", "fake_arguments", "floor", "largest", "limits", "moved",
    "oracle", "plainly_right", "reference", "returned", "spread", "timed", "told", "upcast",
]  # fmt: skip

FACTOR = 4.0
"""How many times the reference's own error an answer may make."""
CAP = 1 / 5
"""Largest tolerance, as a share of the error of the values' mean."""
USUAL_FACTOR = 2.0
"""How many times the root mean square of the reference's own errors an answer's may be."""
USUAL_CAP = 1 / 40
"""The largest of those, as a share of the error of the values' mean. Products of weights and values
in bfloat16 make 0.005 to 0.008 of it, in 8 bits (e4m3) 0.04 to 0.06 (two_simplicial_attention)."""
_SINGLE = torch.finfo(torch.float32).eps
_DOUBLE = 2.0**-40
"""What counts as the rounding of float64 sums: 4096 times their own, as the oracle is no more exact
and cannot tell how a result is conditioned; still 2^-17 of what one step in float32 rounds."""
_NUDGE = 4.0
"""By how many roundings of float32, times the root of the longest sum, arguments are moved."""
_MANY = 1000
"""Operators of a reference from which on a run that looks at every one takes too long again."""
_FEW = 16
"""Values of which the spread says nothing."""


@dataclass(frozen=True, slots=True)
class Timed:
    """How results are held against the reference at full size, where many are."""

    tolerances: tuple[float, ...]
    spared: tuple[float, ...]
    """See `Expected.spared`."""
    exact: bool
    """Whether they are held against the oracle in the results' dtype: the reference itself errs so
    much that its tolerance is capped."""
    typical: tuple[float, ...] = ()
    """See `Expected.typical`."""

    def of(self, outputs: tuple[torch.Tensor, ...]) -> Expected:
        """What a call must return whose reference returned these."""
        return Expected(outputs, self.tolerances, typical=self.typical, spared=self.spared)

    def expected(
        self, task: Task, arguments: Sequence[Any], case: Case | None = None
    ) -> tuple[torch.Tensor, ...]:
        """What one call must return."""
        plain = reference(task, arguments, case)
        if not self.exact:
            return plain
        exact = oracle(task, arguments, case)
        return tuple(o.to(p.dtype) for o, p in zip(exact, plain, strict=True))


def expect(
    task: Task, case: Case, arguments: Sequence[Any], plain: Returned | None = None
) -> Expected:
    """The oracle's outputs with the tolerance of each.

    Where the oracle leaves the range of the result's dtype, infinity is expected. Where one of
    reference and oracle is NaN or infinite and the other is not, or is so otherwise, nothing is.

    Args:
        task: bound to a module's parameters.
        case: of the arguments.
        arguments: of the call.
        plain: the reference's result, if it is at hand.

    Raises:
        InvalidTaskError: the reference fails, returns other shapes or dtypes for float64 inputs, or
            nothing that is finite.
    """
    plain = plain or returned(task, arguments, case)
    exact, seen = exactly(task, arguments, case)
    _hold_oracle(task, case, plain.tensors, exact)
    expected = tuple(_ranged(o, p) for p, o in zip(plain.tensors, exact, strict=True))
    masks = [_unlike(p, o) for p, o in zip(plain.tensors, expected, strict=True)]
    finite = read([_finite(o).any() for o in expected if o.numel()])
    if finite and not any(finite):
        raise InvalidTaskError(
            f"The oracle of task {task.name!r} is not finite on {case}: there is nothing to judge."
        )
    if seen.steps and not task.exact:
        run = nearly if seen.operators > _MANY else oracle
        masks = _jumping(task, case, arguments, expected, masks, run)
    bounds = _limits(task, case, plain.tensors, expected, masks)
    some = read([expected[0].new_zeros(()) if m is None else m.any() for m in masks])
    undecided = tuple(mask if any_ else None for mask, any_ in zip(masks, some, strict=True))
    names = tuple(trees.names(plain.tree))
    largest_, usual = (tuple(each) for each in zip(*bounds, strict=True))
    return Expected(expected, largest_, names, undecided if any(some) else (), usual)


def timed(task: Task, case: Case, arguments: Sequence[Any], plain: Returned) -> Timed:
    """How results at full size are held against the reference's, or the oracle's.

    Reference and answer may both be off the oracle, each by its own tolerance. Of values that are
    undecided, `FACTOR` times as many may differ as there were here.
    """
    expected = expect(task, case, arguments, plain)
    masks = [expected.mask(i) for i in range(len(expected.outputs))]
    three = [
        worst_of(p, o, m)
        for p, o, m in zip(plain.tensors, expected.outputs, masks, strict=True)
    ]  # fmt: skip
    own, usual = (read([one[i] for one in three]) for i in (0, 2))
    shares = read([usual_.new_zeros(()) if m is None else m.double().mean()
                   for (_, _, usual_), m in zip(three, masks, strict=True)])  # fmt: skip
    exact = any(
        FACTOR * own[i] > expected.tolerances[i] or USUAL_FACTOR * usual[i] > expected.typical[i]
        for i, p in enumerate(plain.tensors)
        if _real(p)
    )
    factor = 1.0 if exact else 2.0
    # Errors of reference and answer have little to do with each other.
    beside = [0.0 if exact else own_ for own_ in usual]
    return Timed(
        tuple(factor * tolerance for tolerance in expected.tolerances),
        tuple(FACTOR * share for share in shares),
        exact,
        tuple(1.05 * math.hypot(*two) for two in zip(expected.typical, beside, strict=True)),
    )


def _real(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float().isfinite() if tensor.itemsize == 1 else tensor.isfinite()


def _hold_oracle(
    task: Task, case: Case, plain: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> None:
    """Raise unless two results of the reference are alike but for precision."""

    def kind(tensor: torch.Tensor) -> tuple[Any, ...]:
        return tuple(tensor.shape), "floating point" if _real(tensor) else str(tensor.dtype)

    one, other = [kind(p) for p in plain], [kind(o) for o in exact]
    if one != other:
        raise InvalidTaskError(
            f"The reference of task {task.name!r} returns {one} on {case}, and {other} for the "
            "same values in float64: shapes and kinds must not depend on rounding."
        )


def _ranged(exact: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """The oracle's output, with infinity where the dtype of the result has nothing larger."""
    if not plain.is_floating_point() or plain.itemsize < 2 or exact.dtype == plain.dtype:
        return exact
    return exact.where(exact.to(plain.dtype).isfinite(), exact.to(plain.dtype).to(exact.dtype))


def _unlike(plain: torch.Tensor, exact: torch.Tensor) -> torch.Tensor | None:
    """Where only one of two results is finite, or both are not in different ways."""
    if not _real(plain):
        differ = bits(plain) != bits(exact)  # its rounding decided
        return differ
    one, other = (t.float() if t.itemsize == 1 else t for t in (plain, exact))
    same = (one == other) | (one.isnan() & other.isnan())
    return ~(one.isfinite() & other.isfinite()) & ~same


def _jumping(
    task: Task, case: Case, arguments: Sequence[Any], exact: Sequence[torch.Tensor],
    masks: Sequence[torch.Tensor | None], run: Callable[..., tuple[torch.Tensor, ...]],
) -> list[torch.Tensor | None]:  # fmt: skip
    """The masks, with values at which the oracle jumps when its arguments hardly move.

    They move by a few roundings, one way and then the other: what is nearly equal changes order in
    one of the two.
    """
    with blaming(task, "reduction()", case):
        length = task.reduction(case)
    size = _NUDGE * _SINGLE * math.sqrt(max(length, 1))
    found = list(masks)
    for sign in (1.0, -1.0):
        try:
            other_way = run(task, moved(arguments, sign * size), case)
        except InvalidTaskError:  # it is made for no other values
            return list(masks)
        if [m.shape for m in other_way] != [o.shape for o in exact]:
            return list(masks)
        for index, (other, o) in enumerate(zip(other_way, exact, strict=True)):
            if not _real(o) and other.dtype != o.dtype:
                continue
            jumped = _jumped(other, o, 64 * size)
            mask = found[index]
            found[index] = jumped if mask is None else mask | jumped
    return found


def moved(arguments: Sequence[Any], size: float, seed: int = 1) -> list[Any]:
    """The arguments with every floating-point value moved by up to `size` of itself."""
    generators: dict[torch.device, torch.Generator] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        generator = generators.setdefault(
            tensor.device, torch.Generator(tensor.device).manual_seed(seed)
        )
        wide = tensor.double()
        noise = torch.rand(
            tensor.shape, dtype=torch.float64, device=tensor.device, generator=generator
        )
        return wide * (1 + size * (2 * noise - 1))

    tensors, tree = trees.flatten(list(arguments))
    found: list[Any] = trees.assemble(tree, iter([move(tensor) for tensor in tensors]))
    return found


def _jumped(other: torch.Tensor, exact: torch.Tensor, allowed: float) -> torch.Tensor:
    if not _real(exact):
        return bits(other) != bits(exact)
    return errors_of(other, exact) > allowed


def limits(
    task: Task, case: Case, plain: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> list[tuple[float, float]]:
    """The largest error of each output and the largest root mean square of its errors, from the
    reference's own against the oracle."""
    masks = [_unlike(p, o) for p, o in zip(plain, exact, strict=True)]
    return _limits(task, case, plain, exact, masks)


def _limits(
    task: Task, case: Case, plain: Sequence[torch.Tensor], exact: Sequence[torch.Tensor],
    masks: Sequence[torch.Tensor | None],
) -> list[tuple[float, float]]:  # fmt: skip
    with blaming(task, "reduction()", case):
        length = task.reduction(case)
    three = [worst_of(p, o, m) for p, o, m in zip(plain, exact, masks, strict=True)]
    own, usual = (read([one[i] for one in three]) for i in (0, 2))
    found = []
    for p, o, most, mean in zip(plain, exact, own, usual, strict=True):
        if not _real(p):
            found.append((0.0, 0.0))
            continue
        least = floor(p, length)
        found.append(
            (
                _capped(FACTOR * most, least, CAP, o),
                _capped(USUAL_FACTOR * mean, least / 3, USUAL_CAP, o),
            )
        )
    return found


def _capped(wanted: float, least: float, cap: float, exact: torch.Tensor) -> float:
    if wanted <= least:
        return least
    return max(min(wanted, cap * spread(exact)), least)


def spread(exact: torch.Tensor) -> float:
    """The error that the mean of all values makes as an answer, as a root mean square; 1/2 where
    there are too few of them to tell: the error of nothing at all."""
    if exact.numel() < _FEW:
        return 0.5
    (found,) = read([spread_of(exact)])
    return found


def floor(result: torch.Tensor, reduction: int) -> float:
    """The smallest tolerance of an output, see the head of this module.

    A float64 without dimensions may be a Python number, of a result that was computed in float32.
    """
    double = result.dtype in (torch.float64, torch.complex128) and result.dim()
    rounding = _DOUBLE if double else _SINGLE
    return 2 * torch.finfo(result.dtype).eps + 8 * rounding * math.sqrt(reduction)
