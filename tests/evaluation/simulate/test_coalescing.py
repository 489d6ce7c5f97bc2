"""What a warp's requests touch, by the layout that the compiler chose."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from triton_gym.evaluation.simulate.launches import LaunchTrace, Site, Tensor
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.layouts import Held, Layout, accesses_of
from triton_gym.evaluation.simulate.machine_code.sass import Code, Region
from triton_gym.evaluation.simulate.time_model.coalescing import requests, span
from triton_gym.evaluation.simulate.time_model.execution import execute
from triton_gym.evaluation.simulate.tracing.footprint import Footprints

TEXT = """
#blocked = #ttg.blocked<{sizePerThread = [4], threadsPerWarp = [32], warpsPerCTA = [4], order = [0]}>
#tile = #ttg.blocked<{sizePerThread = [1, 4], threadsPerWarp = [2, 16], warpsPerCTA = [4, 1], order = [1, 0]}>
#linear = #ttg.linear<{register = [[0, 1], [8, 0]], lane = [[0, 2], [0, 4], [1, 0], [2, 0], [4, 0]], warp = [[16, 0]], block = []}>
#mma = #ttg.nvidia_mma<{versionMajor = 3, versionMinor = 0, warpsPerCTA = [4, 1], instrShape = [16, 64, 16]}>
    %a = tt.load %p, %m : tensor<1024x!tt.ptr<f32>, #blocked> loc(#loc1)
    %b = ttg.async_copy_global_to_local %q, %s mask %m : tensor<64x64x!tt.ptr<f16>, #tile> -> <64x64xf16, #shared, #smem, mutable> loc(#loc2)
    %c = tt.load %r : tensor<64x!tt.ptr<f32>, #ttg.slice<{dim = 0, parent = #tile}>> loc(#loc3)
    %d = tt.load %r : tensor<64x!tt.ptr<f32>, #ttg.slice<{dim = 1, parent = #tile}>> loc(#loc3)
    tt.store %p, %a, %m : tensor<64x64x!tt.ptr<f32>, #linear> loc(#loc4)
    tt.store %p, %a, %m : tensor<64x64x!tt.ptr<f32>, #mma> loc(#loc4)
    %x = tt.atomic_rmw fadd, relaxed, gpu, %p, %a, %m : (tensor<8x64x!tt.ptr<f32>, #tile>, tensor<8x64xf32, #tile>, tensor<8x64xi1, #tile>) -> tensor<8x64xf32, #tile> loc(#loc5)
    %y = tt.load %p : !tt.ptr<f32> loc(#loc5)
#loc1 = loc("/tmp/answer.py":5:8)
#loc2 = loc("/tmp/answer.py":6:8)
#loc3 = loc("/tmp/answer.py":7:8)
#loc4 = loc("/tmp/answer.py":8:8)
#loc5 = loc("/tmp/answer.py":9:8)
"""

QUADS = Layout((4,), ((4,), (8,), (16,), (32,), (64,)))


def test_layouts_of_accesses():
    found = accesses_of(TEXT)
    assert [(h.kind, h.line, h.shape) for h in found] == [
        ("load", 5, (1024,)), ("load", 6, (64, 64)), ("load", 7, (64,)), ("load", 7, (64,)),
        ("store", 8, (64, 64)), ("store", 8, (64, 64)), ("atomic", 9, (8, 64)),
    ]  # fmt: skip
    flat, tile, columns, rows, linear, matrix, _ = (h.layout for h in found)
    assert flat == QUADS
    assert tile == Layout((1, 4), ((0, 4), (0, 8), (0, 16), (0, 32), (1, 0)))
    assert columns == Layout((4,), ((4,), (8,), (16,), (32,), (0,)))  # two rows hold the same
    assert rows == Layout((1,), ((0,), (0,), (0,), (0,), (1,)))
    assert linear == Layout((1, 2), ((0, 2), (0, 4), (1, 0), (2, 0), (4, 0)))
    assert matrix == linear


def test_a_block_smaller_than_the_pattern_is_held_twice():
    (small,) = accesses_of(TEXT.replace("1024x", "16x"))[:1]
    assert small.layout == Layout((4,), ((4,), (8,), (0,), (0,), (0,)))


def test_held_accesses_survive_a_record():
    for held in accesses_of(TEXT):
        assert Held.read(dataclasses.asdict(held)) == held


def steps(size, step):
    """The reach of an axis whose elements lie a step apart."""
    return size, tuple(step << bit for bit in range((size - 1).bit_length()))


def site(axes, starts, kind="load"):
    axes = tuple(steps(n, step) if isinstance(step, int) else (n, step) for n, step in axes)
    return Site(
        line=5, kind=kind, owner=0, bulk=False, itemsize=4, count=1, burst=1, lanes=1024,
        bytes=4096, sectors=128, lines=32, sharing=(), axes=axes, starts=starts,
    )  # fmt: skip


def build(shape, layout=QUADS, kind="load"):
    return Build(
        index=0, kernel="k", config="", grid=(1, 1, 1), num_warps=4, num_stages=3, num_ctas=1,
        registers=32, spill_bytes=0, shared_bytes=0, code=Code(()),
        held=(Held(kind, 5, shape, layout),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("axes", "starts", "width", "expected"),
    [
        (((1024, 4),), (0,), 16, (4, 16)),  # 512 bytes, 128 in a cycle
        (((1024, 4),), (4,), 4, (4, 16)),  # single words 16 bytes apart meet in eight banks
        (((1024, 4),), (8,), 8, (4, 16)),
        (((1024, 4),), (0, 12), 4, (4, 16)),
        (((1024, 8),), (0,), 4, (8, 32)),  # every other word
        (((1024, 0),), (0,), 4, (1, 1)),  # all the same
        (((1024, 4096),), (0,), 4, (32, 32)),  # a line each, the same bank
    ],
)
def test_cycles_and_sectors_of_a_request(axes, starts, width, expected):
    assert span(site(axes, starts), build((1024,)), width) == expected


def test_a_request_across_rows():
    tile = Layout((1, 1), ((0, 1), (0, 2), (0, 4), (1, 0), (2, 0)))
    # Four rows of eight words, each of them a sector of another line: 32 banks all the same.
    assert span(site(((4, 4096 + 32), (8, 4)), (0,)), build((4, 8), tile), 4) == (1, 4)
    # Rows that begin in the same bank.
    assert span(site(((4, 4096), (8, 4)), (0,)), build((4, 8), tile), 4) == (4, 4)
    # Patches of four words: eight lanes of a row are in two places.
    patches = (8, (4, 8, 1 << 16))
    assert span(site(((4, 16), patches), (0,)), build((4, 8), tile), 4) == (2, 4)
    # Rows in no order lie apart.
    assert span(site(((4, None), (8, 4)), (0,)), build((4, 8), tile), 4) == (4, 4)


def test_what_is_not_known_is_said():
    assert span(site(((1024, None),), (0,)), build((1024,)), 4) is None
    assert span(site(((512, 4),), (0,)), build((1024,)), 4) is None


def test_reaches_of_a_block():
    rows = np.arange(0, 64 * 1024, 1024, dtype=np.uint64)[:, None]
    columns = 4 * np.arange(32, dtype=np.uint64)[None, :]
    assert Footprints().axes(0, rows + columns) == (steps(64, 1024), steps(32, 4))
    index = np.random.default_rng(0).permutation(64).astype(np.uint64)[:, None]
    assert Footprints().axes(0, 1024 * index + columns) == ((64, None), steps(32, 4))
    assert Footprints().axes(0, rows[:1]) == ((1, ()), (1, ()))
    lane = np.arange(1024, dtype=np.uint64)
    assert Footprints().axes(0, lane // 8 * 4096 + lane % 8 * 4) == (
        (1024, (4, 8, 16, *(4096 << bit for bit in range(7)))),
    )
    ends = lane * 4 + 64 * (lane >= 1000)  # a row that ends within a block
    assert Footprints().axes(0, ends) == (steps(1024, 4),)


def test_neighbours_in_a_sector_are_one_atomic_operation():
    def operations(layout, axes, instructions):
        size = 1024
        site = Site(
            line=9, kind="atomic", owner=0, bulk=False, itemsize=4, count=1, burst=1, lanes=size,
            bytes=4.0 * size, sectors=size / 8, lines=size / 32, sharing=(), axes=((size, axes),),
            starts=(0,),
        )  # fmt: skip
        region = Region("body", -1, 0, {"atomic": instructions})
        build = Build(
            index=0, kernel="k", config="", grid=(1, 1, 1), num_warps=8, num_stages=1, num_ctas=1,
            registers=32, spill_bytes=0, shared_bytes=0, code=Code((region,)),
            held=(Held("atomic", 9, (size,), layout),),
        )  # fmt: skip
        trace = LaunchTrace(
            index=0, kernel="k", config="", grid=(1, 1, 1), sampled=1, note="",
            tensors=(Tensor(4096, 1.0, 0.0),), sites=(site,), dots=(), passes=(), rounds=1,
            gathered=0.0, contended=0.0, imbalance=1.0, heaviest=1.0,
        )  # fmt: skip
        return requests(build, execute(build, trace), trace).atomic

    near = tuple(4 << bit for bit in range(10))
    lanes = Layout((1,), ((1,), (2,), (4,), (8,), (16,)))
    assert operations(lanes, near, 4) == 1024 / 8
    assert operations(QUADS, near, 1) == 1024 / 8  # four neighbours an instruction
    assert operations(QUADS, near, 4) == 1024 / 2  # each by itself: two lanes in a sector
    assert operations(lanes, None, 4) == 1024  # in no order
