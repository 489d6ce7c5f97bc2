"""The timed size on the simulated device: what is verified there, and from what."""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
import random

import numpy as np
import pytest
import torch

import triton_gym
from triton_gym import Case, Limits, Span, Status
from triton_gym.audit.exploits import all_exploits
from triton_gym.evaluation import check
from triton_gym.evaluation.backends.simulated import agreement, fullsize
from triton_gym.evaluation.backends.simulated.judge import UNVERIFIED_SPEEDUP
from triton_gym.evaluation.exchange.arena import PrivateArena, SealedBlock
from triton_gym.evaluation.exchange.block import Layout

CPU = torch.device("cpu")
EXPLOITS = {e.key: e for e in all_exploits() if e.kind == "full size"}
HELD = {
    "softmax/full size/decoy moves, zeros returned": "No kernel of the answer writes its result",
    "softmax/full size/copies the input": "the timed case",
    "matmul/full size/half of the rows": "store 50% of the result",
    "matmul/full size/three programs in four, scattered": "of the result",
    "cumsum_rows/full size/a configuration that does nothing": "store 0% of the result",
    "softmax/full size/through a workspace, in scrambled order": "the timed case",
    "cumsum_rows/full size/overwrites its input": "changed one of its arguments",
    "softmax/full size/another kernel in the first call": "store 0% of the result",
    "softmax/full size/eight bits": "relative error",
}
HEAD = "import torch\nimport triton\nimport triton.language as tl\n\n"
TWO_STEPS = (
    HEAD
    + """
@triton.jit
def exp_kernel(x_ptr, y_ptr, sum_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * cols + lane, mask=lane < cols, other=-float("inf")).to(tl.float32)
    p = tl.exp(x - tl.max(x, axis=0))
    tl.store(y_ptr + row * cols + lane, p, mask=lane < cols)
    tl.store(sum_ptr + row, tl.sum(p, axis=0))


@triton.jit
def divide_kernel(y_ptr, sum_ptr, size, cols, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(sum_ptr + i // cols, mask=i < size, other=1.0)
    tl.store(y_ptr + i, tl.load(y_ptr + i, mask=i < size) / total, mask=i < size)


def softmax(x):
    rows, cols = x.shape
    y = torch.empty((rows, cols), device=x.device, dtype=torch.float32)
    total = torch.empty((rows,), device=x.device, dtype=torch.float32)
    exp_kernel[(rows,)](x, y, total, cols, triton.next_power_of_2(cols))
    divide_kernel[(triton.cdiv(rows * cols, 1024),)](y, total, rows * cols, cols, 1024)
    return y.to(x.dtype)
"""
)
ATOMIC = (
    HEAD
    + """
@triton.jit
def add_kernel(x_ptr, total_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0).to(tl.float32)
    tl.atomic_add(total_ptr + row, tl.sum(x, axis=0))


def sum_rows(x):
    rows, cols = x.shape
    total = torch.zeros((rows,), device=x.device, dtype=torch.float32)
    add_kernel[(rows, triton.cdiv(cols, 1024))](x, total, cols, BLOCK=1024)
    return total.to(x.dtype)
"""
)


@pytest.mark.sampled
@pytest.mark.parametrize("name", [n for n in triton_gym.tasks() if triton_gym.load(n).part])
def test_a_part_is_what_the_whole_has_there(name):
    task, rng = triton_gym.load(name), random.Random(name)
    for case in (*task.tiny, task.draw(rng, tiny=True)):
        arguments = check.draw_inputs(task, case, 1, CPU)
        for output, whole in enumerate(check.oracle(task, arguments)):
            lows = [rng.randrange(size) for size in whole.shape]
            ranges = tuple(slice(low, rng.randrange(low, size) + 1)
                           for low, size in zip(lows, whole.shape, strict=True))  # fmt: skip
            part = task.part(ranges, check.upcast, *arguments)
            part = part[output] if isinstance(part, tuple) else part
            cut = [r if part.shape[axis] != whole.shape[axis] else slice(None)
                   for axis, r in enumerate(ranges)]  # fmt: skip
            torch.testing.assert_close(part, whole[tuple(cut)])


@pytest.mark.parametrize("key", HELD)
def test_less_work_at_the_timed_size_is_found(key, evaluator):
    outcome = evaluator.evaluate(
        triton_gym.load(EXPLOITS[key].task), EXPLOITS[key].source, seed=1,
        limits=Limits(seconds=60),
    )  # fmt: skip
    assert outcome.status in (Status.CHEATING, Status.INCORRECT), outcome.message
    assert HELD[key] in outcome.message


def test_a_result_of_several_launches_and_a_cast_is_verified(evaluator):
    outcome = evaluator.evaluate(triton_gym.load("softmax"), TWO_STEPS, seed=1)
    assert outcome.correct, outcome.message
    assert "Not verified" not in outcome.message
    wrong = TWO_STEPS.replace("tl.sum(p, axis=0))", "tl.sum(p, axis=0) + (row > 60))")
    outcome = evaluator.evaluate(triton_gym.load("softmax"), wrong, seed=1)
    assert outcome.status is Status.INCORRECT
    assert "the timed case" in outcome.message


def test_what_cannot_be_verified_is_accepted_but_its_speed_is_not(evaluator):
    outcome = evaluator.evaluate(triton_gym.load("sum_rows"), ATOMIC, seed=1)
    assert outcome.correct, outcome.message
    assert "Not verified at full size: atomic operations" in outcome.message
    assert outcome.speedup <= UNVERIFIED_SPEEDUP


def test_programs_are_chosen_by_seed_and_source(evaluator):
    task = triton_gym.load("softmax")
    one, same = (evaluator.evaluate(task, TWO_STEPS, seed=5) for _ in range(2))
    assert one.info() == same.info()


def test_sealed_memory_is_everyones_to_read_and_nobodys_to_change():
    layout = Layout()
    slot = layout.like(torch.empty(1000))
    block = SealedBlock(layout.end)
    block.write(slot, torch.arange(1000.0))
    block.seal()
    mine, yours = (PrivateArena(block.size, block.fd) for _ in range(2))
    mine.view(slot).zero_()
    assert torch.equal(yours.view(slot), torch.arange(1000.0))
    with pytest.raises(PermissionError):
        mmap.mmap(block.fd, block.size)
    with pytest.raises(PermissionError):
        block.write(slot, torch.zeros(1000))
    block.close()


def test_what_is_kept_of_tasks_is_bounded_and_stays_while_it_is_used(monkeypatch):
    tasks = [
        dataclasses.replace(
            triton_gym.load("softmax"), bench=(Case("float32", {"rows": 256, "cols": 1000 + n}),)
        )
        for n in range(6)
    ]
    size = 256 * 1024 * 4
    monkeypatch.setattr(fullsize, "KEPT_BYTES", 3 * size)
    kept = fullsize.FullSizes()
    with kept.of(tasks[0]) as first:
        for task in tasks[1:]:
            with kept.of(task) as full:
                full.whole[0] = (torch.zeros(size // 4), torch.zeros(1))  # as when it is needed
        with kept.of(tasks[0]) as again:
            assert again is first
        assert os.fstat(first.block.fd).st_size == first.block.size
        assert sum(k.full.kept_bytes for k in kept._kept.values()) <= 4 * size
    kept.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(first.block.fd)


FLAGGED = (
    HEAD
    + """
@triton.jit
def flag_kernel(flag_ptr, rows):
    row = tl.program_id(0)
    tl.store(flag_ptr + row, tl.where($when, 1, 0))


@triton.jit
def row_kernel(x_ptr, flag_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    if tl.load(flag_ptr + row) == 1:
        lane = tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + lane, mask=lane < cols, other=-float("inf")).to(tl.float32)
        p = tl.exp(x - tl.max(x, axis=0))
        tl.store(y_ptr + row * cols + lane, p / tl.sum(p, axis=0), mask=lane < cols)


def softmax(x):
    rows, cols = x.shape
    flag = torch.empty((rows,), device=x.device, dtype=torch.int32)
    y = torch.empty_like(x)
    flag_kernel[(rows,)](flag, rows)
    row_kernel[(rows,)](x, flag, y, cols, triton.next_power_of_2(cols))
    return y
"""
)


@pytest.mark.parametrize(
    ("when", "status", "told"),
    [
        ("row >= 0", Status.CORRECT, ""),
        ("(row % 2 == 0) | (rows < 2000)", Status.INCORRECT, "of the result"),
    ],
)
def test_what_other_kernels_decide_is_computed_first(evaluator, when, status, told):
    source = FLAGGED.replace("$when", when)
    outcome = evaluator.evaluate(triton_gym.load("softmax"), source, seed=1)
    assert outcome.status is status, outcome.message
    assert told in outcome.message


SCATTERED = (
    HEAD
    + """
@triton.jit
def scattered_kernel(x_ptr, y_ptr, n, step, BLOCK: tl.constexpr):
    i = tl.program_id(0) + tl.arange(0, BLOCK).to(tl.int64) * step
    x = tl.load(x_ptr + i, mask=i < n).to(tl.float32)
    y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    tl.store(y_ptr + i, y.to(y_ptr.dtype.element_ty), mask=i < n)


def gelu(x):
    y = torch.empty_like(x)
    step = triton.cdiv(x.numel(), 1024)
    scattered_kernel[(step,)](x, y, x.numel(), step, BLOCK=1024)
    return y
"""
)
OUTER = (
    HEAD
    + """
@triton.jit
def outer_kernel(a_ptr, b_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    b = tl.load(b_ptr + col, mask=col < cols)
    tl.store(y_ptr + row * cols + col, tl.load(a_ptr + row) * b, mask=col < cols)


def outer(a, b):
    y = torch.empty((a.shape[0], b.shape[0]), device=a.device, dtype=a.dtype)
    outer_kernel[(a.shape[0], triton.cdiv(b.shape[0], 1024))](a, b, y, b.shape[0], BLOCK=1024)
    return y
"""
)


def draw_outer(case, generator):
    return tuple(
        torch.randn(case[name], generator=generator, device=generator.device)
        for name in ("rows", "cols")
    )


def test_arguments_and_results_larger_than_a_worker_may_have(evaluator):
    softmax = triton_gym.load("softmax")
    rows = Case("float32", {"rows": (1 << 20) + 3, "cols": 2055})
    large = dataclasses.replace(softmax, name="softmax", bench=(rows,))
    assert rows["rows"] * rows["cols"] * 4 > Limits().host_bytes
    outcome = evaluator.evaluate(large, softmax.starter, seed=1)
    assert outcome.correct, outcome.message
    task = triton_gym.Task(
        name="outer", title="Outer product", statement="The outer product of two vectors.",
        entry=triton_gym.Entry("outer", ("a", "b")), reference=torch.outer, inputs=draw_outer,
        flops=lambda case: case["rows"] * case["cols"],
        min_bytes=lambda case: 4 * case["rows"] * case["cols"],
        tiny=(Case("float32", {"rows": 5, "cols": 77}),),
        bench=(Case("float32", {"rows": 40_000, "cols": 60_001}),), spans={"rows": Span(1, 99, 9), "cols": Span(1, 99, 9)},
        reduction=lambda case: 1, starter=OUTER, expert="",
    )  # fmt: skip
    outcome = evaluator.evaluate(task, OUTER, seed=1)
    assert outcome.correct, outcome.message


@pytest.mark.parametrize(
    ("shape", "whole"),
    [((1 << 30,), None)]
    + [(s, w) for s in ((1 << 16, 1 << 16), (64, 256, 256, 256)) for w in (-1, 0, None)],
)
def test_a_reference_is_computed_for_what_lies_together(shape, whole):
    rng, most = random.Random(3), math.prod(shape)
    axes = [False] * len(shape)
    if whole is not None:
        axes[whole] = True
    pieces = [
        np.arange(4096) * (most // 4096),
        np.array(sorted(rng.sample(range(most), 8192))),
        np.concatenate([np.arange(1024) + n * (most // 4) for n in range(4)]),
        np.arange(8192) * shape[-1] % most,
        np.arange(1 << 16) + most // 3,
    ]
    for positions in pieces:
        for chosen in agreement.boxed(positions, shape, tuple(axes), rng):
            index = np.unravel_index(positions[chosen], shape)
            volume = agreement.computed(index, shape, tuple(axes))
            assert 1 <= volume <= agreement.MOST_VALUES


def test_a_store_all_over_the_place_costs_the_judge_little(evaluator):
    outcome = evaluator.evaluate(triton_gym.load("gelu"), SCATTERED, seed=1)
    assert outcome.correct, outcome.message
    wrong = SCATTERED.replace("0.7071067811865476", "0.7")
    outcome = evaluator.evaluate(triton_gym.load("gelu"), wrong, seed=1)
    assert outcome.status is Status.INCORRECT
