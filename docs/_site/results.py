"""Times of the catalogue's answers, as the benchmarks wrote them down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Time:
    """One answer's time at one case."""

    task: str
    case: str
    answer: str
    """`starter`, `expert`, `PyTorch eager`, …"""
    device: str
    us: float
    low_us: float
    high_us: float
    commit: str
    file: str
    simulated: bool


def times() -> dict[str, list[Time]]:
    """All times by task, measured ones first, each as its newest file has it."""
    found: dict[tuple[str, str, str, str], Time] = {}
    scored = (f"suites-{suite}-*.json" for suite in ("core", "mlperf", "spec", "backward"))
    files = [path for name in ("catalogue-*.json", *scored) for path in RESULTS.glob(name)]
    for path in sorted(files, key=lambda path: (json.loads(path.read_text())["date"], path.name)):
        written = json.loads(path.read_text(encoding="utf-8"))
        for time in (*_of_catalogue(written, path), *_of_suite(written, path)):
            found[time.task, time.case, time.answer, time.device] = time
    by_task: dict[str, list[Time]] = {}
    for time in sorted(found.values(), key=lambda time: (time.simulated, time.device, time.us)):
        by_task.setdefault(time.task, []).append(time)
    return by_task


def _of_catalogue(written: dict[str, Any], path: Path) -> Iterator[Time]:
    """Rows of `benchmarks/catalogue.py`: an outcome for each answer and baseline."""
    for row in written["rows"]:
        if row.get("status") != "correct" or row["runtime_us"] is None:
            continue
        about = _about(row, written, path)
        if row["baseline"] == "eager":
            yield Time(
                answer=row["answer"], us=row["runtime_us"], low_us=row["runtime_low_us"],
                high_us=row["runtime_high_us"], **about,
            )  # fmt: skip
        if row["answer"] == "expert" and row["baseline_us"]:
            name = {"eager": "PyTorch eager", "compile": "torch.compile"}[row["baseline"]]
            us = row["baseline_us"]
            yield Time(answer=name, us=us, low_us=us, high_us=us, **about)


def _of_suite(written: dict[str, Any], path: Path) -> Iterator[Time]:
    """Rows of `benchmarks/suite_score.py`: the times of all candidates."""
    names = {"ours": "expert", "eager": "PyTorch eager", "compile": "torch.compile"}
    for row in written["rows"]:
        for who, time in row.get("times", {}).items():
            low, high = time.get("low_us", time["us"]), time.get("high_us", time["us"])
            yield Time(
                answer=names.get(who, who), us=time["us"], low_us=low, high_us=high,
                **_about(row, written, path),
            )  # fmt: skip


def _about(row: dict[str, Any], written: dict[str, Any], path: Path) -> dict[str, Any]:
    gpu = written["gpu"].partition(",")[0]
    return {
        "task": row["task"], "case": row["case"], "device": gpu or "simulated H100",
        "commit": row.get("commit", written["commit"])[:7], "file": path.name, "simulated": not gpu,
    }  # fmt: skip
