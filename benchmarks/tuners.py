"""Agents that learn on other shapes beside searches, on recorded tables: shapes and families unseen.

    python benchmarks/tuners.py --out runs/tuners --seeds 25 --workers 2 --seconds 600
    python benchmarks/tuners.py --out runs/tuners --device recorded:build/tables

Tables with train shapes: agents learn on these, and are tried on the test shapes; tables without
any: on each shape, after learning on the others. Then the test shapes of every task by agents that
learned on the tasks of other families. Kernel Tuner's strategy is the one with the best methodology
score on the train shapes, of `STRATEGIES` (needs kernel-tuner; left out without it, unless the folder
holds the runs already). A folder is gone on with; seeds come one after the other, so that it can be
stopped. Writes `tuners.json`.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import record

from triton_gym.benchmark.running import (
    FAMILY,
    LEAVE_ONE_OUT,
    Settings,
    planned,
    run_all,
    tried_split,
)
from triton_gym.benchmark.summary import summarise
from triton_gym.errors import InvalidOptionError, RunError
from triton_gym.tables.files import table_of, tables
from triton_gym.tables.split import chosen
from triton_gym.tables.table import Table
from triton_gym.tuning.opening import recorded_path

LEARNED = ("trees", "amortised", "pretrained-ppo", "nearest", "average")
SEARCHES = ("evolution", "annealing", "tpe")
SHARED = ("trees", "amortised")
"""Those that learn on other tasks."""
STRATEGIES = (
    "adaptive_tabu_greywolf", "bayes_opt", "diff_evo", "dual_annealing", "firefly_algorithm",
    "genetic_algorithm", "greedy_ils", "greedy_mls", "minimize", "mls", "ordered_greedy_mls", "pso",
    "simulated_annealing",
)  # fmt: skip
"""All of Kernel Tuner 1.5.0 but those for several objectives, those that need more packages
(`skopt`, `pyatf_strategies`), random and exhaustive search, basinhopping (a hundred times slower on
spaces with gaps), and hybrid_vndx (does not end where the budget is nearly the whole space)."""
LEAST_TRAIN = 4
"""Train shapes that are enough to learn on these alone."""
SOME = 2
"""Seeds and shapes of each task that Kernel Tuner's strategy is chosen by."""


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="recorded")
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing more then")
    parser.add_argument("--learned", nargs="*", default=list(LEARNED))
    parser.add_argument("--searches", nargs="*", default=list(SEARCHES))
    parser.add_argument("--tasks", nargs="*", help="only these")
    parser.add_argument("--parts", nargs="*", choices=("test", LEAVE_ONE_OUT, FAMILY))
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    path = recorded_path(options.device)
    every = {name: table_of(name, path) for name in tables(path)}
    found = {n: t for n, t in every.items() if not options.tasks or n in options.tasks}
    learns = {n: t for n, t in found.items() if len(chosen(t, "train")) >= LEAST_TRAIN}
    others = {n: t for n, t in found.items() if n not in learns}
    best, strategies = kernel_tuner(options, learns or others, until)
    searches = [*options.searches, *best]
    told: dict[str, Any] = {}
    shared = [name for name in SHARED if name in options.learned]
    for name, split, given, learned in (
        ("unseen shapes", "test", learns, options.learned),
        ("one shape left out", LEAVE_ONE_OUT, others, options.learned),
        ("unseen family", FAMILY, with_others(found, every), shared),
    ):
        if given and (learned or searches) and split in (options.parts or (split,)):
            told[name] = compared(options, split, given, learned, searches, until)
            record.write(
                options.out / "tuners.json", told, device=options.device, budget=options.budget,
                kernel_tuner=strategies,
            )  # fmt: skip
            show(name, told[name])


def compared(
    options: argparse.Namespace, split: str, given: dict[str, Table], learned: Sequence[str],
    searches: Sequence[str], until: float,
) -> dict[str, Any]:  # fmt: skip
    """Make the runs of a split, as far as there is time, and say what they came to.

    Searches learn nothing before: theirs on a shape are made once for all splits that try it.
    """
    seen = {
        name: table.only(chosen(table, tried_split(split), held_out=True))
        for name, table in given.items()
    }
    cases = {name: len(table.cases) for name, table in seen.items() if table.cases}
    traces: dict[tuple[str, str, int, int], list[float]] = {}
    count = 0
    for agents, part in ((learned, split), (searches, tried_split(split))):
        if not agents:
            continue
        runs = planned(agents, cases, options.seeds)
        settings = Settings(options.device, options.budget, part, "best")
        journal = run_all(runs, settings, options.out / part, workers=options.workers, until=until)
        keys = {run.key for run in runs}
        traces |= {key: trace for key, trace in journal.traces.items() if key in keys}
        count += len(runs)
    return {
        "split": split, "runs": len(traces), "planned": count,
        **(summarise(traces, seen, options.budget) if traces else {"agents": {}}),
        "families": {name: table.card.get("family", "") for name, table in given.items()},
        "train_shapes": {name: len(chosen(table, "train")) for name, table in given.items()},
    }  # fmt: skip


def kernel_tuner(
    options: argparse.Namespace, given: dict[str, Table], until: float
) -> tuple[list[str], dict[str, Any]]:
    """Kernel Tuner's strategy that does best on the train shapes, and what each of them came to.

    A strategy that fails on one of the shapes is not chosen. None is without the package, where the
    folder does not hold its runs.
    """
    split = "train" if all(chosen(table, "train") for table in given.values()) else "all"
    seen = {name: table.only(chosen(table, split)) for name, table in given.items()}
    cases = {name: min(SOME, len(table.cases)) for name, table in seen.items()}
    settings = Settings(options.device, options.budget, split, "best")
    told: dict[str, Any] = {}
    for name in (f"kernel-tuner:{one}" for one in STRATEGIES):
        runs = planned([name], cases, SOME)
        folder = options.out / "strategies"
        try:
            journal = run_all(runs, settings, folder, workers=options.workers, until=until)
        except RunError as error:
            told[name] = {"failed": str(error)}
            continue
        except InvalidOptionError:
            if importlib.util.find_spec("kernel_tuner"):
                raise
            print("kernel-tuner is not installed: its strategies are left out", flush=True)
            return [], {}
        keys = {run.key for run in runs}
        traces = {key: trace for key, trace in journal.traces.items() if key in keys}
        if len(traces) < len(runs):  # there was no time
            return [], told
        found = summarise(traces, seen, options.budget)["agents"][name]
        told[name] = {key: found[key] for key in ("methodology", "evaluations_to_95_interval")}
    able = [name for name, one in told.items() if one.get("methodology") is not None]
    return [max(able, key=lambda name: told[name]["methodology"])] if able else [], told


def with_others(found: dict[str, Table], every: dict[str, Table]) -> dict[str, Table]:
    """Tasks of a family beside which there is another one."""
    families = {table.card.get("family", "") for table in every.values()} - {""}
    return {
        name: table for name, table in found.items()
        if table.card.get("family") and len(families) > 1 and chosen(table, "test")
    }  # fmt: skip


def show(name: str, told: dict[str, Any]) -> None:
    """A line for each agent: medians with their intervals."""
    print(
        f"\n{name}: {told['runs']} of {told['planned']} runs, {len(told.get('shapes', ()))} shapes"
    )
    for agent, one in told["agents"].items():
        first, to, mean = (
            " ".join("–" if value is None else f"{value:.4g}" for value in one[key])
            for key in ("first_guess", "evaluations_to_95_interval", "evaluations_to_95_mean")
        )
        print(
            f"  {agent:<32} first guess {first}, to 95 % {to}, mean {mean}, "
            f"reached {one['reached_95']:.0%}, {one['seeds']} seeds"
        )


if __name__ == "__main__":
    main()
