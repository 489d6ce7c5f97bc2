"""The test that a swap hangs on: its values, and how often it is wrong."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from triton_gym.optimization.decision import ALPHA, Decision, evalue, level


def test_the_closed_form_is_the_integral():
    chances = (np.arange(200_000) + 0.5) / 400_000 + 0.5
    for pairs, wins in ((1, 1), (5, 3), (12, 11), (40, 20)):
        logs = wins * np.log(chances) + (pairs - wins) * np.log(1 - chances) + pairs * math.log(2)
        assert float(evalue(pairs, wins)) == pytest.approx(float(np.exp(logs).mean()), rel=1e-6)


def test_it_is_a_martingale_where_nothing_is_faster():
    """Its mean stays 1 from pair to pair: the chance that it ever reaches 1/α is at most α."""
    for pairs in range(20):
        for wins in range(pairs + 1):
            after = (evalue(pairs + 1, wins + 1) + evalue(pairs + 1, wins)) / 2
            assert after == evalue(pairs, wins)


def test_levels_sum_to_alpha():
    assert sum(level(k) for k in range(1, 100_000)) == pytest.approx(ALPHA, rel=1e-4)


def test_a_gain_of_a_twentieth_shows_within_a_dozen_pairs():
    """Noise of 1 % on each side: nearly every pair is won, as on a GPU."""
    rng, taken = random.Random(0), []
    for _ in range(200):
        decision = Decision(1)
        while not decision.over:
            decision.add(rng.lognormvariate(0, 0.01) * 1.05 > rng.lognormvariate(0, 0.01))
        taken.append(decision.pairs)
        assert decision.faster
    assert 7 <= np.median(taken) <= 11


def test_a_thousand_candidates_that_are_no_faster():
    """At most one run in twenty swaps any of them in, looking after every pair."""
    rng = np.random.default_rng(0)
    runs, candidates, most = 200, 1000, Decision(1).most
    table = np.array(
        [[float(evalue(n, min(s, n))) for s in range(most + 1)] for n in range(1, most + 1)]
    )
    needed = np.array([Decision(number).needed for number in range(1, candidates + 1)])
    swapped = 0
    for _ in range(runs):
        wins = np.cumsum(rng.random((candidates, most)) < 0.5, axis=1)
        values = table[np.arange(most), wins]
        swapped += bool((values.max(axis=1) >= needed).any())
    assert swapped / runs <= ALPHA


def test_ties_lose_and_hopeless_ones_end_early():
    decision = Decision(3, most=60)
    while not decision.over:
        decision.add(False)
    assert not decision.faster
    assert decision.pairs < 60


@pytest.mark.parametrize("bad", [(0, 0.05), (1, 0.0), (1, 1.0)])
def test_bad_levels(bad):
    with pytest.raises(ValueError, match="number must be"):
        level(*bad)
