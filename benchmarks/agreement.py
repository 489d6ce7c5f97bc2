"""How far the simulated device and a GPU agree on the same answers, a policy's replies.

    python benchmarks/grpo.py examine --work W --stage grpo --only evaluate --device simulated:h200
    python benchmarks/agreement.py --simulated W --measured benchmarks/results/grpo-h200

Both folders hold examinations (examinations.py) of equal names. Compared are the verdicts, and of
answers that both find correct the ranks of times and speedups, and what PyTorch takes.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import record
from examinations import ONCE
from simulator import spearman


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=Path, required=True)
    parser.add_argument("--measured", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=record.RESULTS / "agreement.json")
    options = parser.parse_args()
    pairs = [
        pair
        for file in sorted(options.simulated.glob("examined-*.json"))
        if (options.measured / file.name).is_file()
        for pair in _pairs(file, options.measured / file.name)
    ]
    if not pairs:
        parser.error("the folders have no answers in common")
    found = compare(pairs)
    record.write(options.out, found)
    print(json.dumps(found, indent=1))


def _pairs(simulated: Path, measured: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Task, and what became of an answer here and there."""
    ours, theirs = (json.loads(file.read_text()) for file in (simulated, measured))
    found = []
    for part in ONCE:
        here = {(row["task"], row["try"]): row["turns"][0] for row in ours.get(part) or []}
        for row in theirs.get(part) or []:
            if (row["task"], row["try"]) in here:
                found.append((row["task"], here[row["task"], row["try"]], row["turns"][0]))
    return found


def compare(pairs: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Figures over answers that were evaluated on both."""
    verdicts = [(here["status"], there["status"]) for _, here, there in pairs]
    equal = [(a == "correct") == (b == "correct") for a, b in verdicts]
    right = [
        (task, here, there)
        for task, here, there in pairs
        if here["status"] == there["status"] == "correct"
    ]
    baselines: dict[str, list[float]] = {}
    for task, here, there in right:
        baselines.setdefault(task, []).append(math.log(_baseline(here) / _baseline(there)))
    errors = [statistics.median(some) for some in baselines.values()]
    return {
        "answers": len(pairs),
        "correct or not alike": sum(equal),
        "otherwise": {
            f"{a}, measured {b}": count
            for (a, b), count in Counter(
                verdict for verdict, same in zip(verdicts, equal, strict=True) if not same
            ).items()
        },
        "correct on both": len(right),
        "rank correlation of times": _ranked(right, "runtime_us"),
        "rank correlation of speedups": _ranked(right, "speedup"),
        "tasks": len(errors),
        "baseline, root mean square of the logarithm's error": math.sqrt(
            statistics.fmean(error**2 for error in errors)
        ),
        "mean speedup": [statistics.fmean(one[i]["speedup"] for one in right) for i in (1, 2)],
    }


def _ranked(right: list[tuple[str, dict[str, Any], dict[str, Any]]], name: str) -> float:
    return spearman([here[name] for _, here, _ in right], [there[name] for _, _, there in right])


def _baseline(turn: dict[str, Any]) -> float:
    return float(turn["speedup"] * turn["runtime_us"])


if __name__ == "__main__":
    main()
