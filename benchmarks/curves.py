"""Draw the training curves of a report by benchmarks/grpo.py. Needs matplotlib.

    python benchmarks/curves.py benchmarks/results/grpo-falling-h200.json docs/grpo.png
    python benchmarks/curves.py benchmarks/results/grpo-h200.json docs/rewards.png --runs grpo_

A run's seeds share a colour: each is a thin line, their mean a thick one. Dots are examinations on
held-out tasks, the same ones each time.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PANELS = {
    "correct": "correct in one try",
    "speedup": "mean speedup of correct replies",
    "share/cheating": "share of cheating",
    "entropy": "entropy of the policy (nats)",
}
WINDOW = 5
"""Steps that a point is the mean of."""
LEAST_TOP = 0.05
"""Of a share's axis, so that single replies do not look like many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--runs", default="grpo", help="beginning of the names of the runs to draw")
    options = parser.parse_args()
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for name, lines in json.loads(options.report.read_text())["curves"].items():
        run, _ = re.fullmatch(r"(.+)-(\d+)", name).groups()  # type: ignore[union-attr]
        if run.startswith(options.runs):
            found.setdefault(run, []).append(lines)
    if not found:
        parser.error(f"{options.report} has no run whose name begins with {options.runs!r}")
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for index, (run, seeds) in enumerate(sorted(found.items())):
            curves = [smooth(lines, metric) for lines in seeds]
            for lines, curve in zip(seeds, curves, strict=True):
                axes.plot(*zip(*curve.items(), strict=True), color=f"C{index}", lw=0.7, alpha=0.5)
                for point in points(lines, f"held_out/{metric}"):
                    axes.plot(*point, color=f"C{index}", marker="o", ms=4)
            axes.plot(*zip(*mean(curves).items(), strict=True), color=f"C{index}", lw=2, label=run)
        axes.set(title=title, xlabel="step", ylim=(0, None))
        if metric.startswith("share/"):
            axes.set_ylim(0, max(LEAST_TOP, axes.get_ylim()[1]))
    axes.legend()
    figure.savefig(options.picture, dpi=120)


def points(lines: Sequence[dict[str, Any]], metric: str) -> list[tuple[int, float]]:
    """Steps at which a metric is known, and its values."""
    return [(int(x["step"]), float(x[metric])) for x in lines if _number(x.get(metric))]


def smooth(lines: Sequence[dict[str, Any]], metric: str) -> dict[int, float]:
    """The mean of a metric over the last steps, by step; steps that have none are left out."""
    had = points(lines, metric)
    return {
        step: statistics.fmean(value for _, value in had[max(0, i + 1 - WINDOW) : i + 1])
        for i, (step, _) in enumerate(had)
    }


def mean(curves: Sequence[dict[int, float]]) -> dict[int, float]:
    """The mean of curves at the steps that all of them have."""
    common = sorted(set.intersection(*(set(curve) for curve in curves)))
    return {step: statistics.fmean(curve[step] for curve in curves) for step in common}


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


if __name__ == "__main__":
    main()
