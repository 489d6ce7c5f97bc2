"""What a launch of a configuration comes to: programs, waves, registers, bytes on the way, traffic.

Whatever a task's knobs and sizes are called, its kernel is launched as programs that run in waves
on multiprocessors, and each keeps a tile in registers and others on their way through shared
memory. What is computed here of knobs and shape is in those terms, so that it means the same for
all tasks: a model of one family says something of another. No time is looked at.

Four kinds of kernels are told apart by their knobs: tiles of a product (`BLOCK_M`, `BLOCK_N` and
sizes m, n, k), of attention (the same, and a size `seq`), rows (`BLOCK`, `ROWS`), and blocks of a
flat tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym.device import GPUS
from triton_gym.tables.table import Table

SMS, SHARED = 132, 232_448
"""Multiprocessors and shared memory of a device that is not listed: an H100's."""
BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
THREADS, PROGRAMS, REGISTERS = 2048, 32, 65_536
"""Threads, programs and registers that a multiprocessor holds at most (CUDA C++ programming guide,
technical specifications per compute capability 9.0)."""
OTHER_REGISTERS = 20
"""Of a thread, beside those of its part of the tile."""


@dataclass(frozen=True, slots=True)
class Work:
    """How a kernel divides a shape: numbers of each configuration, (C,)."""

    outer: Any
    """Tiles of the result."""
    inner: Any
    """Steps of the loop of each."""
    kept: Any
    """Elements that a program keeps in registers."""
    staged: Any
    """Elements that a step loads."""
    held: Any
    """Elements that stay in shared memory for all steps."""
    traffic: Any
    """Elements that all programs load and store, caches left aside."""
    padding: Any
    """Work done over work asked for: what the last tiles waste."""
    rows: Any
    """Rows of a tile."""
    depth: Any
    """Elements of a step along its innermost axis."""
    pipelined: bool
    """Whether every step goes through shared memory."""


def launch_features(table: Table, case: int) -> Any:
    """(C, F): each of `launches`, and by how much it is above the shape's median, then bytes of a
    value and log2 of FLOPs per byte.

    Beside what a number is counts what it is beside the alternatives: the same tile is small on
    one shape and large on another.
    """
    told = np.stack(list(launches(table, case).values()), axis=1)
    one = table.cases[case]
    flops, moved = max(float(table.flops[case]), 1.0), max(float(table.moved_bytes[case]), 1.0)
    shape = np.tile([BYTES.get(one.dtype, 4), math.log2(flops / moved)], (len(told), 1))
    return np.concatenate([told, told - np.median(told, axis=0), shape], axis=1)


def launches(table: Table, case: int) -> dict[str, Any]:
    """Numbers of each configuration, (C,); logarithms to base 2 where no other unit is said.

    `registers` of a thread, by its part of the tile; `spilled` above 200 of these; `kept` elements
    and `staged_bytes` of a thread; `warps`; `stages` (count); `shared` (share of what there is,
    above 1 `too_much`, a flag); `resident` programs of a multiprocessor and `resident_warps`;
    `flying` bytes on their way to a multiprocessor (Little's law: the bandwidth asks for enough of
    them); `waves` and how full they are (`full`, a share); `uneven`, the busiest multiprocessor's
    work over the mean; `turns` of a persistent program, `inner` steps and `steps` in all;
    `padding`; `traffic` over minimal bytes; `rows`, over 16 for each warp (`rows_per_warp`), and
    bytes along the innermost axis (`depth`); `persistent` (a flag); `programs` of a multiprocessor.
    """
    one, gpu = table.cases[case], GPUS.get(table.gpu)
    sms = gpu.multiprocessors if gpu else SMS
    room = gpu.shared_bytes if gpu else SHARED
    width = BYTES.get(one.dtype, 4)
    knob = {
        name: np.array([values[row[i]] for row in table.choices], np.float64)
        for i, (name, values) in enumerate(table.knobs.items())
    }
    constant = np.ones(len(table.choices))
    moved = max(float(table.moved_bytes[case]), 1.0)
    work = divided(knob, one.sizes, float(table.flops[case]), moved / width, constant)
    warps = knob.get("NUM_WARPS", 4 * constant)
    stages = knob.get("NUM_STAGES", knob.get("STAGES", constant))
    fixed = knob.get("PROGRAMS", 0 * constant)
    programs = np.where(fixed > 0, np.minimum(fixed, work.outer), work.outer)
    turns = work.outer / programs
    registers = work.kept / (32 * warps) + OTHER_REGISTERS
    stages = np.where(work.pipelined | (work.inner > 1) | (turns > 1), stages, 1.0)
    buffers = np.where(work.pipelined | (stages > 1), stages * work.staged + work.held, 0.0)
    shared = buffers * width
    fits = np.minimum(room / np.maximum(shared, 1024), REGISTERS / (
        np.minimum(registers, 255) * 32 * warps
    ))  # fmt: skip
    resident = np.floor(np.minimum(np.minimum(THREADS / (32 * warps), PROGRAMS), fits))
    resident = np.maximum(resident, 1.0)
    each = programs / sms
    there = np.minimum(resident, np.maximum(each, 1 / sms))
    waves = each / resident
    logs = {
        "registers": registers, "spilled": np.maximum(registers, 200) / 200,
        "kept": work.kept / (32 * warps), "staged_bytes": work.staged * width / (32 * warps),
        "warps": warps, "resident": resident, "resident_warps": there * warps,
        "flying": there * np.where(stages > 1, stages - 0.5, 1.0) * work.staged * width,
        "waves": waves, "uneven": np.ceil(turns) / turns * np.ceil(each) / each, "turns": turns,
        "inner": np.maximum(work.inner, 0.5), "steps": turns * work.inner,
        "padding": work.padding, "traffic": work.traffic * width / moved, "rows": work.rows,
        "rows_per_warp": work.rows / (16 * warps), "depth": work.depth * width, "programs": each,
    }  # fmt: skip
    return {
        **{name: np.log2(values * constant) for name, values in logs.items()},
        "stages": stages, "shared": shared / room, "full": waves / np.ceil(waves),
        "persistent": np.where(fixed > 0, 1.0, 0.0), "too_much": np.where(shared > room, 1.0, 0.0),
    }  # fmt: skip


def divided(
    knob: Mapping[str, Any], sizes: Mapping[str, int], flops: float, elements: float, constant: Any
) -> Work:
    """How configurations divide a shape, by the kind of the kernel.

    Args:
        knob: values of each knob, (C,).
        sizes: the shape's.
        flops: of the shape.
        elements: that it moves at least.
        constant: ones, (C,).
    """
    if "BLOCK_M" in knob and "BLOCK_N" in knob and "seq" in sizes:
        return _attention(knob, sizes, flops)
    if "BLOCK_M" in knob and "BLOCK_N" in knob and {"m", "n", "k"} <= set(sizes):
        return _product(knob, sizes, constant)
    block = constant * 1024
    for name in knob:
        if name.startswith("BLOCK"):
            block = knob[name]
            break
    if {"rows", "cols"} <= set(sizes) and "ROWS" in knob:
        block = np.minimum(block, 2.0 ** math.ceil(math.log2(sizes["cols"])))
        rows, inner = knob["ROWS"], np.ceil(sizes["cols"] / block)
        outer = np.ceil(sizes["rows"] / rows)
        asked = sizes["rows"] * sizes["cols"]
    else:
        rows, inner, asked = constant, constant, math.prod(sizes.values())
        outer = np.ceil(asked / block)
    return Work(
        outer=outer, inner=inner, kept=rows * block, staged=rows * block, held=0 * constant,
        traffic=elements * constant, padding=outer * rows * inner * block / asked, rows=rows,
        depth=block, pipelined=False,
    )  # fmt: skip


def _attention(knob: Mapping[str, Any], sizes: Mapping[str, int], flops: float) -> Work:
    """Queries stay, keys and values pass; of a causal mask half of them, as the FLOPs say."""
    queries, keys = knob["BLOCK_M"], knob["BLOCK_N"]
    seq, width = sizes["seq"], sizes.get("head_dim", 64)
    heads = math.prod(n for name, n in sizes.items() if name not in ("seq", "head_dim"))
    seen = min(1.0, flops / (4.0 * heads * seq * seq * width))
    outer, inner = np.ceil(seq / queries) * heads, np.ceil(seq / keys) * seen
    staged = 2 * keys * width
    return Work(
        outer=outer, inner=inner, kept=queries * (width + keys), staged=staged,
        held=queries * width, traffic=outer * (2 * queries * width + inner * staged),
        padding=outer * queries * np.ceil(seq / keys) * keys / (heads * seq * seq), rows=queries,
        depth=keys, pipelined=True,
    )  # fmt: skip


def _product(knob: Mapping[str, Any], sizes: Mapping[str, int], constant: Any) -> Work:
    """Tiles of the result, and of both factors along k."""
    high, wide, deep = knob["BLOCK_M"], knob["BLOCK_N"], knob.get("BLOCK_K", 32 * constant)
    many = math.prod(n for name, n in sizes.items() if name not in ("m", "n", "k"))
    outer = np.ceil(sizes["m"] / high) * np.ceil(sizes["n"] / wide) * many
    inner, staged = np.ceil(sizes["k"] / deep), (high + wide) * deep
    asked = many * sizes["m"] * sizes["n"] * sizes["k"]
    return Work(
        outer=outer, inner=inner, kept=high * wide, staged=staged, held=0 * constant,
        traffic=outer * (inner * staged + high * wide),
        padding=outer * high * wide * inner * deep / asked, rows=high, depth=deep, pipelined=True,
    )  # fmt: skip
