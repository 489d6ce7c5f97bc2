from __future__ import annotations

import math

import pytest

from triton_gym import InvalidOptionError, Outcome, Status
from triton_gym.reward import REWARDS, reward_named


def correct(**numbers):
    return Outcome(status=Status.CORRECT, **{"roofline": 0.5, "coverage": 1.0, **numbers})


@pytest.mark.parametrize(
    ("name", "speedup", "roofline", "expected"),
    [
        ("kevin", 2.0, 0.5, 2.3),
        ("kevin", 4.0, 2.0, 2.3),  # beyond the speed of light only what light allows counts
        ("autotriton", 9.0, 0.5, 1.0),
        ("dr_kernel", 1.5, 0.5, 3.5),
        ("dr_kernel", 50.0, 0.5, 5.0),
        ("cuda_agent", 1.0, 0.5, 1.0),
        ("cuda_agent", 1.2, 0.5, 2.0),
        ("cuda_agent", 1.2, 0.85, 3.0),
        ("roofline", 9.0, 0.85, 0.85),
        ("roofline", 9.0, 1.5, 1.0),
    ],
)
def test_published_formulas(name, speedup, roofline, expected):
    outcome = correct(speedup=speedup, roofline=roofline)
    assert REWARDS[name](outcome) == pytest.approx(expected)


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CORRECT])
def test_nothing_but_correct_is_rewarded(name, status):
    hacked = Outcome(status=status, speedup=100.0, roofline=0.9, coverage=1.0)
    assert REWARDS[name](hacked) <= 0.0


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("status", Status)
def test_rewards_are_finite_without_numbers(name, status):
    assert math.isfinite(REWARDS[name](Outcome(status=status)))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InvalidOptionError, match="Did you mean 'kevin'"):
        reward_named("kevn")


def test_a_callable_is_a_reward():
    assert reward_named(lambda outcome: 7.0)(correct()) == 7.0
