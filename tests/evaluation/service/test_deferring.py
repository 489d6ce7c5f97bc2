"""What is only simulated, and what goes on to be measured."""

from __future__ import annotations

import math
from concurrent.futures import Future, wait

import pytest

import triton_gym
from triton_gym import DeferringEvaluator, InvalidOptionError
from triton_gym.device import Device
from triton_gym.errors import EvaluatorError, QueueFullError
from triton_gym.evaluation.service.deferring import Deferral
from triton_gym.evaluation.service.pool import make_evaluator
from triton_gym.outcome import Outcome, Status, TimeSource

TASK = triton_gym.load("softmax")


def right(us, low=None, high=None, source=TimeSource.SIMULATED):
    return Outcome(
        status=Status.CORRECT, runtime_us=us, runtime_low_us=us if low is None else low,
        runtime_high_us=us if high is None else high, time_source=source,
    )  # fmt: skip


class Scripted:
    """An evaluator that has an outcome, an error or nothing yet for each source."""

    device, deterministic, workers = Device("cuda", "0"), False, 3

    def __init__(self, outcomes, room=math.inf):
        self.outcomes, self.asked, self.room, self.open = outcomes, [], room, {}

    def describe(self):
        return "scripted"

    def submit(self, task, source, **options):
        if len(self.open) >= self.room:
            raise QueueFullError("full")
        self.asked.append(source)
        future = self.open[source] = Future()
        found = self.outcomes.get(source)
        if found is not None:
            self.end(source, found)
        return future

    def end(self, source, found):
        future = self.open.pop(source)
        (future.set_exception if isinstance(found, Exception) else future.set_result)(found)

    def close(self):
        self.asked.append("closed")


def pair(simulated, measured, **options):
    both = Scripted(simulated), Scripted(measured)
    return (*both, DeferringEvaluator(*both, **options))


def test_the_first_is_measured_then_only_what_may_be_better_or_is_uncertain():
    simulated = {
        "first": right(100, 90, 110), "slower": right(150, 130, 170), "near": right(104, 95, 115),
        "vague": right(500, 200, 900), "wrong": Outcome(status=Status.INCORRECT),
        "odd": Outcome(status=Status.RUNTIME_ERROR),
    }  # fmt: skip
    gpu = {name: right(us, source=TimeSource.MEASURED)
           for name, us in (("first", 100), ("near", 97), ("vague", 480), ("odd", 700))}  # fmt: skip
    _, second, both = pair(simulated, gpu)
    found = {name: both.evaluate(TASK, name) for name in simulated}
    assert second.asked == ["first", "near", "vague", "odd"]
    assert found["slower"].time_source is TimeSource.SIMULATED
    assert found["near"].time_source is TimeSource.MEASURED
    assert found["wrong"].status is Status.INCORRECT
    assert both.deferred.simulated == 6
    assert both.deferred.measured == {
        Deferral.CONTENDER: 2, Deferral.UNCERTAIN: 1, Deferral.FAILED: 1
    }  # fmt: skip


def test_what_is_never_measured_is_credited_over_the_measured_reference():
    simulated = {"first": right(100, 90, 110), "slower": right(150, 130, 170)}
    simulated = {k: v.replace(baseline_us=900.0, speedup=900.0 / v.runtime_us)
                 for k, v in simulated.items()}  # fmt: skip
    measured = right(100, source=TimeSource.MEASURED).replace(baseline_us=120.0, speedup=1.2)
    _, _, both = pair(simulated, {"first": measured})
    best, other = both.evaluate(TASK, "first"), both.evaluate(TASK, "slower")
    assert other.time_source is TimeSource.SIMULATED
    assert (other.baseline_us, other.speedup) == (120.0, 0.8)
    assert other.speedup < best.speedup


def test_each_task_has_a_best_of_its_own():
    _, second, both = pair({"a": right(10)}, {"a": right(10)})
    other = triton_gym.load("gelu")
    both.evaluate(TASK, "a")
    both.evaluate(other, "a")
    both.evaluate(TASK, "a", baseline="compile")
    both.evaluate(other, "a")
    assert second.asked == ["a", "a", "a"]


def test_errors_of_both_reach_the_caller():
    _, _, both = pair({"a": EvaluatorError("gone"), "b": right(1)}, {"b": EvaluatorError("lost")})
    for source, told in (("a", "gone"), ("b", "lost")):
        with pytest.raises(EvaluatorError, match=told):
            both.evaluate(TASK, source)


def test_a_cancelled_answer_is_given_up_wherever_it_is():
    first, second, both = pair({"b": right(1)}, {})
    early, late = both.submit(TASK, "a"), both.submit(TASK, "b")
    assert early.cancel()
    assert late.cancel()
    assert first.open["a"].cancelled()
    assert second.open["b"].cancelled()
    assert wait([early, late], timeout=1).not_done == set()


def test_what_finds_no_room_is_measured_once_there_is_some():
    names = ["a", "b", "c"]
    first, second = Scripted({n: right(1) for n in names}), Scripted({}, room=1)
    both = DeferringEvaluator(first, second)
    futures = {n: both.submit(TASK, n) for n in names}
    for name in names:
        second.end(name, right(2, source=TimeSource.MEASURED))
    assert [f.result(timeout=1).runtime_us for f in futures.values()] == [2, 2, 2]


def test_it_is_no_mode_of_a_simulated_device():
    with pytest.raises(InvalidOptionError, match="measures on a GPU"):
        make_evaluator("deferring", "simulated")
    with pytest.raises(InvalidOptionError, match="widest"):
        DeferringEvaluator(Scripted({}), Scripted({}), widest=0.5)


def test_two_simulated_devices_and_an_environment(evaluator):
    """A second simulated device stands for the GPU; the environment has either's outcome."""
    import gymnasium as gym

    both = DeferringEvaluator(evaluator, evaluator, widest=10.0)
    env = gym.make("TritonKernel-softmax-v0", evaluator=both)
    env.reset(seed=0)
    for _ in range(2):
        _, reward, _, _, info = env.step(TASK.expert)
        assert info["correct"]
        assert reward > 0
    assert sum(both.deferred.measured.values()) >= 1
