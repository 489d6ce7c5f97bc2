from __future__ import annotations

import contextlib
import dataclasses
import types

import pytest
import torch

import triton_gym
from triton_gym import Case
from triton_gym.evaluation import check, trees
from triton_gym.evaluation.exchange.arena import Slot, view
from triton_gym.evaluation.judging import sets
from triton_gym.evaluation.judging.input_pool import InputPool
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


LEAF = trees.Leaf((3, 77), "float16", (77, 1))


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Makes the sets of one evaluation, with inputs from an input pool or from seeds."""
    monkeypatch.setattr(sets, "CudaArena", HostBlock)
    stream = types.SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)
    calibration = types.SimpleNamespace(
        arguments=trees.Branch("tuple", (LEAF,)),
        results=LEAF,
        bounds=check.Timed((4e-3,), (), False),
        call_bytes=1 << 30,
        name="softmax",
    )
    worker = types.SimpleNamespace(ask=lambda *_, **__: {})
    share = Share(GpuLock(tmp_path / "gpu.lock"), lambda what: what)
    return lambda pool=None: sets.Sets(SOFTMAX, 0, calibration, worker, share, CPU, ROOM, pool)


def pool_of(capacity):
    return InputPool(capacity, lambda: 1 << 40)


@pytest.fixture(params=["seeds", "input_pool"])
def places(request, make):
    """Sets of inputs of a softmax, and of their results as an honest worker leaves them."""
    made = make(pool_of(1 << 20) if request.param == "input_pool" else None)
    with made.given(COUNT, 1) as given:
        made.reveal(given)
        work(made, given)
        yield made, given


def work(made, given):
    for call in given.calls:
        (x,), (y,) = call["inputs"], call["outputs"]
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
    start = made._opened().results_of(given.span).start
    slot = Slot.read(given.calls[which]["outputs"][0]).moved(-start)
    view(block, slot)[2, 76] += 0.5
    with pytest.raises(Ended, match=r"at index \(2, 76\)"):
        made.verify(given, block)


@pytest.mark.parametrize("which", range(COUNT))
def test_a_changed_argument_of_one_call_is_found(places, which):
    made, given = places
    made._arena.view(Slot.read(given.calls[which]["inputs"][0]))[2, 76] += 0.5
    with pytest.raises(Ended, match="changed one of its arguments"):
        made.verify(given, made.results(given))


@pytest.mark.parametrize("kept", [False, True])
def test_inputs_are_not_there_before_they_are_revealed(make, kept):
    made = make(pool_of(1 << 20) if kept else None)
    with made.given(COUNT, 1) as first:
        made.reveal(first)
        work(made, first)
    with made.given(COUNT, 100) as given:
        made.poison(given)
        for call in given.calls:
            there = made._arena.view(Slot.read(call["inputs"][0]))
            assert not any(torch.equal(there, x) for (x,) in given.inputs)
            assert made._arena.view(Slot.read(call["outputs"][0])).isnan().all()
        made.reveal(given)
        for call in given.calls:
            there = made._arena.view(Slot.read(call["inputs"][0]))
            assert any(torch.equal(there, x) for (x,) in given.inputs)


def test_no_worker_sees_inputs_twice(make):
    input_pool = pool_of(1 << 20)
    one, other = make(input_pool), make(input_pool)
    with one.given(ROOM, 1) as a, other.given(ROOM, 1) as b:
        assert a.block is not b.block
    with one.given(ROOM, 2) as c:
        assert c.block is b.block, "the other's block, which this one has not seen"
    with one.given(ROOM, 3) as d:
        assert d.block not in (a.block, b.block)


def test_a_bank_changes_whenever_it_is_taken_up(make):
    input_pool = pool_of(1 << 20)
    with make(input_pool).given(ROOM, 1) as given:
        block, before = given.block, [x.clone() for (x,) in given.inputs]
    for _ in range(ROOM):
        with make(input_pool).given(COUNT, 1) as given:
            assert given.block is block
    assert not any(torch.equal(x, y) for x, (y,) in zip(before, block.sets, strict=True))


def test_two_evaluations_share_a_bank_when_there_is_no_memory_for_another(make):
    one = make(pool_of(1 << 20))
    with one.given(ROOM, 1) as given:
        size = given.block.bytes
    input_pool = pool_of(4 * size)
    makers = [make(input_pool) for _ in range(6)]
    with contextlib.ExitStack() as stack:
        had = [stack.enter_context(each.given(ROOM, 1)) for each in makers]
        assert len({given.block for given in had}) == 4
        inputs = [x.clone() for (x,) in had[0].inputs]
        late = stack.enter_context(make(input_pool).given(ROOM, 1))
        assert late.block in {given.block for given in had}
        assert all(torch.equal(x, y) for x, (y,) in zip(inputs, had[0].inputs, strict=True)), (
            "nothing is drawn anew under who has it"
        )


def test_without_memory_for_a_bank_inputs_are_drawn_for_the_round(make):
    made = make(pool_of(100))
    with made.given(COUNT, 1) as given:
        made.reveal(given)
        work(made, given)
        made.verify(given, made.results(given))
        first = [x.clone() for (x,) in given.inputs]
    with made.given(COUNT, 50) as given:
        assert not any(torch.equal(x, y) for x, (y,) in zip(first, given.inputs, strict=True))


@pytest.fixture
def take():
    """Takes a block of some bytes, a new one each time, and gives it back; says what it was."""

    def take(input_pool, key, block, had=()):
        with input_pool.lend(key, 240, lambda: block, lambda _: None, set(had)) as lent:
            return lent

    return take


def test_banks_of_other_tasks_make_room(take):
    input_pool = pool_of(1000)
    one, two, three, four, five = (Named(bytes=240) for _ in range(5))
    assert take(input_pool, "a", one) is one
    assert take(input_pool, "a", two, had=[one]) is two
    assert take(input_pool, "b", three) is three
    assert take(input_pool, "b", four, had=[three]) is four
    assert take(input_pool, "b", five, had=[three, four]) is five, (
        "those of the other task are given up"
    )
    assert take(input_pool, "a", one) is one, "made anew"


def test_a_bank_is_shared_before_those_of_other_tasks_are_given_up(take):
    input_pool = pool_of(700)
    first, second, new = (Named(bytes=240) for _ in range(3))
    assert take(input_pool, "a", first) is first
    assert take(input_pool, "b", second) is second
    with input_pool.lend("c", 240, lambda: new, lambda _: None, set()) as mine:
        assert mine is new, "that of the task that was used least was given up"
        assert take(input_pool, "c", Named(bytes=240)) is new
        assert take(input_pool, "b", Named(bytes=240)) is second
        other = Named(bytes=240)
        assert take(input_pool, "c", other, had=[new]) is other, "an evaluation sees none twice"


class Named(types.SimpleNamespace):
    __hash__ = object.__hash__


def test_no_bank_is_larger_than_its_share_or_half_of_what_is_free(take):
    assert take(pool_of(600), "a", Named(bytes=240)) is None
    assert take(InputPool(1000, lambda: 479), "a", Named(bytes=240)) is None
    assert take(InputPool(1000, lambda: 480), "a", Named(bytes=240)) is not None


def test_all_banks_are_given_up_but_those_that_somebody_has(take):
    input_pool = pool_of(1000)
    one, two, three = (Named(bytes=240) for _ in range(3))
    take(input_pool, "a", one)
    with input_pool.lend("b", 240, lambda: two, lambda _: None, set()) as lent:
        input_pool.clear()
        assert take(input_pool, "a", three) is three
        assert lent is two
    assert take(input_pool, "b", None) is two


def test_a_bank_that_was_changed_in_part_is_given_up(take):
    input_pool = pool_of(1000)
    one, two = Named(bytes=240), Named(bytes=240)
    take(input_pool, "a", one)

    def fails(block):
        raise RuntimeError("of the device")

    with pytest.raises(RuntimeError), input_pool.lend("a", 240, lambda: None, fails, set()):
        pass
    assert take(input_pool, "a", two) is two


def test_a_bank_that_nobody_could_make_leaves_no_trace(take):
    input_pool = pool_of(1000)

    def fail():
        raise torch.cuda.OutOfMemoryError

    for _ in range(9):
        with input_pool.lend("a", 240, fail, lambda _: None, set()) as lent:
            assert lent is None
    assert take(input_pool, "a", Named(bytes=240)) is not None
