"""Kernels that decide by what other kernels of the answer have computed."""

from __future__ import annotations

import dataclasses

import pytest

import triton_gym
from triton_gym import Case, Status

LENGTHS = """
import torch
import triton
import triton.language as tl


@triton.jit
def lengths_kernel(x_ptr, lengths_ptr, rows, cols, PROGRAMS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    tl.store(lengths_ptr + row, tl.cdiv(cols, BLOCK) + 0 * row, mask=row < rows)


@triton.jit
def counts_kernel(x_ptr, lengths_ptr, rows, cols, PROGRAMS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    for _ in range(tl.cdiv(cols, BLOCK)):
        tl.atomic_add(lengths_ptr + row, 1)


@triton.jit
def sums_kernel(x_ptr, lengths_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    for block in range(tl.load(lengths_ptr + row)):
        col = block * BLOCK + tl.arange(0, BLOCK)
        total += tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0).to(tl.float32)
    tl.store(y_ptr + row, tl.sum(total, 0).to(y_ptr.dtype.element_ty))


def sum_rows(x):
    rows, cols = x.shape
    lengths = torch.zeros(rows, device=x.device, dtype=torch.int32)
    y = torch.empty(rows, device=x.device, dtype=x.dtype)
    lengths_kernel[(triton.cdiv(rows, 1024),)](x, lengths, rows, cols, 1, BLOCK=2048)
    sums_kernel[(rows,)](x, lengths, y, cols, BLOCK=2048)
    return y
"""
COUNTS = LENGTHS.replace("lengths_kernel[(triton.cdiv(rows, 1024),)]", "counts_kernel[(rows,)]")
IDLE = LENGTHS.replace("tl.cdiv(cols, BLOCK) + 0 * row,", "tl.where(rows > 4096, 1, 64) + 0 * row,")
"""Wrong where there are many rows: one block of each is added up."""


def test_what_decides_is_computed_at_full_size(evaluator):
    task = triton_gym.load("sum_rows")
    outcome = evaluator.evaluate(task, LENGTHS)
    assert outcome.correct, outcome.message
    assert "erified" not in outcome.message
    plain = evaluator.evaluate(task, task.starter)
    assert outcome.runtime_us < 2 * plain.runtime_us


def test_who_decides_for_too_little_work_is_found_out(evaluator):
    outcome = evaluator.evaluate(triton_gym.load("sum_rows"), IDLE)
    assert outcome.status in (Status.INCORRECT, Status.CHEATING), outcome.message


def test_what_takes_too_long_to_compute_is_no_accusation(evaluator):
    outcome = evaluator.evaluate(triton_gym.load("sum_rows"), COUNTS)
    assert outcome.correct, outcome.message
    assert "not credited" in outcome.message
    assert outcome.speedup <= 0.5
    assert outcome.runtime_high_us > 2 * outcome.runtime_us


@pytest.mark.gpu
@pytest.mark.parametrize("source", [LENGTHS, COUNTS])
def test_a_gpu_runs_them(source, gpu_evaluator):
    outcome = gpu_evaluator.evaluate(triton_gym.load("sum_rows"), source)
    assert outcome.correct, outcome.message


def test_results_of_several_ranks_are_verified_through_all_that_they_depend_on(evaluator):
    task = triton_gym.load("rms_norm_backward")
    small = dataclasses.replace(task, bench=(Case("bfloat16", {"rows": 700, "cols": 520}),))
    outcome = evaluator.evaluate(small, task.expert)
    assert outcome.correct, outcome.message
    assert "erified" not in outcome.message
    wrong = task.expert.replace("start + depth < count", "start + depth < count - 1")
    outcome = evaluator.evaluate(small, wrong)
    assert outcome.status is Status.INCORRECT, outcome.message
