"""A table of made-up times, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np

from triton_gym.outcome import Status
from triton_gym.tables.table import ABSENT, MEASURES, STATUSES, Table
from triton_gym.task import Case

KNOBS = {"BLOCK": (64, 128, 256, 512), "WARPS": (2, 4, 8), "STAGES": (1, 2, 3)}


def made_up(task="softmax", cases=6, seed=0, missing=0.0, failing=0.1, knobs=KNOBS):
    """A smooth time whose best block grows with the case, with failures and gaps."""
    rng = np.random.default_rng(seed)
    sizes = [len(values) for values in knobs.values()]
    choices = np.array(list(itertools.product(*map(range, sizes))), np.int64)
    shapes = [Case("float32", {"rows": 256 << i, "cols": 512 << (i % 3)}) for i in range(cases)]
    moved = np.array([8.0 * case["rows"] * case["cols"] for case in shapes])
    floor = moved / 4.8e6
    best = np.linspace(0, sizes[0] - 1, cases)
    apart = (choices[None, :, 0] - best[:, None]) ** 2 + (choices[:, 1] - 1) ** 2 / 2
    times = (floor[:, None] + 2.0) * (1.1 + 0.2 * apart + 0.05 * choices[:, -1])
    status = np.full(times.shape, STATUSES.index(Status.CORRECT), np.int8)
    status[rng.random(times.shape) < failing] = STATUSES.index(Status.COMPILE_ERROR)
    status[rng.random(times.shape) < missing] = ABSENT
    measures = {name: np.full(times.shape, np.nan) for name in MEASURES}
    measures |= {"runtime_us": times, "runtime_low_us": times * 0.99,
                 "runtime_high_us": times * 1.01}  # fmt: skip
    for name in ("compile_s", "verification_s", "benchmark_s"):
        measures[name] = np.full(times.shape, 0.1)
    return Table(
        task=task, gpu="h200", knobs=knobs, choices=choices, cases=tuple(shapes), status=status,
        measures=measures, baseline_us=2 * floor, floor_us=floor, flops=moved, moved_bytes=moved,
        card={"utc": "2026-01-01T00:00:00+00:00", "made_up": True},
    )  # fmt: skip
