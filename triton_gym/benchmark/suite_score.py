"""The score of a suite: the mean over its tasks of min(1, best known time / ours).

Best known is the fastest of PyTorch eager, `torch.compile` and the operators of other libraries, as
`benchmarks/suite_score.py` timed them on a GPU. What is kept of a task is the share of eager's time
that it takes: an answer was timed beside eager in a run of its own, so its ratio is its speedup
times that share, and clocks of different days do not mix. A task without a correct answer counts
0; one that was not timed counts by eager.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from triton_gym.device import GPUS
from triton_gym.errors import InvalidOptionError

SHIPPED = Path(__file__).with_name("best_known.json")
"""Shares of the GPUs that were timed."""


@dataclass(frozen=True, slots=True)
class BestKnown:
    """What is known of a GPU."""

    gpu: str
    """Key in `GPUS`; empty if nothing is known of the GPU at hand."""
    shares: Mapping[str, float]
    """Of eager's time, by task; at most 1."""
    told: str = ""
    """Commit, date and versions of the measurement."""

    def share(self, task: str) -> float:
        """The share of a task; 1 where only eager is known."""
        return self.shares.get(task, 1.0)


@dataclass(frozen=True, slots=True)
class SuiteScore:
    """The score of a suite."""

    score: float
    """Each task's ratio capped at 1."""
    uncapped: float
    tasks: int
    answered: int
    """Tasks with a correct answer."""
    by_eager: int
    """Tasks of which only eager's time is known."""


def best_known(hardware: str, path: Path | None = None) -> BestKnown:
    """What is known of a GPU.

    Args:
        hardware: what its driver calls it, or its key in `GPUS`.
        path: a file that `benchmarks/suite_score.py` wrote; the shipped table if there is none.

    Raises:
        InvalidOptionError: the file is none of these, or of another GPU.
    """
    gpu = next((g.name for g in GPUS.values() if re.search(g.match, hardware, re.I)), "")
    if path is None:
        tables: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
        found = tables.get(gpu)
        return BestKnown(gpu, MappingProxyType(found["shares"]), found["told"]) if found else NONE
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        table = compact(given)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidOptionError(
            f"{path} is no table of benchmarks/suite_score.py: {type(error).__name__}: {error}."
        ) from None
    if not gpu or not re.search(GPUS[gpu].match, str(given["gpu"])):
        raise InvalidOptionError(f"{path} is of {given['gpu']}; answers were timed on {hardware}.")
    return BestKnown(gpu, MappingProxyType(table["shares"]), table["told"])


NONE = BestKnown("", MappingProxyType({}))


def compact(report: Mapping[str, Any]) -> dict[str, Any]:
    """The shares of a report of `benchmarks/suite_score.py`, and where they are from."""
    shares = {}
    for row in report["rows"]:
        times = {
            who: one["us"] for who, one in row.get("times", {}).items()
            if who not in ("ours", "starter")
        }  # fmt: skip
        if "eager" in times:
            shares[row["task"]] = round(min(times.values()) / times["eager"], 4)
    versions = report.get("versions", {})
    told = (
        f"{report['gpu']}, torch {versions.get('torch')}, Triton {versions.get('triton')}, "
        f"torch.compile's mode {report.get('mode')}, {str(report['date'])[:10]}, "
        f"{report['commit']}"
    )
    return {"told": told, "shares": dict(sorted(shares.items()))}


def suite_score(
    speedups: Mapping[str, float], tasks: Sequence[str], known: BestKnown
) -> SuiteScore:
    """The score of a suite's tasks.

    Args:
        speedups: of the best correct answer over eager PyTorch, by task; none where there is none.
        tasks: the suite's.
        known: of the GPU that the speedups were timed on.

    Raises:
        InvalidOptionError: there are no tasks.
    """
    if not tasks:
        raise InvalidOptionError("A suite's score needs tasks; there are none.")
    ratios = [speedups.get(task, 0.0) * known.share(task) for task in tasks]
    return SuiteScore(
        score=statistics.fmean(min(1.0, ratio) for ratio in ratios),
        uncapped=statistics.fmean(ratios),
        tasks=len(tasks),
        answered=sum(task in speedups for task in tasks),
        by_eager=sum(task not in known.shares for task in tasks),
    )
