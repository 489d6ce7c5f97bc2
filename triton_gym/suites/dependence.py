"""How much a reference's result says about its input, measured.

Published problems hold references that nothing can be judged by: a group norm followed by the mean,
a softmax over one element. Such a task would teach an agent to return zeros. Others depend on their
input by little, which is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import check
from triton_gym.task import Case

WEAK = 0.01
"""Change of a result by another input, relative to its size, below which a task says so."""


class IndependentError(InvalidTaskError):
    """Nothing can be judged by a reference."""


def hold_dependence(
    expected: check.Expected, plain: Sequence[torch.Tensor], other: Sequence[torch.Tensor],
    path: str, case: Case,
) -> tuple[str, ...]:  # fmt: skip
    """What is to be told of a reference's dependence on its input.

    Args:
        expected: what an answer must return.
        plain: the reference's result.
        other: its result for other inputs of the case.
        path: of the problem.
        case: its sizes.

    Raises:
        IndependentError: an answer that does not look at its input would pass.
    """
    answers = {"zeros": [torch.zeros_like(p) for p in plain]}
    if [tuple(o.shape) for o in other] == [tuple(p.shape) for p in plain]:
        answers["the result of other inputs"] = list(other)
        answers["a constant"] = [_constant(o) for o in other]
    for name, answer in answers.items():
        verdict = check.compare(answer, expected, str(case))
        if verdict.ok:
            raise IndependentError(
                f"Nothing can be judged by the reference of {path}: on {case} {name} would pass "
                f"(error {verdict.max_error:.2g}, tolerance {verdict.tolerance:.2g})."
            )
    change = max((_change(p, o) for p, o in zip(plain, other, strict=False)), default=1.0)
    if change >= WEAK:
        return ()
    return (
        f"its result hardly depends on the input: another input changes it by {change:.2g} of its "
        f"size on {case}",
    )


def _constant(result: torch.Tensor) -> torch.Tensor:
    """The mean of a result everywhere, or its most frequent value."""
    if not result.numel():
        return result
    if result.is_floating_point():
        wide = result.double()
        return torch.full_like(result, float(wide[wide.isfinite()].mean().nan_to_num(0.0)))
    flat = result.flatten()
    return (
        torch.zeros_like(result) + flat.mode().values
        if flat.dtype != torch.bool
        else (torch.full_like(result, bool(flat.float().mean() >= 0.5)))
    )


def _change(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square of a difference, relative to that of the result; 1 for another shape."""
    if one.shape != other.shape:
        return 1.0
    first, second = (t.to(torch.float64).nan_to_num() for t in (one, other))
    size = float(first.square().mean().sqrt())
    return float((first - second).square().mean().sqrt()) / size if size else 0.0
