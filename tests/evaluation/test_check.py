from __future__ import annotations

import dataclasses
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30, 1e38])
def test_rows_of_any_size_are_judged_in_their_own_units(dtype, size):
    # Squares of the largest leave a dtype's range, those of the smallest are zero in it.
    exact = (torch.linspace(-1, 1, 64).expand(4, 64) * size).to(dtype)
    near = (exact.double() * (1 + 1e-3)).to(dtype)
    assert comparison.largest(torch.zeros_like(exact), exact)[0] > 0.4
    assert comparison.largest(near, exact)[0] < 1e-2
    assert comparison.largest(exact.roll(1, 1), exact)[0] > 0.4


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
        expected = check.Expected((exact,), (2 * check.floor(exact, 64),))
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
    broken = dataclasses.replace(SOFTMAX, inputs=lambda case, generator: ())
    with pytest.raises(InvalidTaskError, match="0 arguments for 1 parameters"):
        check.draw_inputs(broken, CASE, 0, CPU)


def reference_task(reference, inputs=None, reduction=300):
    changed = {"inputs": inputs} if inputs else {}
    return dataclasses.replace(
        SOFTMAX, reference=reference, reduction=lambda case: reduction, **changed
    )


TABLE = torch.randn(300, 10, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (lambda x: torch.softmax(x.float(), -1), lambda x: torch.softmax(x, -1)),
        (lambda x: x * torch.tensor(0.1), lambda x: x * 0.1),
        (lambda x: x.to(torch.float32).sum(-1, dtype=torch.float32), lambda x: x.sum(-1)),
        (lambda x: torch.zeros(8, 300).add_(x / 3), lambda x: x / 3),
        (lambda x: x * (torch.arange(300) / 7), lambda x: x * torch.arange(300).double() / 7),
        (lambda x: x @ TABLE, lambda x: x @ TABLE.double()),
        (lambda x: torch.nn.functional.rms_norm(x.half().float(), (300,)), lambda x: torch.nn.functional.rms_norm(x, (300,))),
    ],
)  # fmt: skip
def test_an_oracle_is_exact_whatever_the_reference_casts(wrong, right):
    x = torch.randn(8, 300, generator=torch.Generator().manual_seed(1))
    (found,) = check.oracle(reference_task(wrong), (x,))
    torch.testing.assert_close(found, right(x.double()), rtol=1e-13, atol=1e-13)


def test_nan_is_right_where_the_reference_has_it(drawn):
    (x,), _ = drawn
    task = reference_task(lambda x: torch.where(x > 100, torch.log(-x.abs()), x.exp() * 0 + x))
    expected = check.expect(task, CASE, (x,))
    (plain,) = check.reference(task, (x,))
    assert plain.isnan().any()
    assert check.compare([plain.clone()], expected, "").ok
    assert not check.compare([plain.nan_to_num(0.0)], expected, "").ok
    wrong = plain.clone()
    wrong[(~plain.isnan()).nonzero()[0].tolist()[0]] = math.nan
    assert not check.compare([wrong], expected, "").ok


def test_what_overflows_in_the_results_dtype_is_infinite():
    x = torch.tensor([1.0, 300.0, 60000.0]).half()
    expected = check.expect(reference_task(lambda x: x * 2), CASE, (x,))
    assert check.compare([x * 2], expected, "").ok
    assert not check.compare([(x * 2).clamp(max=65504)], expected, "").ok


@pytest.mark.parametrize(
    ("function", "other"),
    [
        (lambda x: (x @ TABLE).argmax(1), lambda x: (x.double() @ TABLE.double()).argmax(1)),
        (lambda x: (x @ TABLE.to(x.dtype) * 3).round().to(torch.int8), lambda x: (x @ (TABLE * 3)).round().to(torch.int8)),
        (lambda x: (x / 7 * 100).round() * 0.01, lambda x: (x * (100 / 7)).round() * 0.01),
        (lambda x: torch.topk(x.half(), 5)[1], lambda x: torch.topk(x.half().flip(1), 5)[1].mul(-1) + 299),
    ],
    ids=["near ties", "to 8 bits", "quantised", "ties"],
)  # fmt: skip
def test_what_rounding_decides_is_not_held_against_an_answer(function, other):
    def draw(case, generator):
        return torch.randn(4000, 300, generator=generator).half().float()  # so that there are ties

    task = reference_task(function, draw)
    inputs = check.draw_inputs(task, CASE, 5, CPU)
    expected = check.expect(task, CASE, inputs)
    assert check.compare([other(*inputs)], expected, "").ok
    masked = expected.mask(0)
    assert masked is None or masked.double().mean() < 0.1, "hardly anything is left undecided"
    assert not check.compare([other(inputs[0].flip(0))], expected, "").ok


def test_errors_of_eight_bits_are_never_allowed():
    """A reference that rounds as much as 8 bits do has no tolerance to match."""

    def rough(x):  # in its own dtype only
        return x + (0 if x.dtype == torch.float64 else 0.03 * x.sin())

    x = torch.randn(64, 300, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = check.expect(reference_task(rough), CASE, (x,))
    assert expected.tolerances[0] < 0.1
    assert expected.typical[0] < 0.011
    low = x.to(torch.float8_e4m3fn).to(x.dtype)
    assert not check.compare([low], expected, "").ok
    assert check.compare([x.clone()], expected, "").ok
    plain = check.returned(reference_task(rough), (x,))
    assert check.timed(reference_task(rough), CASE, (x,), plain).exact


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.complex64, torch.float8_e4m3fn, torch.bool, torch.uint8, torch.int16, torch.uint16, torch.uint32],
)  # fmt: skip
def test_results_of_any_dtype_are_compared(dtype):
    exact = torch.arange(40.0).view(4, 10).to(dtype)
    wrong = exact.clone()
    wrong.view(torch.uint8)[1, 3] ^= 0x41
    expected = check.Expected((exact,), (0.3 if dtype.is_floating_point else 0.0,))
    assert check.compare([exact.clone()], expected, "").ok
    assert bool(check.plainly_right([exact.clone()], expected))
    if dtype != torch.float64:
        assert not check.compare([wrong], expected, "").ok


def test_ties_count_where_a_task_is_exact():
    task, case = triton_gym.load("argmax_rows"), Case("float32", {"rows": 2, "cols": 3})
    x = torch.tensor([[-2.0, -1.0, -1.0], [-1.0, -2.0, -3.0]])
    assert task.exact
    assert check.expect(task, case, (x,)).mask(0) is None
    loose = check.expect(dataclasses.replace(task, exact=False), case, (x,)).mask(0)
    assert loose.tolist() == [True, False]
