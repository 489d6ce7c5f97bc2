"""The three stages on a GPU: data, fine-tuning, reinforcement learning, and what each is worth.

    python benchmarks/grpo.py data --out /tmp/grpo/data                       # no GPU needed
    python benchmarks/grpo.py train --data DATA --work /tmp/grpo --seed 0 --budget 540
    python benchmarks/grpo.py examine --work /tmp/grpo --stage grpo --seed 0 --data DATA
    python benchmarks/grpo.py report --work benchmarks/results/grpo-falling-h200 \
        --also benchmarks/results/grpo-h200 --out benchmarks/results/grpo-falling-h200.json

`grpo.sh` does all of it for some seeds. `report` reads examinations and the runs' folders, whose
checkpoints it does not need. What docs/grpo.md tells of is in `benchmarks/results/grpo-*/`. Runs
that differ from `configs/grpo.toml` have names of their own, and their curves stand beside it:

    python benchmarks/grpo.py train … --run grpo_roofline --grpo rollout.reward=roofline

`train` stops by itself after `--budget` seconds with its work saved, and goes on when it is called
again; so does `examine` (examinations.py). Speed is measured by benchmarks/grpo_speed.py.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import record
from examinations import ONCE, difference, examine, files, pooled, summary

from triton_gym.agents.data import DataConfig, build
from triton_gym.agents.grpo import trainer as grpo_trainer
from triton_gym.agents.grpo.settings import GRPOSettings
from triton_gym.agents.sft import trainer as sft_trainer
from triton_gym.agents.sft.settings import SFTSettings
from triton_gym.agents.training.journal import read_lines
from triton_gym.agents.training.settings import read_settings

CONFIGS = Path(__file__).with_name("configs")
Pair = tuple[dict[str, Any], dict[str, Any]]
"""Two examinations: after reinforcement, and before."""


def data(options: argparse.Namespace) -> None:
    """Build the examples; on the simulated device unless told otherwise."""
    config = DataConfig(
        out=str(options.out), graphs=options.graphs, test_graphs=options.test_graphs,
        device=options.device, seconds=options.budget,
    )  # fmt: skip
    print(json.dumps(build(config), indent=1)[:2000])


def train(options: argparse.Namespace) -> None:
    """Fine-tune, then reinforce; each goes on from its last checkpoint."""
    if options.budget:
        timer = threading.Timer(options.budget, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    started = time.monotonic()
    work, seed = Path(options.work), options.seed
    tuned = work / f"sft-{seed}.done"
    if not tuned.is_file():
        settings = read_settings(
            SFTSettings, CONFIGS / "sft.toml",
            [f"policy.model={options.model}",
             f"examples.train={','.join(map(str, files(options, 'train')))}",
             f"examples.test={files(options, 'test')[0]}", f"run.out={work}/sft-{seed}",
             f"run.seed={seed}", *options.sft],
        )  # fmt: skip
        with sft_trainer.Trainer(settings, watch=_say("sft")) as sft:
            if sft.train() < sft.steps:
                print("sft goes on with the next call")
                return
        tuned.touch()
    if options.until == "sft" or (
        options.budget and time.monotonic() - started > options.budget - 30
    ):
        print("sft is done")
        return
    later = read_settings(
        GRPOSettings, CONFIGS / "grpo.toml",
        [f"policy.model={work}/sft-{seed}", f"run.out={work}/{options.run}-{seed}", f"run.seed={seed}",
         f"rollout.device={options.device}", *options.grpo],
    )  # fmt: skip
    with grpo_trainer.Trainer(later, watch=_say(options.run)) as grpo:
        done = grpo.train()
    print("grpo is done" if done >= later.run.steps else "grpo goes on with the next call")


def _say(stage: str) -> Any:
    names = ("loss", "accuracy", "held_out/loss", "reward", "correct", "speedup", "share/cheating",
             "groups/used", "entropy", "evaluations", "seconds/sampling", "seconds/waiting",
             "seconds/training", "seconds/step", "tokens/second")  # fmt: skip

    def say(step: int, metrics: dict[str, float]) -> None:
        if stage != "sft" or step % 20 == 0 or "held_out/loss" in metrics:
            shown = {n: round(metrics[n], 4) for n in names if n in metrics}
            print(stage, step, shown, flush=True)

    return say


def report(options: argparse.Namespace) -> None:
    """Everything that was measured, with intervals over tasks, and the curves of training.

    Differences from fine-tuning are those of each seed, of each run's seeds together, and of all
    seeds, also of the folders `--also`.
    """
    work = Path(options.work)
    known = _examined(work)
    stages: dict[str, list[dict[str, Any]]] = {}
    for name, one in known.items():
        stages.setdefault(name.rpartition("-")[0], []).append(one)
    rows = {
        name: summary(one)
        for name, one in (known | {stage: pooled(some) for stage, some in stages.items()}).items()
    }
    compared: dict[str, list[Pair]] = {}
    for name, pair in _pairs(known):
        for title in (name, name.rpartition("-")[0], "all"):
            compared.setdefault(f"{title} less sft", []).append(pair)
    for folder in options.also:
        compared.setdefault("all less sft", []).extend(p for _, p in _pairs(_examined(folder)))
    differences = {
        title: difference(*(pooled(list(side)) for side in zip(*pairs, strict=True)))
        for title, pairs in compared.items()
    }
    runs = [folder for folder in sorted(work.iterdir()) if (folder / "metrics.jsonl").is_file()]
    record.write(
        Path(options.out), rows, differences=differences,
        measured={name: one.get("measured") for name, one in known.items()},
        curves={run.name: _thinned(read_lines(run / "metrics.jsonl")) for run in runs},
        configs={run.name: json.loads((run / "config.json").read_text()) for run in runs},
        machines={run.name: json.loads((run / "machine.json").read_text()) for run in runs},
    )  # fmt: skip
    for name, found in rows.items():
        total = found["composed"]["total"] if "composed" in found else {}
        print(
            name,
            {k: total[k]["value"] for k in ("correct@1", "fast_1", "mean_speedup") if k in total},
        )
    print(json.dumps(differences, indent=1))


def _examined(work: Path) -> dict[str, dict[str, Any]]:
    """What `examine` wrote, by stage and seed."""
    return {
        file.stem.removeprefix("examined-"): json.loads(file.read_text())
        for file in sorted(work.glob("examined-*.json"))
    }


def _pairs(known: dict[str, dict[str, Any]]) -> list[tuple[str, Pair]]:
    """Reinforced policies by name, each with the fine-tuned one that it came from."""
    found = []
    for name, one in known.items():
        stage, _, seed = name.rpartition("-")
        if stage not in ("base", "sft") and f"sft-{seed}" in known:
            found.append((name, (one, known[f"sft-{seed}"])))
    return found


def _thinned(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fine-tuning has hundreds of steps that are much alike."""
    every = max(1, len(lines) // 100)
    return [line for line in lines if line["step"] % every == 0 or "held_out/loss" in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    for verb in (data, train, examine, report):
        sub = verbs.add_parser(verb.__name__, help=(verb.__doc__ or "").splitlines()[0])
        sub.set_defaults(verb=verb)
        sub.add_argument("--work", default="runs/benchmark")
        sub.add_argument("--out", type=Path, default=record.RESULTS / "grpo.json")
        sub.add_argument(
            "--data", nargs="+", default=["runs/data"], help="data sets; held out is the first's"
        )
        sub.add_argument("--model", default="smollm2", help="or a .gguf file, or a folder")
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--device", default="simulated" if verb is data else "auto")
        sub.add_argument("--budget", type=float, default=0, help="seconds of this call")
        sub.add_argument("--graphs", type=int, default=1500)
        sub.add_argument("--test-graphs", type=int, default=100)
        sub.add_argument("--sft", nargs="*", default=[], metavar="KEY=VALUE")
        sub.add_argument("--grpo", nargs="*", default=[], metavar="KEY=VALUE")
        sub.add_argument("--run", default="grpo", help="name of the third stage's run, in train")
        sub.add_argument("--stage", default="base", help="base, sft, grpo, or another run's name")
        sub.add_argument("--until", choices=("sft", "grpo"), default="grpo", help="of train")
        sub.add_argument(
            "--only", nargs="*", choices=["sample", "edits", "evaluate"], help="of examine"
        )
        sub.add_argument("--parts", nargs="*", choices=ONCE, default=ONCE, help="of examine")
        sub.add_argument("--tasks", type=int, default=48)
        sub.add_argument("--greedy", type=int, default=96, help="tasks with the likeliest tokens")
        sub.add_argument("--edits", type=int, default=24)
        sub.add_argument("--tries", type=int, default=8)
        sub.add_argument("--longest", type=int, default=896)
        sub.add_argument("--workers", type=int, default=8)
        sub.add_argument("--also", nargs="*", type=Path, default=[], help="of report")
    options = parser.parse_args()
    options.verb(options)


if __name__ == "__main__":
    main()
