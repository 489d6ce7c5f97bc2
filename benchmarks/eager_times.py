"""References whose times on an H200 are known: PyTorch's, eager and compiled.

Of the corpus and of the catalogue they were timed beside answers (corpus-h200.json,
suites-*-h200.json); composed ones are written out in references-h200.json, operators alone at other
sizes in operators-h200.json (`benchmarks/eager_measure.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
import torch
from torch.nn import functional

import triton_gym
from triton_gym.task import Case, Entry, Task

RESULTS = Path(__file__).with_name("results")
SUITES = ("suites-core-h200.json", "suites-mlperf-h200.json")
WRITTEN = ("references-h200.json", "operators-h200.json")


@dataclass(frozen=True, slots=True)
class Timed:
    """A reference with its measured times."""

    family: str
    name: str
    task: Task
    eager_us: float
    compile_us: float = math.nan


def timed() -> Iterator[Timed]:
    """All of them."""
    yield from _of_corpus()
    for name in SUITES:
        for row in json.loads((RESULTS / name).read_text())["rows"]:
            times = {kind: one["us"] for kind, one in row["times"].items()}
            if "eager" in times:
                yield Timed("catalogue", row["task"], triton_gym.load(row["task"]),
                            times["eager"], times.get("compile", math.nan))  # fmt: skip
    for name in WRITTEN:
        if (RESULTS / name).exists():
            for row in json.loads((RESULTS / name).read_text())["rows"]:
                if "eager_us" in row:
                    yield Timed(row["family"], row["name"], written(row), row["eager_us"],
                                row.get("compile_us", math.nan))  # fmt: skip


def _of_corpus() -> Iterator[Timed]:
    measured: dict[str, list[float]] = {}
    for row in json.loads((RESULTS / "corpus-h200.json").read_text())["rows"]:
        found = [c["baseline_us"] for c in row["configurations"] if "baseline_us" in c]
        measured.setdefault(row["task"], []).extend(found)
    for family in corpus.FAMILIES:
        for kernel in family.kernels:
            times = measured.pop(kernel.task.name, [])
            if times:
                yield Timed(family.name, kernel.task.name, kernel.task, statistics.median(times))


def written(row: dict[str, Any]) -> Task:
    """A task of a reference that is written out, with the shapes of its arguments.

    Their dtype is the row's, unless a shape has one before it: `["int64", 4096, 16]`. Integers are
    below 2 to the power of 31, or below what follows their dtype after a colon.
    """
    names: dict[str, Any] = {"torch": torch, "F": functional}
    exec(row["reference"], names)
    function = names[re.findall(r"^def (\w+)", row["reference"], re.M)[-1]]
    case = Case(row["dtype"], {"n": 1})
    base = triton_gym.load("softmax")
    return dataclasses.replace(
        base, name=row["name"], reference=function, bench=(case,), tiny=(case,), spans={},
        inputs=functools.partial(_drawn, row["arguments"], row["dtype"]),
        drawn=lambda rng, small: case,
        entry=Entry(function.__name__, tuple(row["arguments"])),
    )  # fmt: skip


def _drawn(arguments: dict[str, list[Any]], dtype: str, case: Case, generator: Any) -> Any:
    """Normal values, or integers."""
    found = []
    for shape in arguments.values():
        kind = dtype
        if shape and isinstance(shape[0], str):
            kind, shape = shape[0], shape[1:]
        kind, _, most = kind.partition(":")
        wanted = getattr(torch, kind)
        device = generator.device
        if wanted.is_floating_point:
            value = torch.randn(shape, generator=generator, device=device).to(wanted)
        else:
            high = int(most or 2 if wanted is torch.bool else most or 1 << 31)
            value = torch.randint(0, high, shape, generator=generator, device=device).to(wanted)
        found.append(value)
    return tuple(found)
