"""Values that rounding alone moves further than their neighbours."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import triton_gym
from triton_gym import Case
from triton_gym.evaluation import check
from triton_gym.evaluation.conditioning import reconsidered

TASK = triton_gym.load("softmax_backward")
CASE = Case("float32", {"rows": 4, "cols": 512})
LEAST = check.floor(torch.zeros(1), 512)


def ill_conditioned() -> tuple[torch.Tensor, torch.Tensor]:
    """A row that one column holds nearly all of: its gradient is a small difference."""
    generator = torch.Generator().manual_seed(0)
    y = torch.softmax(torch.randn(4, 512, generator=generator), dim=-1)
    dy = torch.randn(4, 512, generator=generator)
    y[1] = torch.softmax(torch.zeros(512).index_fill_(0, torch.tensor([7]), 14.5), dim=-1)
    return y, 3.0 + dy


def told(results: torch.Tensor, arguments, tolerance: float = LEAST):
    """First and second look, by a tolerance that was found on other inputs."""
    exact = check.oracle(TASK, arguments, CASE)
    first = check.compare([results], check.Expected(exact, (tolerance,)), str(CASE))
    return first, reconsidered(first, [results], TASK, CASE, arguments, str(CASE))


def test_another_order_of_a_sum_is_right_where_the_result_is_ill_conditioned():
    y, dy = arguments = ill_conditioned()
    backwards = y * (dy - (y * dy).flip(-1).cumsum(-1)[:, -1:])
    first, second = told(backwards, arguments)
    assert not first.ok
    assert second.ok
    assert second.tolerance > first.tolerance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fewer_bits_are_wrong_there_too(dtype):
    y, dy = arguments = ill_conditioned()
    narrow = check.reference(TASK, [y.to(dtype), dy.to(dtype)], CASE)[0].float()
    assert not told(narrow, arguments)[1].ok


def test_a_wrong_value_elsewhere_is_wrong():
    arguments = ill_conditioned()
    results = check.reference(TASK, arguments, CASE)[0].clone()
    results[3, 3] *= 1.01
    assert not told(results, arguments)[1].ok


def test_results_in_float64_are_not_taken_for_float32():
    task = dataclasses.replace(TASK)
    wide = tuple(tensor.double() for tensor in ill_conditioned())
    rough = check.reference(task, [t.float() for t in wide], CASE)[0].double()
    assert not told(rough, wide, tolerance=1e-8)[1].ok


def test_a_second_look_is_not_for_what_is_plainly_wrong(monkeypatch):
    arguments = ill_conditioned()
    monkeypatch.setattr(check, "expect", None)  # it would be called
    first, second = told(torch.zeros(4, 512), arguments, tolerance=1e-6)
    assert second is first


MANY = 1 << 20


def one_difference(at: int, error: float, places: int = 1):
    """First and second look at a million sums in bfloat16, with one small difference of large values.

    Args:
        at: where the results are off, from this place on.
        error: by how much, in units of the sums' own size.
        places: how many are off.
    """
    task = triton_gym.load("vector_add")
    case = Case("bfloat16", {"size": MANY})
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(MANY, generator=generator).bfloat16() for _ in range(2))
    x[5:7], y[5:7] = 100.0, -100.0
    results = (x.double() + y.double()).bfloat16()
    results[at : at + places] += error
    expected = check.expect(task, case, (x, y))
    first = check.compare([results], expected, str(case))
    return first, reconsidered(first, [results], task, case, (x, y), str(case))


def test_one_of_a_million_may_be_off_by_what_rounding_explains():
    first, second = one_difference(5, 0.5)
    assert not first.ok
    assert second.ok


@pytest.mark.parametrize(
    ("at", "error", "places"), [(9, 0.5, 1), (5, 8.0, 1), (5, 0.5, 2), (5, float("nan"), 1)]
)
def test_what_rounding_does_not_explain_is_wrong(at, error, places):
    """Elsewhere, by more, too often, or no number."""
    assert not one_difference(at, error, places)[1].ok
