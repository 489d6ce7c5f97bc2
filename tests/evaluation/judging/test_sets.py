from __future__ import annotations

import dataclasses
import types

import pytest
import torch

import triton_gym
from triton_gym import Case
from triton_gym.evaluation import check
from triton_gym.evaluation.exchange.arena import Slot, view
from triton_gym.evaluation.judging import sets
from triton_gym.evaluation.judging.sharing import GpuLock, Share
from triton_gym.evaluation.workers.session import Ended

CPU = torch.device("cpu")
COUNT = 5


class HostBlock:
    """Shared memory as a GPU's judge has it, on the host."""

    def __init__(self, size, device):
        self.size = size
        self.block = torch.zeros(size, dtype=torch.uint8)

    def handle(self):
        return ""

    def view(self, slot):
        return view(self.block, slot)


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Sets of inputs of a softmax, and of their results as an honest worker leaves them."""
    monkeypatch.setattr(sets, "CudaArena", HostBlock)
    stream = types.SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)
    task = dataclasses.replace(
        triton_gym.load("softmax"), bench=(Case("float16", {"rows": 3, "cols": 77}),)
    )
    known = types.SimpleNamespace(
        outputs=(((3, 77), "float16"),), tolerances=(4e-3,), call_bytes=1 << 30
    )
    worker = types.SimpleNamespace(ask=lambda *_, **__: {})
    share = Share(GpuLock(tmp_path / "gpu.lock"), lambda what: what)
    made = sets.Sets(task, 0, known, worker, share, CPU)
    calls, inputs = made.draw(COUNT, 1)
    expected = made.references(inputs)
    made.reveal(COUNT)
    for call in calls:
        (x,), (y,) = call["arguments"], call["outputs"]
        result = check.reference(task, [made._arena.view(Slot.read(x))])
        made._arena.view(Slot.read(y)).copy_(result[0])
    return made, calls, expected


def test_results_that_are_right_pass(places):
    made, _, expected = places
    made.verify(expected, made.results(COUNT))
    made.verify(expected, made.results(COUNT).clone())
    made.verify(expected[:2], made.results(2))


@pytest.mark.parametrize("which", range(COUNT))
def test_one_wrong_value_of_one_call_is_found(places, which):
    made, calls, expected = places
    block = made.results(COUNT).clone()
    slot = Slot.read(calls[which]["outputs"][0]).moved(-Slot.read(calls[0]["outputs"][0]).offset)
    view(block, slot)[2, 76] += 0.5
    with pytest.raises(Ended, match=r"at index \(2, 76\)"):
        made.verify(expected, block)


@pytest.mark.parametrize("which", range(COUNT))
def test_a_changed_argument_of_one_call_is_found(places, which):
    made, calls, expected = places
    made._arena.view(Slot.read(calls[which]["arguments"][0]))[2, 76] += 0.5
    with pytest.raises(Ended, match="changed one of its arguments"):
        made.verify(expected, made.results(COUNT))


def test_inputs_are_not_there_before_they_are_revealed(places):
    made, _, _ = places
    calls, inputs = made.draw(COUNT, 100)
    for call, (x,) in zip(calls, inputs, strict=True):
        there = made._arena.view(Slot.read(call["arguments"][0]))
        assert not torch.equal(there, x)
        assert made._arena.view(Slot.read(call["outputs"][0])).isnan().all()
    made.reveal(COUNT)
    for call, (x,) in zip(calls, inputs, strict=True):
        assert torch.equal(made._arena.view(Slot.read(call["arguments"][0])), x)
