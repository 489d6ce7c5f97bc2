from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from triton_gym import Case, InvalidTaskError, load
from triton_gym.device import gpu_named
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.timing import Budget, summarise
from triton_gym.evaluation.units import peak_tflops


def test_the_interval_holds_the_median_of_the_distribution():
    rng = random.Random(0)
    covered = 0
    for _ in range(400):
        timing = summarise([rng.lognormvariate(0, 0.3) for _ in range(40)])
        covered += timing.low_us <= 1.0 <= timing.high_us
    assert 0.92 <= covered / 400 <= 0.99


def test_more_times_make_a_narrower_interval():
    rng = random.Random(1)
    times = [100 + rng.gauss(0, 5) for _ in range(400)]
    assert summarise(times).spread < summarise(times[:20]).spread


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_times_have_an_interval_too(count):
    timing = summarise([3.0, 1.0, 2.0][:count])
    assert timing.low_us <= timing.median_us <= timing.high_us


def test_measuring_stops_when_it_is_narrow_or_spent():
    budget = Budget(spread=0.01, least=10, launches=50, seconds=1.0)
    steady, noisy = [100.0] * 20, [float(x) for x in range(1, 31)]
    assert budget.done(steady, 0.1)
    assert not budget.done(steady[:5], 0.1)
    assert not budget.done(noisy, 0.1)
    assert budget.done(noisy, 2.0)
    assert budget.done(noisy * 2, 0.1)


def test_the_speed_of_light_is_the_larger_of_memory_and_compute():
    h100 = gpu_named("h100")
    softmax = speed_of_light(load("softmax"), Case("float32", {"rows": 4096, "cols": 4096}), h100)
    assert softmax.floor_us == pytest.approx(2 * 4 * 4096 * 4096 / 3352e3, rel=1e-3)
    matmul = speed_of_light(
        load("matmul"), Case("bfloat16", {"m": 4096, "n": 4096, "k": 4096}), h100
    )
    assert matmul.floor_us == pytest.approx(2 * 4096**3 / 989.4e6, rel=1e-3)
    assert matmul.roofline(2 * matmul.floor_us) == pytest.approx(0.5)
    assert matmul.bound(matmul.floor_us * 1.2) == "compute"


def test_a_faster_measured_copy_raises_the_roof():
    h100 = gpu_named("h100")
    case = Case("float32", {"rows": 4096, "cols": 4096})
    slow = speed_of_light(load("softmax"), case, h100)
    fast = speed_of_light(load("softmax"), case, h100, memory_gbps=4000)
    assert fast.floor_us < slow.floor_us


def test_a_task_that_names_no_unit_is_not_held_to_one_that_is_too_slow():
    matmul, h100 = load("matmul"), gpu_named("h100")
    inferred = dataclasses.replace(matmul, unit=None)
    for case in matmul.bench:
        assert peak_tflops(inferred, case, h100) == peak_tflops(matmul, case, h100)
    softmax = dataclasses.replace(load("softmax"), unit=None)
    assert peak_tflops(softmax, softmax.bench[0], h100) == h100.vector_tflops
    narrow = dataclasses.replace(
        matmul, unit=None, reference=lambda a, b: (a.double() @ b.double()).float(),
        inputs=lambda case, generator: (
            torch.ones(case["m"], case["k"], dtype=torch.int8), torch.ones(case["k"], case["n"], dtype=torch.int8)
        ),
    )  # fmt: skip
    case = Case("float32", {"m": 4096, "n": 4096, "k": 4096})
    assert peak_tflops(narrow, case, h100) == h100.matrix_tflops["int8"]


def test_an_unknown_unit_is_refused():
    with pytest.raises(InvalidTaskError, match="vector, matrix"):
        dataclasses.replace(load("softmax"), unit="tensor")
