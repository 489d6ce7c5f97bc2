"""What a trace sees of a launch at full size, and which programs it looks at."""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pytest
import torch
import triton.language as tl
from launching import jit

from triton_gym.evaluation.exchange.arena import HostArena
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.interpreter.bounds import OutOfBoundsError
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.tracing import footprint
from triton_gym.evaluation.simulate.tracing.evidence import Call, Evidence
from triton_gym.evaluation.simulate.tracing.paths import paths_of
from triton_gym.evaluation.simulate.tracing.trace import trace

BF16 = torch.bfloat16


@jit
def pointwise_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    y = tl.load(y_ptr + i, mask=i < n)
    tl.store(out_ptr + i, x * y + x, mask=i < n)


@jit
def column_kernel(x_ptr, out_ptr, rows, cols, BLOCK: tl.constexpr):
    col, i = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i * cols + col, mask=i < rows)
    tl.store(out_ptr + col, tl.sum(x, 0))


@jit
def matmul_kernel(a_ptr, b_ptr, c_ptr, n, BLOCK: tl.constexpr, STEP: tl.constexpr):
    rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[:, None]
    cols = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    inner = tl.arange(0, STEP)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, n, STEP):
        a = tl.load(a_ptr + rows * n + (k + inner)[None, :])
        b = tl.load(b_ptr + (k + inner)[:, None] * n + cols)
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + rows * n + cols, acc.to(tl.bfloat16))


@jit
def persistent_kernel(x_ptr, n, BLOCK: tl.constexpr):
    for tile in range(tl.program_id(0), n // BLOCK, tl.num_programs(0)):
        i = tile * BLOCK + tl.arange(0, BLOCK)
        tl.store(x_ptr + i, tl.load(x_ptr + i) * 2)


@jit
def period_kernel(x_ptr, w_ptr, out_ptr, period, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    same = tl.program_id(0) % period * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.load(x_ptr + i) + tl.load(w_ptr + same))


def traced(ready) -> LaunchTrace:
    found = trace(ready, 1).trace
    assert LaunchTrace.read(json.loads(json.dumps(found.record()))) == found
    return found


def aligned(size: int) -> torch.Tensor:
    """Zeros that begin with a line of the cache, as on a GPU."""
    whole = torch.zeros(size + 64)
    return whole[-whole.data_ptr() % 128 // 4 :][:size]


def test_bytes_are_counted():
    x, out = aligned(1 << 20), aligned(1 << 20)
    found = traced(pointwise_kernel.ready((1024,), x, x, out, 1 << 20, 1024))
    assert found.programs == 1024
    assert not found.note
    loads = [s for s in found.sites if s.kind == "load"]
    (store,) = [s for s in found.sites if s.kind == "store"]
    assert [s.bytes for s in (*loads, store)] == [4096] * 3
    assert [s.sectors for s in loads] == [128, 128]
    assert store.owner == 1
    assert found.tensors[0].distinct == 0.5  # x is read twice
    assert loads[0].sharing[-1][1] == 1.0  # neighbours share nothing


def test_columns_are_not_coalesced():
    x, out = torch.zeros(1024, 4096), torch.zeros(4096)
    found = traced(column_kernel.ready((4096,), x, out, 1024, 4096, 1024))
    load = next(s for s in found.sites if s.kind == "load")
    assert (load.bytes, load.sectors) == (4096, 1024)
    assert load.sharing[-1][1] < 0.05  # but 32 neighbours share every line


def test_some_neighbours_tell_of_all():
    x, w, out = (aligned(1 << 20) for _ in range(3))
    for period, apart in ((1 << 20, True), (131, False), (100, False)):
        for programs in (5, 131, 600):
            ready = period_kernel.ready((programs,), x, w, out, period, 256)
            few = traced(ready)
            with mock.patch.object(footprint, "ruler", range):
                assert traced(ready) == few
            nothing = [s.sharing[-1][1] == 1.0 for s in few.sites if s.kind == "load"]
            assert all(nothing) == (apart or programs <= period), (period, programs)


def test_a_ruler_has_all_distances():
    for size in range(200):
        marks = footprint.ruler(size)
        assert {b - a for a in marks for b in marks if b >= a} == set(range(size))
        assert set(marks) <= set(range(size))


def test_sharing_nothing_is_what_is_computed_otherwise():
    lines = [np.arange(10 * i, 10 * i + 7) for i in range(132)]
    assert footprint.disjoint(lines)
    assert footprint.sharing_nothing(lines[:9], 132) == footprint.sharing(lines)
    assert not footprint.disjoint([*lines, np.array([1313])])


def test_dots_and_loops_are_counted():
    a, c = torch.zeros(2048, 2048, dtype=BF16), torch.zeros(2048, 2048, dtype=BF16)
    found = traced(matmul_kernel.ready((16, 16), a, a.clone(), c, 2048, 128, 64))
    (dot,) = found.dots
    assert (dot.m, dot.n, dot.k, dot.dtype) == (128, 128, 64, "bf16")
    assert dot.flops * found.programs == 2 * 2048**3
    assert dict(found.passes)[dot.line] == 32
    assert found.rounds == 32
    assert {s.burst for s in found.sites} == {1, 32}
    loads = [s for s in found.sites if s.kind == "load"]
    assert all(s.bytes == 128 * 2048 * 2 for s in loads)
    assert all(s.sharing[-1][1] < 0.2 for s in loads)  # tiles of a row share a, of a column b


def test_persistent_programs_are_scaled():
    found = traced(persistent_kernel.ready((132,), torch.zeros(1 << 22), 1 << 22, 1024))
    moved = sum(s.bytes for s in found.sites) * found.programs
    assert moved == pytest.approx(2 * 4 << 22, rel=0.05)


def test_a_trace_is_the_same_twice_and_leaves_memory_alone():
    x, out = torch.ones(1 << 16), torch.zeros(1 << 16)
    ready = [pointwise_kernel.ready((64,), x, x, out, 1 << 16, 1024) for _ in range(2)]
    assert traced(ready[0]) == traced(ready[1])
    assert not out.any()


def test_a_trace_finds_bounds():
    x = torch.zeros(1000)
    with pytest.raises(OutOfBoundsError, match="past the end"):
        traced(pointwise_kernel.ready((64,), x, x, x, 1 << 16, 1024))


# -- paths -------------------------------------------------------------------------------------


@jit
def branching_kernel(x_ptr, out_ptr, skipped, heavy, n, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    if pid == skipped:
        return
    i = tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32)
    for _ in range(tl.where(pid == heavy, 100, 2)):
        acc += tl.load(x_ptr + pid * BLOCK + i)
    tl.store(out_ptr + pid * BLOCK + i, acc, mask=(i < n) & (pid != 17))


def branching(seed: int):
    x = torch.zeros(1000 * 64)
    ready = branching_kernel.ready((1000,), x, x.clone(), 500, 77, 64, 64)
    return ready, paths_of(ready.program.module, ready.grid, ready.arguments, seed)


def test_rare_paths_are_never_missed():
    ready, paths = branching(0)
    assert sorted(np.bincount(paths.kind)) == [1, 1, 998]
    for seed in range(5):
        chosen = paths.strata(8, np.random.default_rng(seed))
        numbers = {number for number, _ in chosen}
        assert {500, 17} <= numbers, "a skipped and a masked program"
        assert 77 in numbers, "the heaviest"
        assert sum(weight for _, weight in chosen) == pytest.approx(1000)
    found = traced(ready)
    assert found.imbalance > 20
    assert found.heaviest <= 0.001


def test_the_seed_decides_which_programs_stand_for_others():
    _, paths = branching(0)
    chosen = [tuple(n for n, _ in paths.strata(8, np.random.default_rng(s))) for s in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


@jit
def groups_kernel(offsets_ptr, x_ptr, out_ptr, BLOCK: tl.constexpr):
    first = tl.load(offsets_ptr + tl.program_id(1)) + tl.program_id(0) * BLOCK
    last = tl.load(offsets_ptr + tl.program_id(1) + 1)
    if first < last:
        at = first + tl.arange(0, BLOCK)
        tl.store(out_ptr + at, tl.load(x_ptr + at, mask=at < last), mask=at < last)


def test_arguments_decide_paths():
    offsets, x = torch.tensor([0, 8, 8, 40, 64], dtype=torch.int32), torch.ones(64)
    ready = groups_kernel.ready((8, 4), offsets, x, x.clone(), 8)
    given = [(offsets.data_ptr(), offsets.data_ptr() + offsets.nbytes)]
    unknown = paths_of(ready.program.module, ready.grid, ready.arguments, 0)
    assert (unknown.classes, unknown.decided) == (1, False)
    paths = paths_of(ready.program.module, ready.grid, ready.arguments, 0, given)
    assert (paths.classes, paths.decided) == (2, True)
    assert sorted(np.bincount(paths.kind)) == [8, 24]
    found = trace(ready, 0, given=given).trace
    stored = sum(site.bytes for site in found.sites if site.kind == "store")
    assert stored * found.programs == x.nbytes


# -- how much of a result is stored -------------------------------------------------------------


@jit
def ragged_kernel(count_ptr, x_ptr, w_ptr, out_ptr, BLOCK: tl.constexpr):
    """Programs beyond a count look at it, and leave."""
    i, pid = tl.arange(0, BLOCK), tl.program_id(0)
    if pid < tl.load(count_ptr):
        x = tl.load(x_ptr + pid * BLOCK + i)
        tl.store(out_ptr + pid * BLOCK + i, x * tl.load(w_ptr + i))


def test_neighbours_that_work_tell_what_is_shared():
    count = torch.tensor([256], dtype=torch.int32)
    x, w, out = aligned(4096 * 128), aligned(128), aligned(4096 * 128)
    ready = ragged_kernel.ready((4096,), count, x, w, out, 128)
    found = trace(ready, 0, given=[(count.data_ptr(), count.data_ptr() + 4)]).trace
    shared = {site.owner: dict(site.sharing) for site in found.sites if site.kind == "load"}
    assert shared[1][128] == 1.0
    assert shared[2][128] == pytest.approx(1 / 128)


@jit
def borders_kernel(x_ptr, out_ptr, left_out, BLOCK: tl.constexpr):
    pid, i = tl.program_id(0), tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32)
    for near in range(tl.maximum(pid - 1, 0), tl.minimum(pid + 2, tl.num_programs(0))):
        acc += tl.load(x_ptr + near * BLOCK + i)
    tl.store(out_ptr + pid * BLOCK + i, acc, mask=pid >= left_out)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("left_out", [0, 1])
def test_programs_that_work_less_store_no_less(seed, left_out):
    x, out = torch.ones(8 * 64), torch.zeros(8 * 64)
    ready = borders_kernel.ready((8,), x, out, left_out, 64)
    result = View("float32", out.data_ptr(), (512,), (1,))
    arena = HostArena(1 << 20)
    try:
        call = Call([trace(ready, seed)], [result], [], [], {x.data_ptr()})
        (stored,) = Evidence(call, seed).reply(arena)["outputs"]
    finally:
        arena.close()
    assert (stored["share"], stored["exact"]) == (1 - left_out / 8, True)


@jit
def repeated_kernel(
    x_ptr, out_ptr, n, NUMBER: tl.constexpr, ROUNDS: tl.constexpr, BLOCK: tl.constexpr
):
    """Programs of a number store the same tiles; lanes of every other one, if `NUMBER` is 0."""
    pid, i = tl.program_id(0), tl.arange(0, BLOCK)
    own = pid // 2 if NUMBER != 1 else pid
    on = i < BLOCK
    if NUMBER == 0:
        on = i % 2 == pid % 2
    for step in range(ROUNDS):
        at = own * ROUNDS * BLOCK + tl.minimum(step, n) * BLOCK + i
        tl.store(out_ptr + at, tl.load(x_ptr + at), mask=on)


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize(("number", "share"), [(1, 1.0), (2, 0.5), (0, 1.0)])
def test_tiles_that_are_stored_again_make_no_whole(number, share, rounds):
    """Half of the programs repeat what others store, or share tiles with them."""
    programs = 64
    parts = programs // 2 if number == 0 else programs
    x, out = torch.ones(parts * rounds * 64), torch.zeros(parts * rounds * 64)
    ready = repeated_kernel.ready((programs,), x, out, 100, number, rounds, 64)
    result = View("float32", out.data_ptr(), tuple(out.shape), (1,))
    arena = HostArena(1 << 20)
    try:
        call = Call([trace(ready, 0)], [result], [], [], {x.data_ptr()})
        (stored,) = Evidence(call, 0).reply(arena)["outputs"]
    finally:
        arena.close()
    assert (stored["share"], stored["exact"]) == (share, True)
