"""Several timed cases: each is reported, and the speedup is their geometric mean."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

import triton_gym
from triton_gym import Case
from triton_gym.outcome import from_json, to_json
from triton_gym.reward import capped_speedup, kevin, roofline

SOFTMAX = dataclasses.replace(
    triton_gym.load("softmax"), part=None, untimed=(),
    bench=(Case("float32", {"rows": 512, "cols": 1024}), Case("float16", {"rows": 64, "cols": 4096})),
)  # fmt: skip
SLOW_IN_HALVES = "if x.dtype == torch.float16:\n        softmax_kernel[grid](x"


@pytest.fixture(scope="session")
def outcome(evaluator):
    return evaluator.evaluate(SOFTMAX, SOFTMAX.starter)


def test_every_case_is_reported(outcome):
    assert outcome.correct, outcome.message
    assert [case.case for case in outcome.cases] == [str(case) for case in SOFTMAX.bench]
    speedups = [case.speedup for case in outcome.cases]
    assert speedups[0] != speedups[1]
    assert outcome.speedup == pytest.approx(math.sqrt(speedups[0] * speedups[1]))
    info, first = outcome.info(), outcome.cases[0]
    assert (info["runtime_us"], info["roofline"]) == (first.runtime_us, first.roofline)
    assert set(info) == set(triton_gym.Outcome(status="correct").info())


def test_rewards_are_of_all_cases(outcome):
    capped = [c.speedup / max(1, c.roofline) for c in outcome.cases]
    assert capped_speedup(outcome) == pytest.approx(math.sqrt(capped[0] * capped[1]))
    assert kevin(outcome) == 0.3 + capped_speedup(outcome)
    assert roofline(outcome) == pytest.approx(
        math.sqrt(outcome.cases[0].roofline * outcome.cases[1].roofline)
    )


def test_cases_are_kept(outcome):
    written = json.loads(json.dumps(to_json(outcome)))
    assert to_json(from_json(written)) == written


def test_one_case_is_as_it_was(evaluator):
    alone = evaluator.evaluate(
        dataclasses.replace(SOFTMAX, bench=SOFTMAX.bench[:1]), SOFTMAX.starter
    )
    assert len(alone.cases) == 1
    assert alone.speedup == alone.cases[0].speedup == alone.baseline_us / alone.runtime_us


def test_an_answer_that_is_wrong_at_the_second_case_is_wrong(evaluator):
    wrong = SOFTMAX.starter.replace(
        "= x.shape", "= x.shape\n    if x.shape[1] == 4096: x = x[::2]", 1
    )
    assert wrong != SOFTMAX.starter
    outcome = evaluator.evaluate(SOFTMAX, wrong)
    assert outcome.status in ("incorrect", "runtime_error", "compile_error"), outcome.message
    assert not outcome.cases
