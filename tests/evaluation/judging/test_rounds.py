"""Rounds without a GPU: streams that run when the gate opens, and a clock that adds up what ran."""

from __future__ import annotations

import dataclasses
import types

import pytest
import torch

import triton_gym
from triton_gym import Case
from triton_gym.device import gpu_named
from triton_gym.evaluation.check import Timed
from triton_gym.evaluation.exchange.arena import view
from triton_gym.evaluation.judging import calibration, rounds, sets
from triton_gym.evaluation.judging.interference import DISTURBANCE, SLOWEST, Interference
from triton_gym.evaluation.judging.measure import measure
from triton_gym.evaluation.judging.sharing import GpuLock
from triton_gym.evaluation.trees import Branch, Leaf
from triton_gym.evaluation.workers import worker
from triton_gym.evaluation.workers.session import Ended
from triton_gym.evaluation.workers.worker import Worker

CPU = torch.device("cpu")
SOFTMAX = dataclasses.replace(
    triton_gym.load("softmax"), bench=(Case("float32", {"rows": 4, "cols": 99}),)
)
FLUSH_US, COPY_US = 30.0, 2.0


class Gpu:
    """A device whose work takes the time it says, one thing after another."""

    def __init__(self):
        self.now = 0.0
        self.blocks = {}
        self.waiting = []
        self.asleep = False
        self.slowed = 1.0

    def takes(self, microseconds):
        self.now += self.slowed * microseconds

    def event(self, **_):
        return Event(self)

    def sleep(self, cycles):
        self.asleep = True

    def synchronize(self):
        self.asleep = False


class Event:
    def __init__(self, gpu):
        self.gpu, self.at = gpu, 0.0

    def record(self, stream=None):
        self.at = self.gpu.now

    def elapsed_time(self, other):
        return (other.at - self.at) / 1000

    def query(self):
        return not self.gpu.asleep

    def synchronize(self):
        pass


@pytest.fixture
def gpu(monkeypatch):
    """Stands for the device in all that rounds are made of."""
    device = Gpu()

    class Block:
        def __init__(self, size, _):
            self.size, self.block = size, torch.zeros(size, dtype=torch.uint8)
            device.blocks[str(id(self))] = self

        def handle(self):
            return str(id(self))

        def view(self, slot):
            return view(self.block, slot)

        def settle(self):
            pass

        def close(self):
            del device.blocks[str(id(self))]

    class Door:
        fd = 0

        def admit(self, turn):
            device.takes(rounds.GATE_US)
            for work in device.waiting:
                work()
            device.waiting.clear()

        def release(self):
            pass

        close = release

    stream = types.SimpleNamespace(synchronize=device.synchronize)
    for name, value in {
        "current_stream": lambda *_: stream, "synchronize": lambda *_: None,
        "_sleep": device.sleep, "Event": device.event,
        "mem_get_info": lambda *_: (1 << 34, 1 << 34), "memory_reserved": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(sets, "CudaArena", Block)
    monkeypatch.setattr(rounds, "Gate", Door)
    monkeypatch.setattr(worker, "Gate", lambda fd: None)
    monkeypatch.setattr(worker.CudaArena, "open", lambda handle, size, _: device.blocks[handle])
    monkeypatch.setattr(worker.Watch, "_is_tritons", lambda self: True)  # what it computes is fine
    return device


class Answer:
    """A worker that runs `function` in this process, when the gate lets it in.

    Args:
        gpu: what it runs on.
        function: the answer.
        real_us: what a call takes.
        claimed_us: what the worker says that it takes.
        waits: whether the host waits for the device, so that it is never done queueing.
    """

    def __init__(self, gpu, function, real_us, claimed_us, waits=False):
        self.gpu, self.real_us, self.claimed_us, self.waits = gpu, real_us, claimed_us, waits
        self.worker = Worker(None)
        self.worker._call = function
        self.worker._gpu = types.SimpleNamespace(forget=lambda: None, queue=self._queue)
        self.worker._gate = types.SimpleNamespace(enter=lambda turn: None, leave=lambda turn: None)
        self.flushed = False

    def _queue(self, series, calls, wait, *, flushed):
        for function, keep in calls:
            self.gpu.takes(FLUSH_US if flushed else 0.0)
            result = function()
            self.gpu.takes(self.real_us)
            keep(result)
            self.gpu.takes(COPY_US)

    def ask(self, operation, fds=(), **fields):
        if operation == "gate":
            return {}
        if operation == "resources":
            return {"launches": 1}
        if operation == "times":
            count = len(self.worker._staged)
            return {
                "times_us": [self.claimed_us] * count if fields["flushed"] else [],
                "copied_bytes": 0,
            }
        return self.worker.obey({"op": operation, **fields})

    def send(self, operation, **fields):
        self.gpu.waiting.append(lambda: self.worker.obey({"op": operation, **fields}))

    def wait_for(self, seconds):
        return None if self.waits else {}

    def wait(self):
        return {}

    def on_gpu(self, what):
        return what


def softmax(x):
    return torch.softmax(x, -1)


LEAF = Leaf((4, 99), "float32", (99, 1))


def stage(gpu, answer, tmp_path, input_pool=None):
    what = calibration.Calibration(
        bounds=Timed((1e-5,), (), False), arguments=Branch("tuple", (LEAF,)), results=LEAF, call_bytes=1 << 28, result_bytes=1584,
        between_us=FLUSH_US + COPY_US, keeping_us=COPY_US, queueing_us=10.0,
    )  # fmt: skip
    return rounds.Stage(
        SOFTMAX, CPU, what, answer, 0, GpuLock(tmp_path / "gpu.lock"),
        Interference(lambda: gpu.takes(FLUSH_US), 0, None), 4000.0, 50e6, input_pool,
    )  # fmt: skip


def test_an_honest_answer_is_timed_by_its_claims(gpu, tmp_path):
    where = stage(gpu, Answer(gpu, softmax, 50.0, 50.0), tmp_path)
    found = measure(where, 1, 0.0)
    where.close()
    assert found.timing.median_us == pytest.approx(50.0)
    assert not gpu.blocks, "shared memory is given back"


def test_every_flushed_and_unflushed_round_spans_what_the_calls_take(gpu, tmp_path):
    where = stage(gpu, Answer(gpu, softmax, 50.0, 50.0), tmp_path)
    where.rehearse(0)
    for flushed in (True, False):
        one = where.round(8, 100 + flushed, flushed=flushed, probed=True)
        assert one.call_us == pytest.approx(50.0, abs=0.1)
        assert one.queued
        assert not one.disturbed


def test_a_claim_below_what_the_device_took_is_cheating(gpu, tmp_path):
    with pytest.raises(Ended, match=r"by the judge's clock every call took 50\.0"):
        measure(stage(gpu, Answer(gpu, softmax, 50.0, 20.0), tmp_path), 1, 0.0)


def test_an_answer_that_is_wrong_once_in_many_calls_is_incorrect(gpu, tmp_path):
    calls = []

    def sometimes(x):
        calls.append(1)
        return torch.softmax(x, -1) * (1.0 if len(calls) != 20 else 1.01)

    with pytest.raises(Ended, match="Wrong result"):
        measure(stage(gpu, Answer(gpu, sometimes, 50.0, 50.0), tmp_path), 1, 0.0)


def test_an_answer_that_is_wrong_in_its_first_call_alone_is_incorrect(gpu, tmp_path):
    calls = []

    def at_first(x):
        calls.append(1)
        return torch.softmax(x, -1) * (1.0 if len(calls) > 1 else 1.01)

    with pytest.raises(Ended, match="Wrong result"):
        measure(stage(gpu, Answer(gpu, at_first, 50.0, 50.0), tmp_path), 1, 0.0)


def test_an_answer_that_changes_its_argument_is_incorrect(gpu, tmp_path):
    def in_place(x):
        return x.copy_(torch.softmax(x, -1)).clone()

    with pytest.raises(Ended, match="changed one of its arguments"):
        measure(stage(gpu, Answer(gpu, in_place, 50.0, 50.0), tmp_path), 1, 0.0)


def test_a_result_of_other_inputs_is_incorrect(gpu, tmp_path):
    seen = []

    def late(x):
        seen.append(torch.softmax(x, -1))
        return seen[-2] if len(seen) > 2 else seen[-1]

    with pytest.raises(Ended, match="Wrong result"):
        measure(stage(gpu, Answer(gpu, late, 50.0, 1.0), tmp_path), 1, 0.0)


def test_an_answer_whose_host_waits_is_timed_by_the_judge(gpu, tmp_path):
    answer = Answer(gpu, softmax, 50.0, 1.0, waits=True)
    found = measure(stage(gpu, answer, tmp_path), 1, 0.0)
    assert found.timing.median_us == pytest.approx(50.0, abs=0.1)


def test_a_gpu_that_others_use_shows(gpu, tmp_path):
    where = stage(gpu, Answer(gpu, softmax, 50.0, 50.0), tmp_path)
    where.rehearse(0)
    where._interference.least_us = FLUSH_US / 1.5  # as if it had been faster before
    assert where.round(8, 1, probed=True).disturbed


@pytest.mark.parametrize("flushed", [True, False])
def test_lower_clocks_do_not_contradict_a_claim(gpu, tmp_path, flushed):
    """A call of 18 µs beside 32 µs of the judge's own, with all of it 6 % slower than it was learned."""
    where = stage(gpu, Answer(gpu, softmax, 18.0, 18.0), tmp_path)
    where.rehearse(0)
    gpu.slowed = 1.06
    one = where.round(24, 1, flushed=flushed, probed=True)
    assert not one.disturbed
    assert 18.0 < one.call_us < 1.06 * 18.0 + 1.0


def test_a_gpu_that_was_never_quiet_is_known_by_its_datasheet(gpu):
    listed = gpu_named("h200")
    size = int(FLUSH_US * 1e3 * listed.memory_gbps)
    busy = 1 + DISTURBANCE
    assert Interference(lambda: gpu.takes(1.3 * FLUSH_US), size, listed).slowed() < busy
    assert Interference(lambda: gpu.takes(1.2 * SLOWEST * FLUSH_US), size, listed).slowed() > busy


def test_the_references_time_is_without_the_flush(gpu, tmp_path):
    where = stage(gpu, Answer(gpu, softmax, 50.0, 50.0), tmp_path)
    where.rehearse(0)
    where._sets.task = dataclasses.replace(
        SOFTMAX, reference=lambda x: gpu.takes(7.0) or torch.softmax(x, -1)
    )
    assert where.round(8, 1, referenced=True).baseline_us == pytest.approx([7.0] * 8)


def test_what_the_first_call_tries_does_not_make_rounds_short(gpu, tmp_path):
    launched = iter([5000, 1])

    class Tuned(Answer):
        def ask(self, operation, fds=(), **fields):
            reply = super().ask(operation, fds, **fields)
            return {**reply, "launches": next(launched)} if operation == "call" else reply

    where = stage(gpu, Tuned(gpu, softmax, 400.0, 400.0), tmp_path)
    where.rehearse(0)
    assert where.fitting(400.0) == rounds.ROUND_CALLS


def test_what_the_host_takes_does_not_make_the_first_round_short(gpu, tmp_path):
    class Busy(Answer):
        def ask(self, operation, fds=(), **fields):
            reply = super().ask(operation, fds, **fields)
            return {**reply, "took_us": 1_800.0} if operation == "call" else reply

    where = stage(gpu, Busy(gpu, softmax, 50.0, 50.0), tmp_path)
    counts, real = [], where.round
    where.round = lambda count, *seed, **options: (
        counts.append(count) or real(count, *seed, **options)
    )
    measure(where, 1, 0.0)
    assert counts == [rounds.ROUND_CALLS] * 2, "flushed, and back to back"


@pytest.mark.parametrize(
    ("scratch_bytes", "allowed_us"), [(0, 0.0), (20_000_000, 5.0), (1 << 40, 12.5)]
)
def test_scratch_memory_counts_as_far_as_the_cache_holds_it(
    gpu, tmp_path, scratch_bytes, allowed_us
):
    class Scratchy(Answer):
        def ask(self, operation, fds=(), **fields):
            reply = super().ask(operation, fds, **fields)
            return {**reply, "scratch_bytes": scratch_bytes} if operation == "call" else reply

    where = stage(gpu, Scratchy(gpu, softmax, 50.0, 50.0), tmp_path)
    where.rehearse(0)
    assert where.scratch_us == pytest.approx(allowed_us)
