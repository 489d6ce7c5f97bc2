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

from .launch_features import BYTES, SHARED, SMS, launches

WORST = 1.0
"""Log of the time over the best above which configurations are alike: what costs 2.7 times the best
is not asked for, however much more it costs."""


def features(table: Table, case: int) -> Any:
    """(C, F): a row for each configuration of a table on one of its shapes.

    Of each knob its value's logarithm; of the shape the logarithms of sizes, FLOPs and bytes; and
    of both: tiles along every size and how full the last one is, tiles in all, waves over the
    multiprocessors and how full the last one is, elements of a tile and of a thread, and shared
    memory of the pipelined tiles as a share of what there is; then all of `launches`.
    """
    one, gpu = table.cases[case], GPUS.get(table.gpu)
    sms = gpu.multiprocessors if gpu else SMS
    shared = gpu.shared_bytes if gpu else SHARED
    names = list(table.knobs)
    values = np.array([[v[i] for v, i in zip(table.knobs.values(), row, strict=True)]
                       for row in table.choices], np.float64)  # fmt: skip
    knob = {name: values[:, i] for i, name in enumerate(names)}
    constant = np.ones(len(values))
    columns = [np.log2(np.maximum(column, 0.5)) for column in knob.values()]
    columns += [constant * math.log2(size) for size in one.sizes.values()]
    columns.append(constant * BYTES.get(one.dtype, 4))
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
        stages * _operands(knob, one.sizes, constant) * BYTES.get(one.dtype, 4) / shared,
    ]  # fmt: skip
    return np.stack([*columns, *launches(table, case).values()], axis=1)


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


def times_over_best(table: Table, case: int) -> Any:
    """(C,): log of the time over the shape's least, `WORST` at most and for a failure; NaN where
    nothing was measured.

    A model that need not tell bad from worse tells good from best: learned with it, the first guess
    on an unseen family gained more than by any choice of the model.
    """
    times = table.runtime_us[case]
    right = np.isfinite(times)
    found = np.full(len(times), math.nan)
    found[table.present[case]] = WORST
    found[right] = np.minimum(np.log(times[right] / table.best_us[case]), WORST)
    return found
