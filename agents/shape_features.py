"""What a model may learn a configuration's time from: knobs, shape, and what follows from both.

Everything is computed from the table's own space and the task's sizes; no time is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from triton_gym.device import GPUS
from triton_gym.tables.table import Table

_SMS, _SHARED = 132, 232_448
"""Multiprocessors and shared memory of a device that is not listed: an H100's."""
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def features(table: Table, case: int) -> Any:
    """(C, F): a row for each configuration of a table on one of its shapes.

    Of each knob its value's logarithm; of the shape the logarithms of sizes, FLOPs and bytes; and
    of both: tiles along every size and how full the last one is, tiles in all, waves over the
    multiprocessors and how full the last one is, elements of a tile and of a thread, and shared
    memory of the pipelined tiles as a share of what there is.
    """
    one, gpu = table.cases[case], GPUS.get(table.gpu)
    sms = gpu.multiprocessors if gpu else _SMS
    shared = gpu.shared_bytes if gpu else _SHARED
    names = list(table.knobs)
    values = np.array([[v[i] for v, i in zip(table.knobs.values(), row, strict=True)]
                       for row in table.choices], np.float64)  # fmt: skip
    knob = {name: values[:, i] for i, name in enumerate(names)}
    constant = np.ones(len(values))
    columns = [np.log2(np.maximum(column, 0.5)) for column in knob.values()]
    columns += [constant * math.log2(size) for size in one.sizes.values()]
    columns.append(constant * _BYTES.get(one.dtype, 4))
    columns += [constant * math.log(max(float(x), 1.0)) for x in
                (table.flops[case], table.moved_bytes[case])]  # fmt: skip
    tiles, elements = constant.copy(), constant.copy()
    for name, size in paired(names, one.sizes).items():
        count = np.ceil(size / knob[name])
        columns += [np.log2(count), size / (count * knob[name])]
        elements = elements * knob[name]
        if name != "BLOCK_K":
            tiles = tiles * count
    others = math.prod(s for n, s in one.sizes.items() if n in ("batch", "heads", "kv_heads"))
    waves = tiles * others / sms
    threads = 32 * knob.get("NUM_WARPS", 4 * constant)
    stages = knob.get("NUM_STAGES", knob.get("STAGES", constant))
    columns += [
        np.log2(waves), waves / np.ceil(waves), np.log2(elements), np.log2(elements / threads),
        stages * _operands(knob, one.sizes, constant) * _BYTES.get(one.dtype, 4) / shared,
    ]  # fmt: skip
    return np.stack(columns, axis=1)


def shared_features(table: Table, case: int) -> Any:
    """(C, F): what configurations of all tasks have, whatever their knobs and sizes are called.

    Logarithms to base 2 of FLOPs, bytes, and FLOPs per byte of the shape; of elements of a tile,
    its aspect, elements and bytes of a tile for each thread, warps, pipeline stages, tiles,
    programs (those of a persistent kernel), waves over the multiprocessors, and how often the
    innermost tile fits its size; how full the last wave and the innermost tile are; shared memory
    of the pipelined tiles as a share of what there is; and flags of a persistent and of a tiled
    kernel.
    """
    one, gpu = table.cases[case], GPUS.get(table.gpu)
    sms = gpu.multiprocessors if gpu else _SMS
    shared = gpu.shared_bytes if gpu else _SHARED
    names = list(table.knobs)
    knob = {
        name: np.array([values[row[i]] for row in table.choices], np.float64)
        for i, (name, values) in enumerate(table.knobs.items())
    }
    constant = np.ones(len(table.choices))
    width = _BYTES.get(one.dtype, 4)
    flops, moved = max(float(table.flops[case]), 1.0), max(float(table.moved_bytes[case]), 1.0)
    tiles, elements, fits, full = constant.copy(), constant.copy(), constant.copy(), constant.copy()
    for name, size in paired(names, one.sizes).items():
        count = np.ceil(size / knob[name])
        if name != "BLOCK_K":
            elements = elements * np.minimum(knob[name], 2.0 ** math.ceil(math.log2(size)))
            tiles = tiles * count
        fits, full = count, size / (count * knob[name])
    tiles = tiles * math.prod(
        s for n, s in one.sizes.items() if n in ("batch", "heads", "kv_heads", "group")
    )
    warps = knob.get("NUM_WARPS", 4 * constant)
    stages = knob.get("NUM_STAGES", knob.get("STAGES", constant))
    persistent = np.where(knob.get("PROGRAMS", 0 * constant) > 0, 1.0, 0.0)
    programs = np.where(persistent > 0, knob.get("PROGRAMS", constant), tiles)
    programs = np.minimum(np.maximum(programs, 1.0), tiles)
    waves = programs / sms
    aspect = knob.get("BLOCK_M", knob.get("ROWS", constant)) / knob.get(
        "BLOCK_N", knob.get("BLOCK", constant)
    )
    logs = [
        constant * flops, constant * moved, constant * flops / moved, elements, aspect,
        elements / (32 * warps), elements * width / (32 * warps), warps, stages, tiles, programs,
        waves, fits,
    ]  # fmt: skip
    return np.stack(
        [
            *(np.log2(column) for column in logs), constant * width, waves / np.ceil(waves), full,
            stages * _operands(knob, one.sizes, constant) * width / shared, persistent,
            constant * ("BLOCK_M" in knob),
        ],
        axis=1,
    )  # fmt: skip


def paired(names: list[str], sizes: Mapping[str, int]) -> dict[str, int]:
    """The knobs that cut a size into tiles, each with that size."""
    found: dict[str, int] = {}
    last = list(sizes.values())[-1]
    for name in names:
        axis = name.removeprefix("BLOCK_").lower()
        if axis in sizes:
            found[name] = sizes[axis]
        elif name == "BLOCK":
            found[name] = sizes.get("cols", last)
        elif name in ("BLOCK_M", "BLOCK_N") and "seq" in sizes:
            found[name] = sizes["seq"]
        elif name == "ROWS" and "rows" in sizes:
            found[name] = sizes["rows"]
    return found


def _operands(knob: Mapping[str, Any], sizes: Mapping[str, int], constant: Any) -> Any:
    """Elements of the tiles that one pipeline stage holds."""
    if "BLOCK_M" in knob and "BLOCK_N" in knob:
        inner = knob.get("BLOCK_K", constant * sizes.get("head_dim", 1))
        return inner * (knob["BLOCK_M"] + knob["BLOCK_N"])
    return knob.get("BLOCK", constant) * knob.get("ROWS", constant)


def relative_times(table: Table, case: int) -> Any:
    """(C,): log of the time over the median of the shape's; NaN where nothing was measured, and of
    a failure as much as the slowest, twice."""
    times = table.runtime_us[case]
    right = np.isfinite(times)
    found = np.full(len(times), math.nan)
    if right.any():
        found[right] = np.log(times[right] / np.median(times[right]))
        found[table.present[case] & ~right] = found[right].max() + math.log(2.0)
    return found
