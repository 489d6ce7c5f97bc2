from __future__ import annotations

import math

import pytest
import torch

import triton_gym
from triton_gym import Case, InvalidTaskError
from triton_gym.evaluation import check, comparison

SOFTMAX = triton_gym.load("softmax")
CASE = Case("float32", {"rows": 8, "cols": 300})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn():
    inputs = check.draw_inputs(SOFTMAX, CASE, 1, CPU)
    return inputs, check.expect(SOFTMAX, CASE, inputs)


def test_the_oracle_is_in_float64(drawn):
    _, expected = drawn
    assert expected.outputs[0].dtype == torch.float64


def test_another_summation_order_passes(drawn):
    (x,), expected = drawn
    e = torch.exp(x - x.max(-1, keepdim=True).values)
    backwards = e / e.flip(-1).cumsum(-1)[:, -1:]
    assert check.compare([backwards], expected, "").ok


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_silent_drop_of_precision_fails(drawn, dtype):
    (x,), expected = drawn
    assert not check.compare([torch.softmax(x.to(dtype), -1).float()], expected, "").ok


def test_one_wrong_value_is_found_and_told(drawn):
    (x,), expected = drawn
    wrong = torch.softmax(x, -1)
    wrong[5, 7] += 0.01
    verdict = check.compare([wrong], expected, "rows=8")
    assert not verdict.ok
    assert "(5, 7)" in verdict.message
    assert "1 of 2400 values" in verdict.message
    assert verdict.max_error > verdict.tolerance


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_fails(drawn, value):
    (x,), expected = drawn
    wrong = torch.softmax(x, -1)
    wrong[0, 0] = value
    assert not check.compare([wrong], expected, "").ok


def test_small_rows_count_as_much_as_large_ones():
    exact = torch.ones(2, 64, dtype=torch.float64)
    exact[1] *= 1e-6
    result = exact.float()
    result[1, 3] *= 1.5
    assert not check.compare([result], check.Expected((exact,), (1e-4,)), "").ok


def test_chunks_do_not_change_the_verdict(drawn, monkeypatch):
    (x,), expected = drawn
    wrong = torch.softmax(x, -1)
    wrong[6, 2] += 0.02
    whole = check.compare([wrong], expected, "")
    monkeypatch.setattr(comparison, "_CHUNK", 700)
    assert check.compare([wrong], expected, "").max_error == whole.max_error


def test_integers_are_compared_exactly():
    exact = torch.arange(6).view(2, 3)
    expected = check.Expected((exact,), (0.0,))
    assert check.compare([exact.clone()], expected, "").ok
    assert not check.compare([exact + (exact == 4)], expected, "").ok


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_plainly_right_is_right(dtype):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    plainly = 0
    for trial in range(300):
        exact = (draw(5, 64) * 10 ** float(draw(()))).to(dtype)
        expected = check.Expected((exact,), (2 * check.floor(dtype, 64),))
        scale = float(exact.float().abs().mean()) * expected.tolerances[0]
        errors = draw(5, 64) * (torch.rand(5, 64, generator=generator) < 0.05) * scale * 0.6
        result = (exact.float() + errors).to(dtype)
        if trial % 7 == 0:
            exact[1, 3] = math.inf
        if trial % 14 == 0:
            result[1, 3] = math.inf
        if trial % 11 == 0:
            result[2, 2] = math.nan
        found = bool(check.plainly_right([result], expected))
        plainly += found
        assert check.compare([result], expected, "x").ok or not found
    assert plainly > 100
    assert bool(check.plainly_right([exact], check.Expected((exact,), (0.0,))))


def test_a_task_that_draws_the_wrong_number_of_arguments_is_told():
    import dataclasses

    broken = dataclasses.replace(SOFTMAX, inputs=lambda case, generator: ())
    with pytest.raises(InvalidTaskError, match="0 arguments for 1 parameters"):
        check.draw_inputs(broken, CASE, 0, CPU)
