"""Two clocks: the device's events are the time, and the host's bounds how much they can lie."""

from __future__ import annotations

import random

import pytest

from triton_gym.evaluation.backends.cuda.blocks import block_bytes
from triton_gym.evaluation.backends.cuda.measurement import (
    LIE_SHARE,
    LIE_US,
    ROUNDS_AGAINST,
    Measurement,
    coverage,
)
from triton_gym.evaluation.plan.window import SEGMENT
from triton_gym.evaluation.timing import Budget

BESIDE_US = 58.0


def play(
    measured: Measurement, told_us: float, took_us: float, rng: random.Random,
    beside_us: float = BESIDE_US,
) -> None:  # fmt: skip
    """A round of 24 calls, with the jitter that an H200's host clock was seen to have."""
    told = [told_us + rng.gauss(0, 0.3) for _ in range(24)]
    wall = [took_us + beside_us + rng.uniform(-4, 6) for _ in told]
    beside = [beside_us + rng.uniform(-4, 6) for _ in range(8)]
    measured.add(told, wall, beside, 0.01)


@pytest.mark.parametrize("took_us", [3.0, 34.0, 900.0])
def test_honest_times_stand(took_us):
    for seed in range(50):
        measured, rng = Measurement(), random.Random(seed)
        while not measured.done(Budget()):
            play(measured, took_us, took_us, rng)
        assert not measured.contradicted
        assert measured.timing.median_us == pytest.approx(took_us, rel=0.1)


@pytest.mark.parametrize("took_us", [34.0, 900.0])
def test_events_that_lie_gain_nothing(took_us):
    lie = LIE_SHARE * took_us + 3 * LIE_US
    for seed in range(50):
        measured, rng = Measurement(), random.Random(seed)
        while not measured.done(Budget()):
            play(measured, took_us - lie, took_us, rng)
        assert measured.rounds == ROUNDS_AGAINST
        assert not measured.contradicted
        assert measured.timing.median_us == pytest.approx(took_us, abs=LIE_US)


def test_events_that_lie_flagrantly_are_contradicted():
    for seed in range(50):
        measured, rng = Measurement(), random.Random(seed)
        while not measured.done(Budget()):
            play(measured, 10.0, 200.0, rng)
        assert measured.contradicted


def test_a_gpu_that_others_use_too_is_no_lie():
    measured, rng = Measurement(), random.Random(0)
    while not measured.done(Budget()):
        play(measured, 472.0, 472.0, rng, beside_us=BESIDE_US + 330.0)  # the others' turns
    assert not measured.contradicted
    assert measured.timing.median_us == pytest.approx(472.0, rel=0.01)


def test_a_single_disturbed_round_is_no_lie():
    measured, rng = Measurement(), random.Random(0)
    play(measured, 34.0, 90.0, rng)
    assert not measured.done(Budget())
    play(measured, 34.0, 34.0, rng)
    assert measured.done(Budget())
    assert not measured.contradicted


def test_where_calls_differ_much_the_mean_counts():
    measured = Measurement()
    measured.add([1.0] * 13 + [100.0] * 11, [200.0] * 24, [100.0], 0.01)
    assert measured.timing.median_us == pytest.approx((13 + 1100) / 24)


def test_coverage_is_the_share_of_own_kernels():
    assert coverage([30.0, 10.0], [False, True]) == 0.75
    assert coverage([], []) == 1.0


def test_blocks_waste_little_and_repeat():
    for nbytes in (1, SEGMENT, 3 * SEGMENT + 1, 100 * SEGMENT, 1000 * SEGMENT + 5):
        size = block_bytes(nbytes)
        assert nbytes <= size <= max(nbytes * 1.15, nbytes + SEGMENT)
        assert not size % SEGMENT
    assert len({block_bytes(n * SEGMENT) for n in range(512, 1025)}) <= 9
