"""The three stages on a GPU: data, fine-tuning, reinforcement learning, and what each is worth.

    python benchmarks/grpo.py data --out /tmp/grpo/data                       # no GPU needed
    python benchmarks/grpo.py train --data DATA --work /tmp/grpo --seed 0 --budget 540
    python benchmarks/grpo.py examine --work /tmp/grpo --stage grpo --seed 0 --data DATA
    python benchmarks/grpo.py report --work /tmp/grpo --out benchmarks/results/grpo-h200.json

Runs that differ from `configs/grpo.toml` have names of their own, and their curves stand beside it:

    python benchmarks/grpo.py train … --run grpo_roofline --grpo rollout.reward=roofline

`train` stops by itself after `--budget` seconds with its work saved, and goes on when it is called
again; so does `examine`, task by task. Speed is measured by benchmarks/grpo_speed.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import record

from triton_gym.agents.data import DataConfig, build, read_rows
from triton_gym.agents.grpo import trainer as grpo_trainer
from triton_gym.agents.grpo.episodes import Episode, Place, Stage
from triton_gym.agents.grpo.examination import best_of
from triton_gym.agents.grpo.judging import SharedEvaluator
from triton_gym.agents.grpo.places import HELD_OUT, draw_places, maker
from triton_gym.agents.grpo.settings import GRPOSettings
from triton_gym.agents.policy.models import load_policy
from triton_gym.agents.policy.sampling import LocalSampler
from triton_gym.agents.policy.settings import PolicySettings, SamplingSettings
from triton_gym.agents.scoring import Attempt, mean_interval, scores
from triton_gym.agents.sft import trainer as sft_trainer
from triton_gym.agents.sft.settings import SFTSettings
from triton_gym.agents.training.journal import read_lines
from triton_gym.agents.training.settings import read_settings
from triton_gym.registration import catalogue
from triton_gym.runs.folder import write_json

CONFIGS = Path(__file__).with_name("configs")
KS = (1, 2, 4, 8)
PARTS = ("composed", "greedy", "catalogue", "edits")
AT_ONCE = 128
"""Replies that are sampled together."""


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
    settings = read_settings(
        SFTSettings, CONFIGS / "sft.toml",
        [f"policy.model={options.model}", f"examples.train={','.join(_files(options, 'train'))}",
         f"examples.test={_files(options, 'test')[0]}", f"run.out={work}/sft-{seed}",
         f"run.seed={seed}", *options.sft],
    )  # fmt: skip
    with sft_trainer.Trainer(settings, watch=_say("sft")) as sft:
        finished = sft.train() >= sft.steps
    if not finished or (options.budget and time.monotonic() - started > options.budget - 30):
        print("sft goes on with the next call" if not finished else "sft is done")
        return
    if options.until == "sft":
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


def examine(options: argparse.Namespace) -> None:
    """Held-out composed tasks, the catalogue, and edits of slow kernels, for one policy.

    Composed tasks are tried several times at temperature 1, and once with the likeliest tokens.
    """
    work, started = Path(options.work), time.monotonic()
    target = work / f"examined-{options.stage}-{options.seed}.json"
    known: dict[str, Any] = json.loads(target.read_text()) if target.is_file() else {}
    model = options.model if options.stage == "base" else f"{work}/{options.stage}-{options.seed}"
    policy = load_policy(PolicySettings(model=model))
    samplers = {
        temperature: LocalSampler(
            policy,
            SamplingSettings(temperature=temperature, longest=options.longest, batch=AT_ONCE),
        )
        for temperature in (0.0, 1.0)
    }
    evaluator = SharedEvaluator.on(options.device, options.workers)
    known["device"] = evaluator.describe()
    edits = {"split": "test", "action_mode": "edit"}
    parts = {
        "composed": (_composed(options.tasks), {"split": "test"}, 1, options.tries, 1.0),
        "greedy": (_composed(2 * options.tasks), {"split": "test"}, 1, 1, 0.0),
        "catalogue": (_catalogue(), {}, 1, options.tries, 1.0),
        "edits": (_slow(options), edits, 3, max(1, options.tries // 2), 1.0),
    }
    for name, (places, arguments, turns, tries, temperature) in parts.items():
        rows = known.setdefault(name, [])
        left = places[len({row["place"] for row in rows}) :]
        make = maker(arguments, evaluator=evaluator, turns=turns, reward="kevin")  # type: ignore[arg-type]
        stage = Stage(
            policy, samplers[temperature], make, turns=turns, longest=options.longest, parts=1,
            threads=2 * options.workers,
        )  # fmt: skip
        at_once = max(1, AT_ONCE // tries)
        for start in range(0, len(left), at_once):
            if options.budget and time.monotonic() - started > options.budget:
                break
            some = left[start : start + at_once]
            evaluator.forget()
            done = len(places) - len(left) + start
            for episode in stage.play(some, tries, [options.seed, done]):
                rows.append(_row(episode, done))
            write_json(target, known)
            print(name, done + len(some), "of", len(places), flush=True)
        stage.close()
    evaluator.close()
    if all(known.get(name) for name in parts):
        print(json.dumps(_summary(known)["composed"], indent=1))


def _row(episode: Episode, done: int) -> dict[str, Any]:
    turns = [
        {"status": str(t.info["status"]), "speedup": _finite(t.info["speedup"]),
         "runtime_us": _finite(t.info["runtime_us"]), "reward": t.reward,
         "tokens": len(t.reply.tokens), **_why(t.info)}
        for t in episode.turns
    ]  # fmt: skip
    return {"place": done + episode.group, "task": best_of(episode).task, "turns": turns}


def _why(info: dict[str, Any]) -> dict[str, str]:
    """What an answer that is not correct was told."""
    return {} if info["status"] == "correct" else {"why": str(info.get("message", ""))[-200:]}


def _composed(tasks: int) -> list[Place]:
    return draw_places(("TritonKernel-composed-v0",), tasks, HELD_OUT)


def _catalogue() -> list[Place]:
    names = [name for name in catalogue() if name != "composed"]
    return [Place(f"TritonKernel-{name}-v0", 0) for name in names]


def _slow(options: argparse.Namespace) -> list[Place]:
    """Correct but slow kernels of held-out tasks, from the data set."""
    rows = [r for r in read_rows(Path(_files(options, "test")[0])) if r["kind"] == "speedup_edit"]
    unique = {row["seed"]: row for row in rows}
    return [
        Place("TritonKernel-composed-v0", int(row["seed"]), row["before"])
        for row in list(unique.values())[: options.edits]
    ]


def report(options: argparse.Namespace) -> None:
    """Everything that was measured, with intervals over tasks, and the curves of training."""
    work = Path(options.work)
    examined = {
        file.stem.removeprefix("examined-"): _summary(json.loads(file.read_text()))
        for file in sorted(work.glob("examined-*.json"))
    }
    curves = {
        folder.name: read_lines(folder / "metrics.jsonl")
        for folder in sorted(work.iterdir())
        if (folder / "metrics.jsonl").is_file()
    }
    configs = {
        name: json.loads((work / name / "config.json").read_text()) for name in curves
    }  # fmt: skip
    record.write(Path(options.out), examined, curves=curves, configs=configs)
    for name, found in examined.items():
        total = found["composed"]["total"]
        print(
            name,
            {k: total[k]["value"] for k in ("correct@1", "fast_1", "mean_speedup") if k in total},
        )


def _summary(known: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"device": known.get("device")}
    for part in PARTS:
        rows = known.get(part) or []
        if rows:
            attempts = [_attempt(row, len(row["turns"])) for row in rows]
            found[part] = scores(attempts, KS)
            turns = max(len(row["turns"]) for row in rows)
            if turns > 1:
                found[part]["by_turn"] = [
                    scores([_attempt(row, t + 1) for row in rows], KS)["total"]
                    for t in range(turns)
                ]
                found[part]["gain_by_turn"] = [_gain(rows, t + 1) for t in range(turns)]
    return found


def _attempt(row: dict[str, Any], turns: int) -> Attempt:
    best = max(row["turns"][:turns], key=lambda turn: turn["reward"])
    speedup = math.nan if best["speedup"] is None else best["speedup"]
    return Attempt(row["task"], best["status"], speedup, best["reward"])


def _gain(rows: list[dict[str, Any]], turns: int) -> dict[str, float | None]:
    """Mean over tasks of the best speedup over PyTorch so far, a failure counting as none."""
    tasks: dict[str, list[float]] = {}
    for row in rows:
        right = [t["speedup"] or 0.0 for t in row["turns"][:turns] if t["status"] == "correct"]
        tasks.setdefault(row["task"], []).append(max(right, default=0.0))
    return mean_interval([statistics.fmean(values) for values in tasks.values()])


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _files(options: argparse.Namespace, split: str) -> list[str]:
    """A split's file in each of the data sets."""
    found = [sorted(Path(folder).glob(f"{split}.*")) for folder in options.data]
    return [
        str(files[0] if files else Path(folder) / f"{split}.parquet")
        for folder, files in zip(options.data, found, strict=True)
    ]


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
        sub.add_argument("--tasks", type=int, default=48)
        sub.add_argument("--edits", type=int, default=24)
        sub.add_argument("--tries", type=int, default=8)
        sub.add_argument("--longest", type=int, default=896)
        sub.add_argument("--workers", type=int, default=8)
    options = parser.parse_args()
    options.verb(options)


if __name__ == "__main__":
    main()
