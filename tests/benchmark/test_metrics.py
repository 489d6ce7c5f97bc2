"""The metrics by hand and against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from triton_gym.benchmark import metrics

TIMES = [4.0, 2.0, math.inf, 8.0, 1.0]


def test_fractions_and_evaluations_by_hand():
    trace = [math.inf, 4.0, 8.0, 2.0]
    assert metrics.fractions(trace, 1.0, 6).tolist() == [0.0, 0.25, 0.25, 0.5, 0.5, 0.5]
    assert metrics.evaluations_to(trace, 1.0, 6, reached=0.5) == 4
    assert metrics.evaluations_to(trace, 1.0, 6) == math.inf


def test_random_search_is_exact():
    found = metrics.random_fractions(TIMES, 5)
    for k in range(1, 6):
        drawn = [
            0.0 if math.isinf(min(c)) else 1.0 / min(c) for c in itertools.combinations(TIMES, k)
        ]
        assert found[k - 1] == pytest.approx(np.mean(drawn))
    assert metrics.random_fractions(TIMES, 9)[5:].tolist() == [1.0] * 4


def test_the_methodology_score_of_random_search_is_0_and_of_the_optimum_1():
    random = metrics.random_fractions(TIMES, 4)
    assert metrics.methodology_score(random, random) == pytest.approx(0.0)
    assert metrics.methodology_score(np.ones(4), random) == pytest.approx(1.0)
    assert metrics.methodology_score(np.zeros(4), random) < 0


def test_the_interquartile_mean_leaves_the_ends_out_and_one_seed_has_no_interval():
    scores = np.array([[0.0, 0.4, 0.6, 100.0]])
    value, low, high = metrics.interquartile_mean(scores)
    assert value == pytest.approx(0.5)
    assert low <= value <= high
    value, low, high = metrics.interquartile_mean(scores[:, :1])
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_probability_of_improvement_counts_pairs():
    ours, theirs = np.array([[1.0, 3.0]]), np.array([[2.0, 3.0]])
    value = metrics.probability_of_improvement(ours, theirs)[0]
    pairs = [(a > b) + 0.5 * (a == b) for a in ours[0] for b in theirs[0]]
    assert value == pytest.approx(np.mean(pairs))


def test_a_profile_is_the_share_above():
    assert metrics.performance_profile([0.1, 0.5, 0.9], [0.0, 0.5, 1.0]).tolist() == pytest.approx(
        [1.0, 1 / 3, 0.0]
    )


@pytest.mark.parametrize("reached", [0.95, 0.5, 0.2])
def test_random_search_reaches_a_fraction_with_the_chance_that_counting_says(reached):
    found = metrics.random_reached(TIMES, 7, reached)
    for k in range(1, 6):
        drawn = [1.0 / min(c) >= reached for c in itertools.combinations(TIMES, k)]
        assert found[k - 1] == pytest.approx(np.mean(drawn))
    assert found[4:].tolist() == [1.0] * 3


def test_a_restricted_mean_counts_what_was_not_reached_as_the_most():
    value, low, high = metrics.restricted_mean([[1.0, 3.0], [math.inf, 6.0]], 10.0)
    assert value == 5.0
    assert 3.5 <= low < value < high <= 6.5
    assert math.isnan(metrics.restricted_mean([[3.0]], 10.0)[1])


def test_the_median_of_evaluations_may_be_that_it_was_never_reached():
    value, low, high = metrics.median_interval([[1.0, 1.0, math.inf], [1.0, 2.0, 2.0]])
    assert (value, low) == (1.0, 1.0)
    assert high in (2.0, math.inf)
    assert metrics.median_interval([[math.inf] * 4])[0] == math.inf
    assert math.isnan(metrics.median_interval([[3.0]])[1])
