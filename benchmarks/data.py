"""Examples a minute: builds a data set within a time limit.

    python benchmarks/data.py --graphs 1200 --test-graphs 120 --seconds 420 --out runs/data

Needs no network. Called again it goes on with what is missing. Without a time limit the same
settings on the simulated device give the same data set, whatever the number of workers.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import record

from triton_gym.agents.data import DataConfig, Progress, build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = DataConfig()
    parser.add_argument("--graphs", type=int, default=1200)
    parser.add_argument("--test-graphs", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=420.0)
    parser.add_argument("--device", default=defaults.device)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--difficulty", default=defaults.difficulty)
    parser.add_argument("--answers", type=int, default=defaults.answers)
    parser.add_argument("--repairs", type=int, default=defaults.repairs)
    parser.add_argument("--speedups", type=int, default=defaults.speedups)
    parser.add_argument("--out", default=defaults.out)
    parser.add_argument("--format", default=defaults.format)
    parser.add_argument("--results", type=Path, default=record.RESULTS / "data.json")
    given = vars(parser.parse_args())
    results: Path = given.pop("results")
    config = DataConfig(**given)
    told = [time.monotonic()]

    def tell(progress: Progress) -> None:
        if time.monotonic() - told[0] > 10 or progress.done == progress.total:
            told[0] = time.monotonic()
            rate = 60 * progress.evaluations / max(progress.seconds, 1e-9)
            print(
                f"{progress.seconds:6.0f} s  {progress.split}: {progress.done} of "
                f"{progress.total} tasks, {progress.examples} examples, {rate:.0f} evaluations/min",
                flush=True,
            )

    stats = build(config, tell)
    made = sum(stats[split]["examples"] for split in ("train", "test"))
    stats["examples_a_minute"] = 60 * made / stats["seconds"]
    stats["evaluations_a_minute"] = 60 * stats["evaluations"] / stats["seconds"]
    record.write(results, stats, device=config.device, workers=config.workers or os.cpu_count())
    print({k: v for k, v in stats.items() if k not in ("train", "test")})
    print(stats["train"])


if __name__ == "__main__":
    main()
