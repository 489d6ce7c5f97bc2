"""One answer on several timed cases, by a judge whose GPU is made up: the device alone is not there."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections import OrderedDict

import pytest
import torch

from triton_gym import Case, Outcome, Status, load
from triton_gym.device import gpu_named
from triton_gym.evaluation import check
from triton_gym.evaluation.backends.cuda import bench, judge, stage
from triton_gym.evaluation.backends.cuda.calibration import Calibration
from triton_gym.evaluation.backends.cuda.device_memory import DeviceMemory
from triton_gym.evaluation.backends.cuda.inputs import InputPool
from triton_gym.evaluation.backends.cuda.margins import Margins, fill
from triton_gym.evaluation.backends.cuda.orders import Memory, Times
from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache
from triton_gym.evaluation.judging.judge import Judge, Request
from triton_gym.evaluation.plan.messages import DeviceFacts
from triton_gym.evaluation.workers.worker_pool import WorkerPool

CASES = tuple(
    Case("float32", {"rows": r, "cols": c}) for r, c in ((64, 1024), (32, 768), (16, 512))
)
FACTS = DeviceFacts(
    "NVIDIA H200", 90, 132, 140 << 30, 50 << 20, 232448, 233472, 65536, 2048, 1980000, 3201000, 6144
)


class Block:
    """Host memory in place of a GPU's."""

    def __init__(self, number, nbytes):
        self.memory, self.nbytes = Memory(number, nbytes), nbytes
        self._data = torch.zeros(nbytes, dtype=torch.uint8)

    def view(self, view, zone):
        low, high = view.extent
        return (
            self._data[low - zone : high - zone]
            .view(getattr(torch, view.dtype))
            .as_strided(view.shape, view.strides)
        )

    def bytes(self):
        return self._data


class Blocks:
    device = torch.device("cpu")

    def __init__(self):
        self._numbers = itertools.count()

    def take(self, nbytes):
        return Block(next(self._numbers), nbytes)

    def give_back(self, block):
        pass


class Lease:
    """A runner whose kernels take as many µs as their case has rows."""

    def execute(self, part, inputs, scratch):
        self._poison(scratch)

    def time(self, inputs, scratch, control_every, apart):
        for one in scratch:
            self._poison(one)
        us = [float(one.arguments[0].shape[0]) for one in inputs]
        return Times(us, us, [0.0])

    def _poison(self, block):  # as the runner does, ahead of a call
        fill(block.bytes(), Margins((), ((0, block.nbytes),)), block.poison)


class Forks(WorkerPool):
    """Counts the processes that are begun."""

    def fork(self, *args):
        self.count = getattr(self, "count", 0) + 1
        return super().fork(*args)


@pytest.fixture(scope="module")
def pools():
    found = [Forks(mode) for mode in ("record", "lower")]
    yield found
    for pool in found:
        pool.close()


@pytest.fixture
def made_up(pools, monkeypatch):
    one = object.__new__(judge.CudaJudge)
    Judge.__init__(one)
    one._recorders, one._compilers = pools
    one._device, one._total_bytes, one._gpu = torch.device("cpu"), 1 << 36, gpu_named("h200")
    one._lock, one._flush = lambda *, alone: contextlib.nullcontext(), None
    one._memory = DeviceMemory(one._lock, lambda: None, lambda: 1 << 36)
    one._facts, one._target, one._artifacts = FACTS, Target(90), ArtifactCache()
    one._runners, one._blocks, one._inputs = None, Blocks(), InputPool(1 << 30)
    one._lessons, one._knowing = OrderedDict(), threading.Lock()
    one.copy_gbps = 4000.0

    def calibrate(task, baseline, device, flush, lock):
        inputs = check.draw_inputs(task, task.bench[0], 1, device)
        plain = check.returned(task, inputs, task.bench[0])
        bounds = check.timed(task, task.bench[0], inputs, plain)
        return Calibration(bounds, 50.0, 1.0, None, [50.0] * bench.BRIEF_REFERENCES)

    stream = type("Stream", (), {"synchronize": lambda self: None})()
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(judge, "calibrate", calibrate)
    monkeypatch.setattr(stage.Stage, "lease", lambda *args: contextlib.nullcontext(Lease()))
    monkeypatch.setattr(
        bench, "results",
        lambda parts, prepared, inputs, *rest: [o.clone() for o in inputs.expected.outputs],
    )  # fmt: skip
    return one


@pytest.fixture
def request_of():
    task = dataclasses.replace(load("softmax"), bench=CASES)
    return lambda source: Request(task=task, source=source, tested=True)


def test_cases_share_a_recorder_machine_code_and_inputs(made_up, pools, request_of):
    task = load("softmax")
    before = pools[0].count if hasattr(pools[0], "count") else 0
    found = made_up.evaluate_each(request_of(task.expert))
    assert [one.status for one in found] == [Status.CORRECT] * 3, found[0].message
    assert [one.runtime_us for one in found] == [64.0, 32.0, 16.0]
    assert all(one.registers > 0 and one.shared_bytes >= 0 for one in found)
    assert all(dict(one.phases)["compile"] > 0 for one in found)
    assert pools[0].count == before + 1
    assert 0 < len(made_up._artifacts._kept) < 3  # 768 and 1024 columns are one block
    drawn = {key: list(sets) for key, sets in made_up._inputs._kept.items()}
    assert [len(sets) for sets in drawn.values()] == [bench.BRIEF_CALLS + 1] * 3
    assert all(one.users == 0 for sets in drawn.values() for one in sets)
    other = task.expert.replace("NUM_WARPS = 8", "NUM_WARPS = 4")
    assert [one.correct for one in made_up.evaluate_each(request_of(other))] == [True] * 3
    assert {key: list(sets) for key, sets in made_up._inputs._kept.items()} == drawn


def test_a_case_that_fails_takes_no_other_with_it(made_up, request_of):
    source = load("softmax").expert
    head = source.index("\n", source.index("def softmax(x")) + 1
    source = (
        source[:head] + "    if x.shape[0] == 32: raise ValueError('not this')\n" + source[head:]
    )
    alone = []
    made_up.evaluate = lambda request: (
        alone.append(request.task.bench), Outcome(status=Status.TIMEOUT)
    )[1]  # fmt: skip
    found = made_up.evaluate_each(request_of(source))
    assert [one.status for one in found] == ["correct", "runtime_error", "timeout"]
    assert "not this" in found[1].message
    assert alone == [(CASES[2],)]  # its recorder was gone


def test_a_wrong_result_is_that_of_its_case(made_up, request_of, monkeypatch):
    right = bench.results

    def results(parts, prepared, inputs, *rest):
        found = right(parts, prepared, inputs, *rest)
        return [o + 1 for o in found] if inputs.arguments[0].shape[0] == 16 else found

    monkeypatch.setattr(bench, "results", results)
    found = made_up.evaluate_each(request_of(load("softmax").expert))
    assert [one.status for one in found] == ["correct", "correct", "incorrect"]
