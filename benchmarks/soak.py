"""Thousands of evaluations, and what grows while they run: memory, descriptors, files, threads.

    python benchmarks/soak.py --count 24000 --out benchmarks/results/soak.json

Small answers of one task, all of them different, most of them wrong, some that hang.
What the whole family of processes holds is sampled on the way. The run ends by itself, with exit
code 1 if something grew: between the second quarter of the run and its last by more than
`--grown` of what it was. Of the store, which keeps every outcome, it is the size of one that counts.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import record

import triton_gym
from triton_gym import Evaluator, Limits, Outcome
from triton_gym.evaluation.service import serving
from triton_gym.evaluation.workers import fork_server

SPIN = "\n    while x.numel():\n        pass"
RAISE = "\n    if x.numel():\n        raise ValueError('on purpose')"
PAGE = os.sysconf("SC_PAGE_SIZE")


def answers(source: str, name: str, count: int) -> Any:
    """What a policy writes early in its training, no two alike: one in nine is right.

    One in four hundred hangs; it costs more than all others of those together.
    """
    head = source.index(f"def {name}(")
    body = source.index("\n", head)
    kinds = (
        source.replace("return y", "return torch.sum(x, -1)"),  # has no kernel
        source.replace("tl.sum(", "tl.sum("[:-1]),  # not Python
        source.replace("tl.sum", "tl.no_such_thing"),  # does not compile
        source.replace("return y", "return y + 1"),  # computes outside of its kernel
        source.replace("tl.sum", "tl.max"),  # a wrong result
        source[:body] + RAISE + source[body:],  # fails when it runs
        source.replace("return y", "return y_that_is_not_there"),
        source.replace("import triton\n", "import triton\nimport os\n").replace(
            "return y", "os.getpid()\n    return y"
        ),  # rejected
        source,
    )
    for index in range(count):
        if index % 400 == 111:
            yield source[:body] + SPIN + source[body:] + f"\n# {index}\n"
        else:
            yield kinds[index % len(kinds)] + f"\n# {index}\n"


def family(root: int) -> list[int]:
    """This process and everything below it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def sample(folder: Path, store: Path, done: int) -> dict[str, float]:
    """What the family holds now; workers come and go, so the long-lived are looked at apart."""
    found: dict[str, float] = collections.Counter()
    for pid in family(os.getpid()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        kind = _kind(pid, command, int(parent))
        found["processes"] += 1
        if kind:
            found[f"{kind}_mib"] += pages * PAGE / 2**20
            found[f"{kind}_descriptors"] += descriptors
    kept = [f for f in folder.glob(f"{store.name}*") if f.is_file()]
    files = [f for f in folder.rglob("*") if f.is_file() and f not in kept]
    found["outcome_kib"] = sum(_size(f) for f in kept) / 2**10 / done
    found["files"] = len(files)
    found["file_mib"] = sum(_size(f) for f in files) / 2**20
    found["shared_mib"] = _shared_mib()
    return dict(found)


def _kind(pid: int, command: bytes, parent: int) -> str:
    """`program`, `judge` or `fork_server`; empty for a worker, which has its fork server's command."""
    if pid == os.getpid():
        return "program"
    if serving.__name__.encode() in command:
        return "judge"
    try:
        above = Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return ""
    forked = fork_server.__name__.encode() in above
    return "fork_server" if fork_server.__name__.encode() in command and not forked else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _shared_mib() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Shmem:"))


def growth(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Medians of the second and of the last quarter of the samples."""
    quarter = max(len(samples) // 4, 1)
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    names = sorted({name for one in samples for name in one} - {"done", "seconds"})
    return {
        name: {
            "early": statistics.median(s.get(name, 0.0) for s in early),
            "late": statistics.median(s.get(name, 0.0) for s in late),
        }
        for name in names
    }


def grew(found: dict[str, dict[str, float]], share: float) -> list[str]:
    """What is larger at the end by more than a share, and by more than counts by accident."""
    least = {"descriptors": 8.0, "mib": 24.0, "kib": 1.0, "files": 40.0, "processes": 8.0}
    slack = {name: least[name.rsplit("_", 1)[-1]] for name in found}
    return [
        f"{name}: {value['early']:.0f} -> {value['late']:.0f}"
        for name, value in found.items()
        if name != "shared_mib"  # the whole machine's
        and value["late"] > value["early"] * (1 + share)
        and value["late"] > value["early"] + slack[name]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--task", default="sum_rows")
    parser.add_argument("--device", default="simulated")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--grown", type=float, default=0.15, help="share that counts as growth")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "soak.json")
    options = parser.parse_args()
    task = triton_gym.load(options.task)
    every = max(options.count // options.samples, 1)
    samples: list[dict[str, float]] = []
    statuses: collections.Counter[str] = collections.Counter()
    sources = answers(task.starter, task.entry.name, options.count)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        store = Path(folder, "outcomes.db")
        started = time.perf_counter()
        with Evaluator(options.device, workers=options.workers, store=store) as evaluator:
            outcomes = evaluator.map(
                task, sources, seeds=range(options.count), limits=Limits(seconds=5)
            )
            for done, outcome in enumerate(outcomes, 1):
                _note(statuses, outcome)
                if done % every == 0:
                    seconds = time.perf_counter() - started
                    samples.append(
                        {"done": done, "seconds": seconds, **sample(Path(folder), store, done)}
                    )
            progress = evaluator.progress()
        left = [str(path.name) for path in Path(folder).iterdir() if path != store]
        tempfile.tempdir = None
    found = growth(samples)
    larger = grew(found, options.grown)
    record.write(
        options.out, samples, statuses=dict(statuses), growth=found, grew=larger, left=left,
        count=options.count, seconds=time.perf_counter() - started, redone=progress.redone,
        deaths=sum(judge.deaths for judge in progress.judges),
    )  # fmt: skip
    print(dict(statuses), {k: (round(v["early"]), round(v["late"])) for k, v in found.items()})
    print("grew:", larger or "nothing", "left behind:", left or "nothing")
    sys.exit(bool(larger or left or sum(statuses.values()) != options.count))


def _note(statuses: collections.Counter[str], outcome: Outcome) -> None:
    statuses[str(outcome.status)] += 1


if __name__ == "__main__":
    main()
