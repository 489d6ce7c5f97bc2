"""Our statistics beside rliable's, of which they are the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from rliable import library, metrics

from triton_gym.benchmark import metrics as ours

pytestmark = pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def scores():
    """(seeds, tasks) each, as rliable has them."""
    rng = np.random.default_rng(0)
    better = np.clip(rng.normal(0.7, 0.2, (25, 8)), 0, 1)
    return {"better": better, "worse": np.clip(better - rng.normal(0.15, 0.1, (25, 8)), 0, 1)}


def test_the_interquartile_mean_and_its_interval(scores):
    def aggregate(found):
        return np.array([metrics.aggregate_iqm(found)])

    values, intervals = library.get_interval_estimates(
        scores, aggregate, reps=2000, random_state=np.random.RandomState(0)
    )
    for name, found in scores.items():
        value, low, high = ours.interquartile_mean(found.T)
        assert value == pytest.approx(float(values[name][0]))
        theirs = intervals[name][:, 0]
        assert (low, high) == pytest.approx(tuple(theirs), abs=0.01)


def test_the_probability_of_improvement(scores):
    value, low, high = ours.probability_of_improvement(scores["better"].T, scores["worse"].T)
    theirs = metrics.probability_of_improvement(scores["better"], scores["worse"])
    assert value == pytest.approx(float(theirs))
    assert low < value < high


def test_the_performance_profile(scores):
    at = np.linspace(0, 1, 21)
    theirs, _ = library.create_performance_profile(scores, at, reps=50)
    for name, found in scores.items():
        np.testing.assert_allclose(ours.performance_profile(found.T, at), theirs[name])
