"""Hold the simulated device's times against measured ones, family by family; fit its constants.

    python benchmarks/simulator.py --corpus benchmarks/results/corpus-h200.json \\
        --sweeps benchmarks/results/sweep-h200-third.json --out benchmarks/results/simulator-h200.json
    python benchmarks/simulator.py --corpus benchmarks/results/corpus-h200.json --fit

Every measured answer is recorded, compiled and traced as the simulated device does it
(`following.py`), once: the records are kept in a folder. Constants are fitted on families of the
corpus that are marked so, and printed for `constants.py`, and so are the weights of intervals
(`calibrating.py`), for `confidence.py`; the others only judge. Of each family
are told: median and 90th percentile of the error, the median of modelled over measured, rank
correlation within a task and regret of the configuration ranked first, both as a median over
tasks and for the worst, regret of the best of the tenth ranked first, the share of measured times
that lie in the model's 90% intervals, and how wide those are.

Triton should be the one that the answers were measured with (3.6 for the files here): another
version's compiler makes other machine code, which would really take other times. Sweeps are of the
catalogue's experts, in the folder that `--experts` names as they were measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path

import calibrating
import fitting
import following
import record
import scoring
from following import Row

from triton_gym.device import Gpu, gpu_named
from triton_gym.evaluation.simulate.time_model.constants import CONSTANTS, Constants

ROOT = Path(__file__).resolve().parent.parent


def pairs(rows: list[Row], gpu: Gpu, constants: Constants) -> list[scoring.Pair]:
    """Measured and modelled times."""
    found = []
    for row in rows:
        job, estimate = row.job, row.estimate(gpu, constants)
        found.append(
            scoring.Pair(
                job.family, job.ranked, job.name, job.measured_us,
                (job.high_us - job.low_us) / 2 / job.measured_us, estimate.us, estimate.low_us,
                estimate.high_us,
            )
        )  # fmt: skip
    return found


def report(rows: list[Row], found: list[scoring.Pair]) -> dict[str, list[scoring.FamilyScore]]:
    """Scores of all families, apart by whether they may be fitted to."""
    scores: dict[str, list[scoring.FamilyScore]] = {}
    for title, fitted in (("fitted", True), ("never fitted", False)):
        mine = [p for row, p in zip(rows, found, strict=True) if row.job.fitted is fitted]
        names = dict.fromkeys(p.family for p in mine)
        if not mine:
            continue
        scores[title] = [
            scoring.family_score(name, [p for p in mine if p.family == name]) for name in names
        ]
        scores[title].append(scoring.family_score(f"all {title}", mine))
        print("\n" + scoring.HEADINGS)
        for one in scores[title]:
            print(scoring.line(one))
    return scores


def show(found: list[scoring.Pair]) -> None:
    """Every answer, the worst first."""
    for p in sorted(found, key=lambda p: -p.error):
        print(f"{p.modelled_us / p.measured_us:6.2f} {p.modelled_us:9.1f} {p.measured_us:9.1f} "
              f"±{p.noise:4.0%} [{p.low_us:.1f}, {p.high_us:.1f}] {p.family}: {p.name}")  # fmt: skip


def main() -> None:
    """Follow, fit if asked, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="JSON of benchmarks/corpus_measure.py")
    parser.add_argument("--sweeps", type=Path, nargs="+", default=[],
                        help="JSON files of benchmarks/sweep.py")  # fmt: skip
    parser.add_argument("--suites", type=Path, nargs="+", default=[],
                        help="JSON files of benchmarks/suite_score.py")  # fmt: skip
    parser.add_argument("--tables", nargs="+", default=[], metavar="SPLIT",
                        help="shapes of the recorded tables, as `test`, `train`")  # fmt: skip
    parser.add_argument("--configurations", type=int, default=12, help="of each such shape")
    parser.add_argument("--shapes", type=int, default=10**6, help="such shapes of each task")
    parser.add_argument("--experts", type=Path, default=ROOT / "envs", help="sources of the sweeps")
    parser.add_argument("--gpu", default="h200", help="key of the GPU that was measured")
    parser.add_argument("--cache", type=Path,
                        default=Path(tempfile.gettempdir()) / "triton-gym-simulator")  # fmt: skip
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1e6, help="for following, at most")
    parser.add_argument("--fit", action="store_true", help="fit constants, and print them")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--calibrate", type=float, metavar="QUANTILE",
                        help="print the weights of intervals that hold so many fitted errors")  # fmt: skip
    parser.add_argument("--show", action="store_true", help="print every answer")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    jobs = following.read_corpus(args.corpus) if args.corpus else []
    for sweep in args.sweeps:
        jobs += following.read_sweep(sweep, args.experts, fitted=False)
    for suite in args.suites:
        jobs += following.read_suite(suite)
    for split in args.tables:
        jobs += following.read_tables(split, args.configurations, args.shapes)
    if not jobs:
        parser.error("name the JSON of the corpus, of sweeps, or tables")
    following.collect(jobs, args.gpu, args.cache, args.workers, args.seconds)
    rows, failures = following.load(jobs, args.gpu, args.cache)
    print(f"{len(rows)} records, {len(failures)} missing or failed")
    for failure in failures[:10]:
        print("   ", failure)
    gpu, constants = gpu_named(args.gpu), CONSTANTS
    if args.fit:
        fitted = [row for row in rows if row.job.fitted]
        constants = fitting.fit(fitted, gpu, constants, args.steps)
        for name in fitting.BOUNDS:
            print(f"    {name}: float = {getattr(constants, name):.4g}")
    if args.calibrate:
        fitted = [row for row in rows if row.job.fitted]
        weights = calibrating.calibrate(fitted, gpu, constants, args.calibrate)
        print("    " + ", ".join(f'"{name}": {weight:.2f}' for name, weight in weights.items()))
    found = pairs(rows, gpu, constants)
    scores = report(rows, found)
    if args.show:
        show(found)
    if args.out:
        record.write(
            args.out,
            [
                {"family": p.family, "task": p.task, "name": p.name, "fitted": row.job.fitted,
                 "measured_us": round(p.measured_us, 2),
                 "modelled_us": round(p.modelled_us, 2), "low_us": round(p.low_us, 2),
                 "high_us": round(p.high_us, 2)}
                for row, p in zip(rows, found, strict=True)
            ],
            constants=dataclasses.asdict(constants),
            scores={
                title: [dataclasses.asdict(s) for s in listed] for title, listed in scores.items()
            },
            failures=failures,
        )  # fmt: skip


if __name__ == "__main__":
    main()
