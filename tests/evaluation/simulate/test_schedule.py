"""What the compiler told the scheduler, and where lanes meet in banks."""

from __future__ import annotations

from triton_gym.evaluation.simulate.machine_code.banks import conflicts
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.overlap import DRAIN, lateness
from triton_gym.evaluation.simulate.machine_code.sass import Code, Region, classify
from triton_gym.evaluation.simulate.machine_code.schedule import Slot, timing


def load(barrier):
    return "load", Slot(1, sets=barrier)


def use(barrier):
    return "float", Slot(4, waits=1 << barrier)


def test_fields_of_an_instruction():
    # From a kernel: `@!P0 LDG.E.128 R16, …` and the addition that needs it.
    assert Slot.of(0x000EA8000C1E1D00) == Slot(4, sets=2)
    assert Slot.of(0x004FCA0000000000) == Slot(5, waits=4)


def test_a_fence_waits_as_long_as_a_load():
    fenced = timing([("float", Slot(4)), ("fence", Slot(6)), ("store", Slot(4))], repeats=False)
    assert round(fenced[1]) == 1
    assert (classify("MEMBAR.ALL.GPU"), classify("MEMBAR.ALL.CTA")) == ("fence", "wait")


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


def pass_through(*names):
    classes = {"HGMMA": "wgmma", "LDGSTS": "copy", "WARPGROUP": "wait", "FADD": "float"}
    return [(3, classes[n.split(".")[0]], n, 2) for n in names]


def test_loads_after_a_full_wait_run_beside_no_product():
    product, some, every = "HGMMA.64x256x16.F32", "WARPGROUP.DEPBAR.LE.1", DRAIN
    early = lateness(pass_through("LDGSTS.E", product, every))[3]
    beside = lateness(pass_through(product, some, "LDGSTS.E"))[3]
    behind = lateness(pass_through(product, every, "LDGSTS.E"))[3]
    assert early < 0.1
    assert beside == 1  # of what a pass takes without products
    assert behind == 1
    halfway = lateness(pass_through(product, every, "LDGSTS.E", product, every))[3]
    assert 0.45 < halfway < 0.55
    assert lateness(pass_through(product, every, "FADD")) == {}


def test_a_wait_after_each_product_leaves_none_in_flight():
    def loop(drains):
        body = Region("body", -1, 0, {"logic": 10})
        inner = Region("loop", 0, 64, {"wgmma": 4}, mma_flops=1 << 20, drains=drains)
        return Build(
            index=0, kernel="k", config="", grid=(1, 1, 1), num_warps=8, num_stages=2, num_ctas=1,
            registers=64, spill_bytes=0, shared_bytes=0, code=Code((body, inner)),
        )  # fmt: skip

    assert loop(0).in_flight
    assert not loop(4).in_flight
