"""Faults of a user's own functions are told as theirs: task, function, line and case."""

from __future__ import annotations

import dataclasses
import math
import re
import sys

import pytest
import torch

import triton_gym
from triton_gym import Case, Entry, InvalidTaskError, Span
from triton_gym.device import gpu_named
from triton_gym.evaluation import check
from triton_gym.evaluation.admission import admit
from triton_gym.evaluation.profile import speed_of_light

SOFTMAX = triton_gym.load("softmax")
CASE = Case("float32", {"rows": 8, "cols": 30})


def divides(x, *rest):
    return x / (x.shape[0] - x.shape[0] // 1) if rest else x.size(1) // 0


def judged(task):
    """What a judge does first."""
    return check.expect(task, CASE, check.draw_inputs(task, CASE, 1, torch.device("cpu")))


def leaves(*arguments):
    sys.exit(3)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"reference": divides}, "reference of task 'softmax' fails on rows=8 cols=30 float32 in divides"),
        ({"inputs": lambda case, generator: 1 // 0}, r"inputs\(\) of task 'softmax' fails on rows=8"),
        ({"reduction": lambda case: case["nothing"]}, r"reduction\(\) of task 'softmax' fails.*KeyError"),
        ({"reference": leaves}, "in leaves .*SystemExit: 3"),
        ({"reference": lambda x: torch.softmax(x, -1) if x.dtype == torch.float32 else [][1]}, "oracle.*IndexError"),
        ({"reference": lambda x: x.to_sparse()}, "must return tensors"),
        ({"reference": lambda x: None}, "neither a tensor nor a number"),
        ({"reference": lambda x: x.unique()[: 1 + (x.dtype == torch.float64)]}, "must not depend on rounding"),
    ],
)  # fmt: skip
def test_the_fault_is_named(changed, told):
    with pytest.raises(InvalidTaskError, match=told):
        judged(dataclasses.replace(SOFTMAX, **changed))


def test_the_line_is_told():
    with pytest.raises(InvalidTaskError, match=r"test_faults.py, line \d+, `return x / .*`"):
        judged(dataclasses.replace(SOFTMAX, reference=divides))


def test_faulty_counts_are_told():
    broken = dataclasses.replace(SOFTMAX, flops=lambda case: None)
    with pytest.raises(
        InvalidTaskError, match=r"flops\(\) or min_bytes\(\) of task 'softmax' fails"
    ):
        speed_of_light(broken, CASE, gpu_named("h100"))


@pytest.mark.parametrize("name", ["flops", "min_bytes", "reduction"])
@pytest.mark.parametrize(
    ("count", "told"),
    [
        (lambda case: math.nan, "number of 0 or more; on .* it gave nan"), (lambda case: -1, "gave -1"),
        (lambda case: "x", "gave 'x'"), (lambda case: math.inf, "gave inf"), (lambda case: True, "True"),
        (lambda case: case["nothing"], "fails on .*KeyError"),
    ],
)  # fmt: skip
def test_a_count_that_is_none_is_told_before_anything_is_judged(name, count, told):
    broken = dataclasses.replace(SOFTMAX, **{name: count})
    with pytest.raises(InvalidTaskError, match=rf"{name}\(\) of task 'softmax'.*{told}"):
        admit(broken, torch.device("cpu"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"entry": "softmax"}, "entry .* must be an Entry"), ({"starter": None}, "starter .* text; got None"),
        ({"flops": 3.0}, "flops .* must be a function; got 3.0"), ({"reference": None}, "a function; got None"),
        ({"version": "x"}, "version .* an integer"), ({"tiny": ("float32",)}, "has a case that is 'float32'"),
        ({"bench": CASE}, "bench .* must be a tuple of cases"), ({"name": 3}, "must be an identifier; got 3"),
        ({"spans": 5}, "spans .* a Span for each size"),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_told_by_its_name(changed, told):
    with pytest.raises(InvalidTaskError, match=told):
        dataclasses.replace(SOFTMAX, **changed)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Case("float31", {}), "'float31'. Did you mean 'float32'"), (lambda: Case(torch.float32, {}), "float32"),
        (lambda: Case("float32", 3), "sizes by name"), (lambda: Case("float32", {}, {"x": "int31"}), "'int31'"),
        (lambda: Case("float32", {}, 4), "got {}, 4"), (lambda: Span(low=1.5, high=9, tiny=3), "of integers"),
        (lambda: Span(low="a", high=9, tiny=3), "of integers"), (lambda: Entry("f", "x y"), "a tuple of its"),
        (lambda: Entry("f", ("a b",)), "a tuple of its"), (lambda: Entry(3, ()), "got 3"),
    ],
)  # fmt: skip
def test_a_part_of_a_task_that_is_none_is_told(make, told):
    with pytest.raises(InvalidTaskError, match=re.escape(told)):
        make()


def test_the_user_is_told_in_their_own_process(evaluator):
    with pytest.raises(InvalidTaskError, match="in divides"):
        evaluator.evaluate(dataclasses.replace(SOFTMAX, reference=divides), SOFTMAX.starter)
