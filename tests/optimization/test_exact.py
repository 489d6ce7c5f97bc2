"""Kernels for the examples' sizes beside those for all sizes, in one answer."""

from __future__ import annotations

import pytest
import torch

from triton_gym.agents.mutation import sites
from triton_gym.optimization.admissible import objection
from triton_gym.optimization.starts.exact import Exact, joined
from triton_gym.optimization.tracing import trace

GENERAL = """\
import torch
LONG = torch.tensor(1.0)
def helper(a):
    return a + LONG
def kernel(x, n):
    helper = n
    return x + helper
def other(x):
    return helper(x)
BLOCK = 64
STAGES = 1
def f(x, n):
    return other(kernel(x, n * BLOCK))
"""
EXACT = """\
import torch
import math
LONG = torch.tensor(1.0)
def helper(a):
    return a + LONG
def kernel(x):
    helper = 320
    return x + helper
def other(x):
    return helper(x)
BLOCK = 128
def f(x, n):
    return other(kernel(x)) + math.floor(BLOCK / 200)
"""


def run(source, *given):
    scope = {}
    exec(compile(source, "answer", "exec"), scope)
    return float(scope["f"](*given))


def test_the_exact_one_answers_where_its_condition_holds():
    made = joined(GENERAL, [Exact("n == 5", EXACT)], "f", ["x", "n"])
    x = torch.tensor(0.0)
    assert (run(made, x, 5), run(made, x, 6)) == (321.0, 6 * 128 + 1.0)
    assert made.count("def helper(") == made.count("def other(") == 1  # equal in both
    assert made.count("def kernel") == 2
    assert objection(made.replace("import math\n", "import math\n")) is None
    assert {site.label for site in sites(made)} >= {"BLOCK"}
    assert "STAGES" not in {site.label for site in sites(made)}  # no example tells its values apart


def test_what_changes_no_kernel_is_left_out():
    same = GENERAL.replace("n * BLOCK", "320")
    assert joined(GENERAL, [Exact("n == 5", same)], "f", ["x", "n"]) == GENERAL


def test_what_uses_something_that_differs_is_another_one_too():
    changed = GENERAL.replace("a + LONG", "a - LONG")
    made = joined(GENERAL, [Exact("n == 5", changed)], "f", ["x", "n"])
    x = torch.tensor(0.0)
    assert (run(made, x, 5), run(made, x, 6)) == (5 * 64 - 1.0, 6 * 64 + 1.0)


def shifted(u):
    """The sum of neighbours, which divides places by a row's length."""
    out = u.clone()
    out[:, 1:-1] = u[:, :-2] + u[:, 2:]
    return out


@pytest.mark.slow
def test_both_kinds_of_kernels_are_judged(evaluator):
    found = trace(
        shifted, [(torch.randn(48, 40),), (torch.randn(24, 40),)], dynamic={"u": (0, 1)},
        routes=("inductor",), seconds=240,
    )  # fmt: skip
    source = found.starts[0].source
    assert "if u.shape[0] == 48 and u.shape[1] == 40:" in source
    assert "if u.shape[0] == 24 and u.shape[1] == 40:" in source
    outcome = evaluator.evaluate(found.task, source)
    assert outcome.status == "correct", outcome.message
    for host in ("shifted_any", "shifted_1"):
        wrong = source.replace(f"return {host}(u)", f"return {host}(u[:, :1].expand_as(u).clone())")
        assert wrong != source
        assert evaluator.evaluate(found.task, wrong).status != "correct", host
