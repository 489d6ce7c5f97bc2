"""The batches that rates are taken of hold what they say (benchmarks/mixes.py)."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from triton_gym.audit.victims import VICTIMS
from triton_gym.evaluation.screening.screen import screen
from triton_gym.registration import load

TASKS = ("softmax", "matmul", "cumsum_rows")


@pytest.fixture(scope="module")
def mixes():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
        import mixes

        yield mixes
        for name in ("mixes", "answers"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("which", ["OUTSIDE", "TRAINING"])
def test_a_mix_has_its_shares_and_no_answer_twice(mixes, which):
    mix = getattr(mixes, which)
    batch = mixes.mixed(mix, TASKS, 100, "t")
    assert sum(mix.values()) == len(batch) == 100
    assert Counter(answer.kind for answer in batch) == Counter(mix)
    assert len({answer.source for answer in batch}) == 100
    assert {answer.task for answer in batch} == set(TASKS)


def test_the_screen_refuses_only_what_is_to_be_screened(mixes):
    for answer in mixes.mixed(mixes.OUTSIDE, TASKS, 200, "s"):
        status = screen(answer.source, load(answer.task).entry)
        refused = status is not None and status[0] in mixes.ENDS[answer.kind]
        assert refused == (answer.kind == "screened"), (answer, status)


def test_every_spoiled_answer_differs_from_the_honest_one(mixes):
    for kind, make in mixes._MADE.items():
        for victim in VICTIMS.values():
            made = dict(make(victim))
            assert len(set(made.values()) | {victim.honest}) == len(made) + 1, kind
