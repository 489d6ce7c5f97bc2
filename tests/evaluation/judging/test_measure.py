from __future__ import annotations

import random
import types

import pytest

from triton_gym.evaluation.judging import measure as module
from triton_gym.evaluation.judging.measure import measure
from triton_gym.evaluation.judging.rounds import Round
from triton_gym.evaluation.workers.session import Ended


class Stage:
    """Rounds of an answer that takes `real_us` and whose worker claims `claimed_us`.

    Args:
        real_us: what a call takes by the judge's clock.
        claimed_us: what the worker says.
        disturbed: rounds, counted from the first, that take longer than they should.
        seen: whether the judge's own work shows that.
        queued: whether its host queues ahead of the device.
        hidden_us: what a worker hides beside timed calls, as by leaving out the flush.
        scratch_us: what it may pay for scratch memory, as it says.
    """

    def __init__(
        self, real_us, claimed_us, disturbed=(), seen=True, queued=True, hidden_us=0.0,
        scratch_us=0.0,
    ):  # fmt: skip
        self.real_us, self.claimed_us, self.hidden_us = real_us, claimed_us, hidden_us
        self.disturbed, self.seen, self.queued = disturbed, seen, queued
        self.rng = random.Random(0)
        self.seeds: list[int] = []
        self.rounds = 0
        self.busy_s = 0.0
        self.rehearsed_us = real_us
        self.scratch_us = scratch_us

    def rehearse(self, seed):
        self.seeds.append(seed)

    def fitting(self, runtime_us, host_us=0.0):
        return 24 if runtime_us < 1e6 else 1

    def round(self, count, seed, *, flushed=True, referenced=False, probed=False):
        self.seeds += range(seed, seed + count)
        wall = self.real_us - (self.hidden_us if flushed else 0.0)
        disturbed = self.rounds in self.disturbed
        wall *= 1.5 if disturbed else 1.0
        wall -= 350.0 / count if count < 24 else 0.0  # what the gate may take
        self.rounds += 1
        self.busy_s += 0.02
        times = [self.claimed_us * self.rng.gauss(1, 0.002) for _ in range(count)]
        baseline = [9.0] * count
        return Round(
            times if flushed else [], baseline if referenced else [], wall, self.queued,
            probed and disturbed and self.seen,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(module, "time", types.SimpleNamespace(sleep=lambda seconds: None))


def test_an_honest_claim_is_the_time_and_no_inputs_come_twice():
    stage = Stage(100.0, 100.0)
    found = measure(stage, 7, 0.0)
    assert found.timing.median_us == pytest.approx(100.0, rel=0.01)
    assert found.timing.spread < 0.01
    assert found.baseline_us == (9.0,) * 24, "the reference is timed in one round of many"
    assert len(set(stage.seeds)) == len(stage.seeds)


@pytest.mark.parametrize("claimed_us", [1.0, 50.0, 85.0])
def test_a_claim_that_the_judges_clock_contradicts_is_cheating(claimed_us):
    with pytest.raises(Ended, match="by the judge's clock") as end:
        measure(Stage(100.0, claimed_us), 7, 0.0)
    assert str(end.value.status) == "cheating"


def test_what_a_worker_leaves_out_beside_timed_calls_shows_back_to_back():
    with pytest.raises(Ended, match="by the judge's clock"):
        measure(Stage(100.0, 60.0, hidden_us=45.0), 7, 0.0)


@pytest.mark.parametrize("seen", [True, False])
def test_slow_rounds_are_the_machines(seen):
    stage = Stage(100.0, 100.0, disturbed=range(5), seen=seen)
    assert measure(stage, 7, 0.0).timing.median_us == pytest.approx(100.0, rel=0.01)
    assert stage.rounds > 5


def test_a_worker_cannot_hide_in_short_rounds():
    stage = Stage(100.0, 10.0)
    stage.rehearsed_us = 1e9  # as the worker says
    with pytest.raises(Ended, match="by the judge's clock"):
        measure(stage, 7, 0.0)
    stage = Stage(400.0, 10.0, queued=False)
    stage.rehearsed_us = 1e9
    assert measure(stage, 7, 0.0).timing.median_us == pytest.approx(400.0)


def test_results_left_in_the_cache_are_allowed_for_back_to_back():
    stage = Stage(100.0, 88.0, hidden_us=15.0)
    assert measure(stage, 7, 14.0).timing.median_us == pytest.approx(88.0, rel=0.01)


def test_scratch_memory_that_is_written_back_is_no_lie():
    found = measure(Stage(39.8, 33.2, scratch_us=8.0), 7, 0.0)
    assert 33.2 < found.timing.median_us < 39.8


def test_who_claims_less_for_scratch_memory_gains_nothing():
    borne_out = measure(Stage(40.0, 34.6), 7, 0.0).timing.median_us
    for claimed_us in (34.5, 34.0, 33.0, 31.0, 28.0):
        found = measure(Stage(40.0, claimed_us, scratch_us=12.0), 7, 0.0)
        assert borne_out - 0.5 < found.timing.median_us <= 40.0
    with pytest.raises(Ended, match="by the judge's clock"):
        measure(Stage(40.0, 20.0, scratch_us=12.0), 7, 0.0)
    hidden = Stage(40.0, 30.0, hidden_us=8.0, scratch_us=12.0)
    assert measure(hidden, 7, 0.0).timing.median_us > borne_out - 0.5


def test_on_a_gpu_that_is_never_quiet_the_judges_clock_is_the_time():
    found = measure(Stage(100.0, 100.0, disturbed=range(1000)), 7, 0.0)
    assert found.timing.median_us == pytest.approx(150.0)
    assert not found.quiet
    assert measure(Stage(100.0, 100.0, disturbed=range(5)), 7, 0.0).quiet
    with pytest.raises(Ended, match="by the judge's clock"):
        measure(Stage(100.0, 100.0, disturbed=range(1000), seen=False), 7, 0.0)


def test_disturbing_the_gpu_does_not_save_a_lie():
    found = measure(Stage(100.0, 1.0, disturbed=range(1000)), 7, 0.0)
    assert found.timing.median_us == pytest.approx(150.0)


def test_a_host_that_waits_for_the_device_is_timed_by_the_judge():
    found = measure(Stage(300.0, 20.0, queued=False), 7, 0.0)
    assert found.timing.median_us == pytest.approx(300.0)
