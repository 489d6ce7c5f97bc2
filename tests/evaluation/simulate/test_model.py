"""The time model: each mechanism moves the time in the right direction."""

from __future__ import annotations

import dataclasses

import pytest

from triton_gym.device import gpu_named
from triton_gym.evaluation.plan.step import Copy, Fill, Gather
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.launches import Dot, LaunchTrace, Site, Tensor
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.sass import Code, Region
from triton_gym.evaluation.simulate.time_model.model import estimate
from triton_gym.evaluation.simulate.time_model.moves import moves_us
from triton_gym.evaluation.simulate.time_model.occupancy import occupancy
from triton_gym.evaluation.simulate.time_model.queueing import queue
from triton_gym.evaluation.simulate.time_model.slices import busiest_slice, fullest
from triton_gym.evaluation.simulate.time_model.traffic import traffic
from triton_gym.evaluation.simulate.time_model.trips import trips

H100 = gpu_named("h100")


def code(**counts: int) -> Code:
    body = {"logic": 40, "float": 60, "load": 4, "store": 4, "special": 8, **counts}
    return Code(
        (Region("body", -1, 0, body, load_bytes=2048, store_bytes=2048, cycles=600.0, waits=2.0),),
        "",
        16,
        16,
    )


BUILD = Build(
    index=0, kernel="k", config="", grid=(4096, 1, 1), num_warps=8, num_stages=3, num_ctas=1,
    registers=32, spill_bytes=0, shared_bytes=1024, code=code(),
)  # fmt: skip
LOAD = Site(
    line=1, kind="load", owner=0, bulk=False, itemsize=4, count=1, burst=1, lanes=4096,
    bytes=16384, sectors=512, lines=128, sharing=((1, 1.0), (132, 1.0)),
)  # fmt: skip
INPUT = Tensor(bytes=64 << 20, distinct=1.0, distance=0.0)
STORE = dataclasses.replace(LOAD, kind="store", owner=1, sharing=())
TRACE = LaunchTrace(
    index=0, kernel="k", config="", grid=(4096, 1, 1), sampled=4, note="",
    tensors=(INPUT, INPUT), sites=(LOAD, STORE), dots=(), passes=((1, 1.0),), rounds=1,
    gathered=0.0, contended=0.0, imbalance=1.0, heaviest=1.0,
)  # fmt: skip


def matmul(block: int, *, warps: int = 4, registers: int = 168, stages: int = 3):
    """Build and trace of a 4096³ product in square tiles."""
    n, step = 4096, 64
    tiles, steps = (n // block) ** 2, n // step
    loop = Region(
        "loop", 0, 512, {"wgmma": block * block * step * 2 // warps // (64 * block * 8),
                         "tma_load": 2, "barrier": 6, "logic": 40},
        mma_flops=2 * block * block * step // warps,
        products=((f"HGMMA.64x{block}x16", 2, 2 * block * block * step // warps),),
    )  # fmt: skip
    body = Region("body", -1, 0, {"logic": 300, "tma_load": 2 * (stages - 1), "store": 16})
    build = dataclasses.replace(
        BUILD, grid=(tiles, 1, 1), num_warps=warps, registers=registers,
        shared_bytes=stages * 4 * block * step, code=Code((body, loop), f"HGMMA.64x{block}x16"),
    )  # fmt: skip
    load = dataclasses.replace(
        LOAD, bulk=True, itemsize=2, count=steps, burst=steps, lanes=block * step,
        bytes=2 * block * n, sectors=2 * block * n / 32, lines=2 * block * n / 128,
        sharing=((1, 1.0), (132, 0.15)),
    )  # fmt: skip
    store = dataclasses.replace(STORE, itemsize=2, lanes=block * block, bytes=2 * block * block,
                                sectors=block * block / 16, lines=block * block / 64)  # fmt: skip
    trace = dataclasses.replace(
        TRACE, grid=(tiles, 1, 1), tensors=(dataclasses.replace(INPUT, bytes=32 << 20),) * 3,
        rounds=steps,
        sites=(load, dataclasses.replace(load, owner=1), dataclasses.replace(store, owner=2)),
        dots=(Dot(2, block, block, step, "bf16", "tf32", steps),),
    )  # fmt: skip
    return build, trace


def us(build: Build = BUILD, trace: LaunchTrace = TRACE) -> float:
    return estimate([build], [trace], H100).us


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "programs", "limit"),
    [
        (24, 0, 4, 16, "threads"),          # 2048 / 128
        (128, 0, 4, 4, "registers"),        # 65536 / (128 · 128)
        (130, 0, 4, 3, "registers"),        # 136 · 32 registers a warp: 3 a partition
        (32, 100 << 10, 4, 2, "shared memory"),
        (16, 0, 1, 32, "programs"),
        (255, 0, 8, 1, "registers"),
    ],
)  # fmt: skip
def test_occupancy_by_hand(registers, shared, warps, programs, limit):
    found = occupancy(H100, registers=registers, shared_bytes=shared, num_warps=warps)
    assert (found.programs, found.limit) == (programs, limit)


def test_a_streaming_kernel_nears_the_bandwidth():
    gbps = 2 * (64 << 20) / us() / 1e3
    assert 0.6 * H100.memory_gbps < gbps < H100.memory_gbps
    assert estimate([BUILD], [TRACE], H100).bound == "memory"


def test_what_pytorch_copies_and_fills_takes_time_too():
    alone = estimate([BUILD], [TRACE], H100)
    large, small, none = (View("float32", 0, (n,), (1,)) for n in (64 << 20, 1 << 18, 0))
    moves = moves_us([Fill(large, 0, 0), Fill(none, 0, 0), Fill(small, 0, 0)], H100)
    assert len(moves) == 2  # nothing is no kernel
    found = estimate([BUILD], [TRACE], H100, moves=moves)
    moving_us = found.us - alone.us
    least = large.nbytes / H100.memory_gbps / 1e3
    assert least < moving_us < 1.3 * least
    assert "copies" in found.describe()
    assert found.coverage == pytest.approx(1 - moving_us / found.us)
    assert alone.coverage == 1


def test_more_bytes_take_longer():
    wide = [dataclasses.replace(s, bytes=2 * s.bytes, sectors=2 * s.sectors, lines=2 * s.lines)
            for s in (LOAD, STORE)]  # fmt: skip
    big = dataclasses.replace(INPUT, bytes=128 << 20)
    more = dataclasses.replace(TRACE, sites=tuple(wide), tensors=(big, big))
    assert us(trace=more) > 1.6 * us()


def test_uncoalesced_accesses_take_longer():
    scattered = dataclasses.replace(STORE, sectors=4096, lines=4096)
    assert us(trace=dataclasses.replace(TRACE, sites=(LOAD, scattered))) > 2 * us()


def test_reads_shared_between_programs_cost_less():
    shared = dataclasses.replace(LOAD, sharing=((1, 1.0), (2, 0.5), (132, 1 / 132)))
    assert us(trace=dataclasses.replace(TRACE, sites=(shared, STORE))) < 0.8 * us()


def test_spills_cost():
    region = dataclasses.replace(
        BUILD.code.regions[0], spill_bytes=400 * 128,
        counts={**BUILD.code.regions[0].counts, "spill_load": 200, "spill_store": 200},
    )  # fmt: skip
    spilling = dataclasses.replace(BUILD, spill_bytes=800, registers=255, code=Code((region,)))
    assert us(spilling) > 1.5 * us()


def test_few_resident_programs_cannot_hide_latency():
    crowded = dataclasses.replace(BUILD, shared_bytes=200 << 10)
    assert us(crowded) > 1.2 * us()


def test_a_nearly_empty_last_wave_costs():
    def tile_us(programs: int) -> float:
        build, trace = matmul(128)
        alone = dataclasses.replace(build, shared_bytes=150 << 10, grid=(programs, 1, 1))
        return us(alone, dataclasses.replace(trace, grid=(programs, 1, 1)))

    full, spilled_over = tile_us(132 * 3), tile_us(132 * 3 + 1)
    assert spilled_over > 1.05 * full


def test_small_tiles_of_a_product_are_slow():
    assert us(*matmul(128)) < us(*matmul(64))
    assert estimate(*([x] for x in matmul(128)), H100).bound == "compute"


def test_products_do_not_exceed_the_peak():
    tflops = 2 * 4096**3 / us(*matmul(128)) / 1e6
    assert 0.3 * H100.matrix_tflops["bfloat16"] < tflops < H100.matrix_tflops["bfloat16"]


def test_a_small_launch_is_bound_by_launching():
    tiny = dataclasses.replace(BUILD, grid=(1, 1, 1))
    one = estimate([tiny], [dataclasses.replace(TRACE, grid=(1, 1, 1))], H100)
    assert one.bound == "launch"
    assert 1 < one.us < 10


def test_the_fastest_alternative_counts_and_launches_add_up():
    slow = dataclasses.replace(BUILD, config="slow", shared_bytes=200 << 10)
    fast = dataclasses.replace(BUILD, config="fast")
    traces = [dataclasses.replace(TRACE, config=c) for c in ("slow", "fast")]
    tuned = estimate([slow, fast], traces, H100).us
    assert tuned == us()
    second = dataclasses.replace(BUILD, index=1)
    both = estimate([BUILD, second], [TRACE, dataclasses.replace(TRACE, index=1)], H100).us
    assert us() < both < 2 * us()


def test_what_was_not_traced_is_said():
    found = estimate([BUILD], [], H100)
    assert "not traced" in found.describe()


def looped(count: int, passes: float, *, line: int = 7) -> tuple[Build, LaunchTrace]:
    """A kernel with a loop of special functions, which is executed so often."""
    loop = Region("loop", 0, 512, {"special": count}, lines=((line, count),), closing=line)
    body = code().regions[0]
    build = dataclasses.replace(BUILD, code=Code((body, loop), "", 16, 16))
    return build, dataclasses.replace(TRACE, passes=((1, 1.0), (line, passes)))


def test_a_loop_without_accesses_costs_what_it_runs():
    assert us(*looped(40, 0.0)) == us(*looped(40, 0.0)) <= us(*looped(40, 1.0))
    once, often = us(*looped(40, 10.0)), us(*looped(40, 1000.0))
    assert 50 < often / once < 110


def test_what_is_prepared_for_an_inner_loop_runs_once_an_entry():
    inner = Region("loop", 1, 320, {"load": 8, "float": 8}, accesses=(("load", 8, 8 * 128),),
                   lines=((8, 16),), closing=7)  # fmt: skip
    outer = Region("loop", 0, 160, {"logic": 20}, lines=((7, 4), (8, 13), (9, 3)), closing=5)
    body = Region("body", -1, 0, {"logic": 10}, lines=((1, 10),))
    build = dataclasses.replace(BUILD, num_warps=4, code=Code((body, outer, inner)))
    load = dataclasses.replace(LOAD, line=8, count=160, burst=32, lanes=128, bytes=160 * 512)
    passes = ((1, 1.0), (5, 1.0), (7, 5.0), (8, 160.0), (9, 5.0))
    trace = dataclasses.replace(TRACE, sites=(load,), passes=passes)
    assert trips(build, trace) == [1.0, 5.0, 20.0]


def test_products_that_never_run_cost_nothing():
    build, trace = matmul(128)
    dead = Region("loop", 0, 2048, {"wgmma": 900}, mma_flops=1 << 30,
                  products=(("HGMMA.64x256x16", 90, 1 << 30),))  # fmt: skip
    more = dataclasses.replace(build, code=Code((*build.code.regions, dead), build.code.mma))
    assert us(more, trace) == pytest.approx(us(build, trace), rel=0.01)


def test_each_product_has_the_rate_of_its_own_instruction():
    build, trace = matmul(128)
    body, loop = build.code.regions

    def time(name: str) -> float:
        told = dataclasses.replace(loop, products=((name, 2, loop.mma_flops),))
        return us(dataclasses.replace(build, code=Code((body, told), name)), trace)

    eight, sixteen, tf32 = map(time, ("QGMMA.64x128x32", "HGMMA.64x128x16", "HGMMA.64x128x8"))
    assert eight < sixteen < tf32


def test_gathers_cost_what_their_banks_do():
    conflicts = dataclasses.replace(TRACE, gathered=20_000.0)
    assert us(BUILD, conflicts) > 2 * us()


def test_programs_that_leave_at_once_still_start():
    empty = dataclasses.replace(
        TRACE, grid=(1 << 18, 1, 1), sites=(), passes=((1, 0.0),), imbalance=64.0, heaviest=1 / 64
    )
    (body,) = code().regions
    told = dataclasses.replace(body, lines=((1, 120),))
    build = dataclasses.replace(BUILD, grid=(1 << 18, 1, 1), code=Code((told,), "", 16, 16))
    assert 90 < us(build, empty) < 200


def test_the_heaviest_program_takes_its_own_time():
    assert us(trace=dataclasses.replace(TRACE, imbalance=500.0, heaviest=1e-4)) > 5 * us()


def test_uneven_programs_leave_places_empty_in_the_end():
    build, trace = matmul(128)
    many = dataclasses.replace(build, shared_bytes=150 << 10)
    even, uneven = (us(many, dataclasses.replace(trace, imbalance=n)) for n in (1.0, 2.0))
    one = us(*matmul(128)) / 8  # a thousand tiles on 132 places: eight in a row
    assert 0.5 * one < uneven - even < 2 * one


def test_warps_of_a_program_share_schedulers():
    assert queue(300, (100,), 1) == 400
    assert 2 * queue(0, (100,), 2) == 200
    assert 400 < 2 * queue(300, (100,), 2) < 500
    assert 4 * queue(300, (100,), 4) > 500


def test_looks_at_values_wait_for_the_device():
    none, one, eight = (estimate([BUILD], [TRACE], H100, reads=n).us for n in (0, 1, 8))
    assert none + 100 < one < eight


def test_copies_of_transposed_tensors_take_longer():
    straight = View("float32", 0, (4096, 4096), (4096, 1))
    turned = View("float32", 1 << 30, (4096, 4096), (1, 4096))
    backwards = View("float32", 1 << 30, (4096, 4096), (4096, -1))
    us = [moves_us([Copy(source, straight, 0)], H100)[0]
          for source in (straight, turned, backwards)]  # fmt: skip
    assert us[1] > us[0] + 50
    assert us[2] < us[1]


def test_what_a_fill_wrote_is_found_in_cache():
    small, other = (View("float32", n << 30, (1 << 20,), (1,)) for n in (0, 1))
    alone = moves_us([Copy(small, other, 0)], H100)
    assert moves_us([Fill(small, 0, 0), Copy(small, other, 0)], H100)[1] <= alone[0]


def test_rows_that_are_looked_up_are_a_gather():
    table = View("float32", 0, (4096, 1024), (1024, 1))
    index = View("int64", 1 << 30, (2048,), (1,))
    out = View("float32", 1 << 31, (2048, 1024), (1024, 1))
    (found,) = moves_us([Gather(table, index, 0, out, 0)], H100)
    assert found > 2 * out.nbytes / H100.memory_gbps / 1e3


def test_an_interval_is_wide_where_the_model_knows_little():
    def width(build=BUILD, trace=TRACE):
        found = estimate([build], [trace], H100)
        assert found.low_us < found.us < found.high_us
        assert f"{found.low_us:.1f} to {found.high_us:.1f}" in found.describe()
        return found.high_us / found.low_us

    sure = width()
    assert sure < 1.8
    spilled = code(spill_load=60, spill_store=60)
    assert width(dataclasses.replace(BUILD, code=spilled, spill_bytes=256)) > 1.2 * sure
    unknown = dataclasses.replace(TRACE, note="how often a loop runs is not known")
    assert width(trace=unknown) > 3 * sure
    atomic = dataclasses.replace(STORE, kind="atomic")
    apart = dataclasses.replace(TRACE, sites=(LOAD, atomic))
    assert width(trace=apart) > 1.5 * sure
    assert width(trace=dataclasses.replace(apart, contended=1.0)) > 3 * sure


def test_lanes_that_have_a_line_each_are_served_one_by_one():
    apart = dataclasses.replace(LOAD, sectors=4096, lines=4096)
    assert us(trace=dataclasses.replace(TRACE, sites=(apart, STORE))) > 3 * us()


def test_loads_that_are_waited_for_one_by_one_take_longer():
    few = dataclasses.replace(TRACE, grid=(132, 1, 1))
    one, four = (
        dataclasses.replace(
            BUILD, grid=(132, 1, 1),
            code=Code((dataclasses.replace(code().regions[0], waits=waits),), "", 16, 16),
        )
        for waits in (1.0, 4.0)
    )  # fmt: skip
    assert us(four, few) > us(one, few) + 0.8


def test_atomics_on_one_line_wait_for_each_other():
    atomic = dataclasses.replace(STORE, kind="atomic")
    apart = dataclasses.replace(TRACE, sites=(LOAD, atomic))
    together = dataclasses.replace(apart, contended=0.5)
    assert us(trace=together) > 5 * us(trace=apart)


def test_few_lines_share_few_slices():
    assert fullest(1, 8) == 1
    assert fullest(2, 8) == pytest.approx(1 + 1 / 8)
    assert fullest(3, 2) == pytest.approx(3 * 2 / 8 + 2 * 6 / 8)
    shares = [busiest_slice(lines) for lines in (1, 2, 8, 32, 64, 1e6)]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], shares[-1]) == (1.0, 1 / 48)
    assert 2.5 < 8 * shares[2] < 3  # PyTorch's sums into eight lines: 2, 3 or 4 in one slice


def test_atomics_into_a_small_tensor_meet_though_the_programs_seen_did_not():
    atomic = dataclasses.replace(STORE, kind="atomic")
    small = dataclasses.replace(INPUT, bytes=512)
    trace = dataclasses.replace(TRACE, sites=(LOAD, atomic))
    met = dataclasses.replace(trace, tensors=(INPUT, small))
    assert us(trace=met) > 5 * us(trace=trace)


def test_lanes_that_meet_in_banks_take_longer():
    slow = dataclasses.replace(code().regions[0], conflicts=3000.0)
    build = dataclasses.replace(BUILD, code=Code((slow,), "", 16, 16))
    assert us(build) > 2 * us()


def test_lanes_that_part_take_longer():
    region = BUILD.code.regions[0]
    parted = dataclasses.replace(
        BUILD, grid=(132, 1, 1), code=Code((dataclasses.replace(region, splits=500),))
    )
    alike = dataclasses.replace(parted, code=Code((region,)))
    few = dataclasses.replace(TRACE, grid=(132, 1, 1))
    assert us(parted, few) > us(alike, few) + 10


def test_a_program_by_itself_finds_again_what_it_loaded():
    again = Tensor(bytes=64 << 20, distinct=0.1, distance=32 << 10)
    thin = dataclasses.replace(LOAD, bytes=2048, sectors=512, lines=512, itemsize=4)
    for programs, gpu_programs in ((132, 1), (4096, 8)):
        trace = dataclasses.replace(
            TRACE, grid=(programs, 1, 1), sites=(thin,), tensors=(again, INPUT)
        )
        moved = traffic(trace, H100, resident=gpu_programs, shared_bytes=0)
        share = moved.load_bytes / (512 * 32)
        # 51 lines, each with as many of its sectors as 2,048 bytes can be in.
        assert share == pytest.approx(64 / 512 if gpu_programs == 1 else 1.0)


def test_stores_that_neighbours_complete_are_written_once():
    lone = dataclasses.replace(STORE, bytes=STORE.bytes / 8)
    shared = dataclasses.replace(lone, sharing=((1, 1.0), (8, 0.125), (132, 0.125)))
    wide = dataclasses.replace(INPUT, bytes=1 << 40)
    traces = [
        dataclasses.replace(TRACE, sites=(LOAD, each), tensors=(INPUT, wide))
        for each in (lone, shared)
    ]
    dram = [estimate([BUILD], [trace], H100).parts["dram"] for trace in traces]
    assert dram[1] < 0.7 * dram[0]


def test_loops_of_products_run_as_often_as_their_products_wherever_the_compiler_put_those():
    build, trace = matmul(128)
    loop = build.code.regions[1]
    elsewhere = dataclasses.replace(loop, products=(("HGMMA.64x128x16", 99, loop.mma_flops),))
    moved = dataclasses.replace(build, code=Code((build.code.regions[0], elsewhere)))
    assert trips(moved, trace) == trips(build, trace)
    half = tuple((name, line, flops // 2) for name, line, flops in loop.products)
    split = dataclasses.replace(
        loop, products=(*half, ("HGMMA.64x128x16", 99, loop.mma_flops // 2))
    )
    both = (trace.dots[0], dataclasses.replace(trace.dots[0], line=3))
    double = dataclasses.replace(trace, dots=tuple(dataclasses.replace(d, k=32) for d in both))
    partly = dataclasses.replace(build, code=Code((build.code.regions[0], split)))
    assert trips(partly, double) == trips(build, trace)


def test_of_two_loops_over_the_same_products_the_one_with_lines_of_its_own_runs_by_those():
    build, trace = matmul(128)
    body, loop = build.code.regions
    masked = dataclasses.replace(loop, start=4096, lines=((2, 20), (7, 30)))
    plain = dataclasses.replace(loop, lines=((2, 20),))
    seen = dataclasses.replace(trace, passes=((2, 64.0), (7, 2.0)))
    apart = dataclasses.replace(build, code=Code((body, plain, masked)))
    assert trips(apart, seen)[1:] == [62.0, 2.0]


def test_tiles_that_warps_compute_again_do_not_make_loops_shorter():
    build, trace = matmul(128)
    body, loop = build.code.regions
    name, line, flops = loop.products[0]
    twice = dataclasses.replace(loop, mma_flops=2 * flops, products=((name, line, 2 * flops),))
    again = dataclasses.replace(build, code=Code((body, twice)), repeated=((line, 2.0),))
    assert trips(again, trace) == trips(build, trace)


def test_l1_keeps_no_copies_that_go_past_it():
    again = Tensor(bytes=64 << 20, distinct=0.1, distance=1 << 10)
    trace = dataclasses.replace(TRACE, sites=(LOAD,), tensors=(again, INPUT))
    kept, past = (
        traffic(trace, H100, resident=1, shared_bytes=0, past_l1=lines) for lines in ((), (1,))
    )
    assert past.load_bytes == LOAD.sectors * 32 > 5 * kept.load_bytes


def test_rows_that_neighbours_read_too_come_from_memory_once():
    # Three loads a program, of which neighbours have two.
    curve = ((1, 1.0), (2, 4 / 6), (132, 134 / 396))
    alone = dataclasses.replace(INPUT, bytes=1 << 40)
    rows = tuple(dataclasses.replace(LOAD, line=n) for n in (1, 2, 3))
    bytes_of = [
        traffic(dataclasses.replace(TRACE, sites=rows, tensors=(tensor, INPUT)), H100,
                resident=1, shared_bytes=0).dram_bytes
        for tensor in (alone, dataclasses.replace(alone, sharing=curve))
    ]  # fmt: skip
    assert bytes_of[1] < 0.4 * bytes_of[0]


def test_atomics_in_one_slice_hold_up_the_loads_behind_them():
    atomic = dataclasses.replace(STORE, kind="atomic", lanes=1024, bytes=4096, sectors=128, lines=1)
    body = dataclasses.replace(BUILD.code.regions[0], counts={"load": 8, "atomic": 4})
    build = dataclasses.replace(BUILD, code=Code((body,)))
    small = dataclasses.replace(INPUT, bytes=128)
    loads, both, meet = (
        us(build, dataclasses.replace(TRACE, sites=sites, tensors=(INPUT, small), contended=1.0))
        for sites in ((LOAD,), (LOAD, atomic), (atomic,))
    )
    assert both > 0.9 * (loads + meet - us(build, dataclasses.replace(TRACE, sites=())))
