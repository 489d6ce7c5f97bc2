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
from triton_gym.evaluation.judging.banks import Vault
from triton_gym.evaluation.judging.sharing import GpuLock, Share
from triton_gym.evaluation.workers.session import Ended

CPU = torch.device("cpu")
COUNT, ROOM = 5, 8


class HostBlock:
    """Shared memory as a GPU's judge has it, on the host."""

    def __init__(self, size, device):
        self.size = size
        self.block = torch.zeros(size, dtype=torch.uint8)

    def handle(self):
        return ""

    def view(self, slot):
        return view(self.block, slot)

    def settle(self):
        pass


SOFTMAX = dataclasses.replace(
    triton_gym.load("softmax"), bench=(Case("float16", {"rows": 3, "cols": 77}),)
)


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Makes the sets of one evaluation, with inputs from a vault or from seeds."""
    monkeypatch.setattr(sets, "CudaArena", HostBlock)
    stream = types.SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)
    known = types.SimpleNamespace(
        outputs=(((3, 77), "float16"),), tolerances=(4e-3,), call_bytes=1 << 30, name="softmax"
    )
    worker = types.SimpleNamespace(ask=lambda *_, **__: {})
    share = Share(GpuLock(tmp_path / "gpu.lock"), lambda what: what)
    return lambda vault=None: sets.Sets(SOFTMAX, 0, known, worker, share, CPU, ROOM, vault)


@pytest.fixture(params=["seeds", "vault"])
def places(request, make):
    """Sets of inputs of a softmax, and of their results as an honest worker leaves them."""
    made = make(Vault(1 << 20) if request.param == "vault" else None)
    with made.given(COUNT, 1) as given:
        made.reveal(given)
        work(made, given)
        yield made, given


def work(made, given):
    for call in given.calls:
        (x,), (y,) = call["arguments"], call["outputs"]
        result = check.reference(SOFTMAX, [made._arena.view(Slot.read(x))])
        made._arena.view(Slot.read(y)).copy_(result[0])


def test_results_that_are_right_pass(places):
    made, given = places
    made.verify(given, made.results(given))
    made.verify(given, made.results(given).clone())


@pytest.mark.parametrize("which", range(COUNT))
def test_one_wrong_value_of_one_call_is_found(places, which):
    made, given = places
    block = made.results(given).clone()
    start = given.bank.places.results_of(given.span).start
    slot = Slot.read(given.calls[which]["outputs"][0]).moved(-start)
    view(block, slot)[2, 76] += 0.5
    with pytest.raises(Ended, match=r"at index \(2, 76\)"):
        made.verify(given, block)


@pytest.mark.parametrize("which", range(COUNT))
def test_a_changed_argument_of_one_call_is_found(places, which):
    made, given = places
    made._arena.view(Slot.read(given.calls[which]["arguments"][0]))[2, 76] += 0.5
    with pytest.raises(Ended, match="changed one of its arguments"):
        made.verify(given, made.results(given))


@pytest.mark.parametrize("kept", [False, True])
def test_inputs_are_not_there_before_they_are_revealed(make, kept):
    made = make(Vault(1 << 20) if kept else None)
    with made.given(COUNT, 1) as first:
        made.reveal(first)
        work(made, first)
    with made.given(COUNT, 100) as given:
        for call in given.calls:
            there = made._arena.view(Slot.read(call["arguments"][0]))
            assert not any(torch.equal(there, x) for (x,) in given.inputs)
            assert made._arena.view(Slot.read(call["outputs"][0])).isnan().all()
        made.reveal(given)
        for call in given.calls:
            there = made._arena.view(Slot.read(call["arguments"][0]))
            assert any(torch.equal(there, x) for (x,) in given.inputs)


def test_no_worker_sees_inputs_twice_and_no_two_see_them_at_once(make):
    vault = Vault(1 << 20)
    one, other = make(vault), make(vault)
    with one.given(ROOM, 1) as a, other.given(ROOM, 1) as b:
        assert a.bank is not b.bank
    with one.given(ROOM, 2) as c:
        assert c.bank is b.bank, "the other's bank, which this one has not seen"
    with one.given(ROOM, 3) as d:
        assert d.bank not in (a.bank, b.bank)


def test_a_bank_changes_whenever_it_is_lent(make):
    vault = Vault(1 << 20)
    with make(vault).given(ROOM, 1) as given:
        bank, before = given.bank, [x.clone() for (x,) in given.inputs]
    for _ in range(ROOM):
        with make(vault).given(1, 1) as given:
            assert given.bank is bank
    assert not any(torch.equal(x, y) for x, (y,) in zip(before, bank.sets, strict=True))


def test_without_memory_for_a_bank_inputs_are_drawn_for_the_round(make):
    made = make(Vault(100))
    with made.given(COUNT, 1) as given:
        made.reveal(given)
        work(made, given)
        made.verify(given, made.results(given))
        first = [x.clone() for (x,) in given.inputs]
    with made.given(COUNT, 50) as given:
        assert not any(torch.equal(x, y) for x, (y,) in zip(first, given.inputs, strict=True))


def test_banks_of_other_tasks_make_room():
    vault = Vault(1000)
    bank = [types.SimpleNamespace(places=types.SimpleNamespace(end=400)) for _ in range(4)]
    for index, key in ((0, "a"), (1, "a"), (2, "b"), (3, "b")):
        with vault.lend(key, 400, lambda index=index: bank[index], {id(b) for b in bank}) as lent:
            assert lent is bank[index]
    with vault.lend("b", 400, lambda: None, set()) as lent:
        assert lent in bank[2:]
    with vault.lend("a", 400, lambda: bank[0], set()) as lent:
        assert lent is bank[0], "made anew: it had been given up"
