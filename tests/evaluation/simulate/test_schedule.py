"""What the compiler told the scheduler, and where lanes meet in banks."""

from __future__ import annotations

from triton_gym.evaluation.simulate.machine_code.banks import conflicts
from triton_gym.evaluation.simulate.machine_code.schedule import Slot, timing


def load(barrier):
    return "load", Slot(1, sets=barrier)


def use(barrier):
    return "float", Slot(4, waits=1 << barrier)


def test_fields_of_an_instruction():
    # From a kernel: `@!P0 LDG.E.128 R16, …` and the addition that needs it.
    assert Slot.of(0x000EA8000C1E1D00) == Slot(4, sets=2)
    assert Slot.of(0x004FCA0000000000) == Slot(5, waits=4)


def test_loads_are_waited_for_together_if_they_are_issued_together():
    together = timing([load(0), load(1), use(0), use(1)], repeats=False)[1]
    one_by_one = timing([load(0), use(0), load(1), use(1)], repeats=False)[1]
    assert (round(together), round(one_by_one)) == (1, 2)


def test_a_pass_waits_for_what_the_one_before_it_loaded():
    ahead = [use(0), load(0), *[("float", Slot(4))] * 300]
    assert timing(ahead, repeats=False)[1] == 0
    assert 0 < timing([use(0), load(0)], repeats=True)[1] <= 1.01
    assert timing(ahead, repeats=True)[1] == 0  # it has long arrived


def test_results_of_shared_memory_take_a_while():
    cycles, waits = timing(
        [("load_shared", Slot(1, sets=3)), ("float", Slot(4, waits=8))], repeats=False
    )
    assert 25 < cycles < 50
    assert waits == 0


def test_lanes_a_run_apart_meet_in_banks():
    def stores(step, count, base=5):
        return [(0, True, 4, (base, step * i)) for i in range(count)]

    assert conflicts(stores(8, 16)) == {0: 16 * 31}
    assert conflicts(stores(128, 16)) == {}  # lanes lie side by side
    loads = [(0, False, 4, (9, 8 * i)) for i in range(16)]
    assert conflicts([*stores(8, 16), (0, False, 4, None), *loads]) == {0: 32 * 31}
    assert conflicts(loads) == {}  # all lanes may read the same words
