"""Trials beside a search: the fastest first, none that is outdone, and errors come through."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

from triton_gym.optimization.remembering import Remembering
from triton_gym.optimization.throttle import Throttled
from triton_gym.optimization.trials import Trials, Waiting
from triton_gym.outcome import Outcome, Status


class Held:
    """Trials that last until they are let go; the fastest that was tried is the bar."""

    def __init__(self):
        self.tried, self.free, self.begun = [], threading.Semaphore(0), threading.Semaphore(0)
        self.bar = 0.0
        self.trials = Trials(self.attempt, lambda one: one.speedup > self.bar)

    def attempt(self, candidate):
        self.tried.append(candidate.source)
        self.begun.release()
        assert self.free.acquire(timeout=30)
        if candidate.source == "raises":
            raise ValueError("told")
        if not candidate.source.startswith("wrong"):
            self.bar = max(self.bar, candidate.speedup)

    def offer(self, *pairs):
        for source, speedup in pairs:
            self.trials.offer(Waiting(speedup, source, "route"))

    def let_go(self, count=1):
        for _ in range(count):
            self.free.release()


@pytest.fixture
def held():
    made = Held()
    yield made
    made.let_go(10)
    made.trials.close()


def test_the_fastest_that_waits_is_next_and_what_is_outdone_is_left(held):
    held.offer(("first", 1.0))
    assert held.begun.acquire(timeout=30)
    held.offer(("slow", 1.1), ("fast", 2.0), ("middle", 1.5))
    held.let_go(4)
    held.trials.settle(30)
    assert held.tried == ["first", "fast"]


def test_if_the_fastest_is_wrong_the_next_one_is_tried(held):
    held.offer(("first", 1.0))
    assert held.begun.acquire(timeout=30)
    held.offer(("middle", 1.5), ("wrong", 2.0))
    held.let_go(4)
    held.trials.settle(30)
    assert held.tried == ["first", "wrong", "middle"]


def test_after_its_time_nothing_new_is_tried(held):
    held.offer(("first", 1.0))
    assert held.begun.acquire(timeout=30)
    held.offer(("fast", 2.0))
    threading.Timer(0.2, held.let_go, (4,)).start()
    held.trials.settle(0.01)
    assert held.tried == ["first"]


def test_what_a_trial_raises_comes_through(held):
    held.offer(("raises", 1.0))
    held.let_go()
    with pytest.raises(ValueError, match="told"):
        held.trials.settle(30)


class Judge:
    """Evaluates in no time, and says that the GPU was busy for a tenth of a second."""

    deterministic, workers, device = False, 1, "cuda:0"

    def __init__(self):
        self.when = []

    def evaluate(self, task, source, **options):
        self.when.append(time.monotonic())
        return Outcome(status=Status.CORRECT, message=source, phases=(("profile", 0.1),))

    def submit(self, task, source, **options):
        done = Future()
        done.set_result(self.evaluate(task, source, **options))
        return done

    def close(self):
        pass


def test_a_shared_gpu_rests_between_evaluations_but_an_outcome_does_not_wait():
    judge = Judge()
    shared = Throttled(judge, 0.5, time.monotonic() + 60)
    futures = [shared.submit(None, str(number)) for number in range(3)]
    assert [one.result(30).message for one in futures] == ["0", "1", "2"]
    gaps = [b - a for a, b in zip(judge.when, judge.when[1:], strict=False)]
    assert all(gap >= 0.09 for gap in gaps)  # as long again as it was busy
    shared.close()


def test_closing_does_not_wait_for_the_rest():
    judge = Judge()
    shared = Throttled(judge, 0.001, time.monotonic() + 600)
    shared.evaluate(None, "first")
    late = shared.submit(None, "second")
    shared.close()
    assert late.cancelled() or late.result(30).message == "second"


def test_what_was_judged_is_not_judged_again():
    judge = Judge()
    remembering = Remembering(judge)
    told = Outcome(status=Status.CORRECT, message="told")
    remembering.tell("a", told)
    assert remembering.evaluate(None, "a") is told
    assert remembering.evaluate(None, "b").message == "b"
    assert len(judge.when) == 1
