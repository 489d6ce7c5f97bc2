"""Fault campaign: programs that share a store evaluate while all about them fails at random.

    python benchmarks/campaign.py --device simulated --count 600 --programs 2 --out campaign.json

A third of the answers is hostile. Workers, fork servers and judges are killed, judges are stopped,
the store is locked and damaged, and with `--disk BYTES` (which mounts a file system of that size in
a namespace of its own) the temporary folder fills up. Every evaluation must end exactly once, no
outcome may blame an honest answer, the store must hold nothing that does, nothing may be left
behind (processes, folders, shared memory, GPU memory), and long-lived processes must not grow.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import record
from faults import Faults

import triton_gym
from triton_gym import Evaluator, Limits
from triton_gym.audit.exploits import all_exploits
from triton_gym.evaluation.records.store import Store

HONEST = ("softmax", "matmul", "cumsum_rows")
FAULTS = {"worker": 4.0, "fork_server": 30.0, "judge": 60.0, "stop": 45.0, "lock": 20.0,
          "damage": 10.0, "disk": 40.0}  # fmt: skip
"""Mean seconds between two of a kind."""
STOPPED = threading.Event()
"""Set by SIGINT and SIGTERM: what is not done is cancelled, and what was found is written."""


def resources() -> dict[str, Any]:
    temporary = Path(tempfile.gettempdir())
    folders = [path for path in temporary.glob("triton-gym-*") if path.is_dir()]
    return {
        "folders": [f"{path}: {sorted(map(str, path.rglob('*')))[:5]}" for path in folders],
        "memory": os.listdir("/dev/shm"),
        "gpu_mib": gpu_mib(),
    }


def gpu_mib() -> int:
    """GPU memory in use, by all processes."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(map(int, done.stdout.split()))


def answers(count: int, rng: random.Random) -> list[tuple[str, str, str]]:
    """(kind, task, source) of `count` answers, every third of them hostile, all distinct."""
    hostile = [e for e in all_exploits() if e.task in triton_gym.tasks()]
    found = []
    for number in range(count):
        if number % 3 == 2:
            exploit = rng.choice(hostile)
            found.append((exploit.kind, exploit.task, exploit.source + f"\n# {number}\n"))
        else:
            name = rng.choice(HONEST)
            task = triton_gym.load(name)
            source = rng.choice((task.starter, task.expert))
            found.append(("honest", name, source + f"\n# {number}\n"))
    rng.shuffle(found)
    return found


def program(given: argparse.Namespace) -> dict[str, Any]:
    """One of the programs: what became of its evaluations."""
    ended: collections.Counter[int] = collections.Counter()
    statuses: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    blamed: list[str] = []
    errors: list[str] = []
    until = time.monotonic() + given.most
    asked = list(enumerate(answers(given.count, random.Random(given.seed))))
    random.Random(given.part).shuffle(asked)
    with Evaluator(given.device, workers=given.workers, store=given.store) as evaluator:
        futures = []
        for number, (_, name, source) in asked:
            limits = Limits(seconds=20.0)
            # Programs have every second answer in common, and find each other's in the store.
            seed = number if number % 2 else number + given.part * given.count
            future = evaluator.submit(triton_gym.load(name), source, seed=seed, limits=limits)
            future.add_done_callback(lambda _, number=number: ended.update([number]))
            futures.append(future)
        late = 0
        for (_, (kind, name, _)), future in zip(asked, futures, strict=True):
            while not (future.done() or STOPPED.is_set() or time.monotonic() > until):
                concurrent.futures.wait([future], 0.5)
            if future.cancel():
                late += 1
                continue
            error = future.exception()
            status = type(error).__name__ if error else str(future.result().status)
            told = f"{name} {status}: {str(error or future.result().message)[:300]}"
            group = "honest" if kind == "honest" else "hostile"
            statuses[group][status] += 1
            if error:
                errors.append(told)
            elif group == "honest" and status != "correct":
                blamed.append(told)
        progress = evaluator.progress()
    return {
        "ended_once": sum(times == 1 for times in ended.values()),
        "statuses": {group: dict(found) for group, found in statuses.items()},
        "cancelled_late": late, "recorded": progress.recorded, "redone": progress.redone, "blamed": blamed,
        "errors": errors,
    }  # fmt: skip


def _report(store: Path, part: int) -> Path:
    """Where a program writes what it found: others print what they like."""
    return store.with_name(f"program-{part}.json")


def _told(running: subprocess.Popen[bytes], report: Path) -> dict[str, Any]:
    """What a program found; it is told to come to an end if this one is."""
    while running.poll() is None:
        if STOPPED.wait(0.5):
            running.send_signal(signal.SIGINT)  # once more does no harm
            time.sleep(0.5)
    return dict(json.loads(report.read_text())) if report.is_file() else {}


def wrongly_kept(store: Path) -> list[str]:
    """Honest answers of which the store says that they are not right."""
    sources = {triton_gym.load(name).starter for name in HONEST}
    sources |= {triton_gym.load(name).expert for name in HONEST}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it was damaged on purpose
        return [
            f"{row['task']} {row['status']}: {row['message'][:200]}" for row in Store(store).rows()
            if row["source"].rpartition("\n# ")[0] in sources and row["status"] != "correct"
        ]  # fmt: skip


def campaign(given: argparse.Namespace) -> dict[str, Any]:
    """All programs and all faults: what came of it."""
    before = resources()
    means = dict(one.split("=") for one in given.faults) or FAULTS
    pauses = {k: float(p) * given.pace for k, p in means.items() if k != "disk" or given.disk}
    with tempfile.TemporaryDirectory() as folder:
        given.store = Path(folder, "outcomes.db")
        Store(given.store).close()
        faults = Faults(random.Random(given.seed), pauses, given.seconds, given.store)
        started = time.monotonic()
        faults.start()
        command = [sys.executable, "-W", "ignore::RuntimeWarning", __file__, *sys.argv[1:]]
        running = [
            subprocess.Popen([*command, "--part", str(part), "--store", given.store])
            for part in range(1, given.programs + 1)
        ]
        found = [_told(one, _report(given.store, part)) for part, one in enumerate(running, 1)]
        faults.done.set()
        faults.join()
        seconds = time.monotonic() - started
        time.sleep(3.0)
        kept = wrongly_kept(given.store)
    now = resources()
    behind = {name: sorted(set(now[name]) - set(before[name])) for name in ("folders", "memory")}
    return {
        "evaluations": given.count, "interrupted": STOPPED.is_set(), "programs": found, "faults": dict(faults.count),
        "wrongly_kept": kept, "growth_bytes": faults.growth(), "seconds": seconds,
        "left_behind": {**behind, "gpu_mib": now["gpu_mib"] - before["gpu_mib"],
                        "processes": faults.processes.left()},
    }  # fmt: skip


def verdict(result: dict[str, Any]) -> list[str]:
    """What must hold and does not."""
    found = list(result["wrongly_kept"])
    for number, one in enumerate(result["programs"]):
        if one.get("ended_once") != result["evaluations"]:
            found.append(f"program {number}: {one.get('ended_once')} evaluations ended once")
        found += one.get("blamed", ())
    behind = result["left_behind"]  # a driver gives back memory in its own time
    if behind["folders"] or behind["memory"] or behind["processes"]:
        found.append(f"left behind: {behind}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--count", type=int, default=600, help="evaluations of each program")
    parser.add_argument("--programs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=1.0, help="more is fewer faults")
    parser.add_argument("--faults", nargs="*", default=[], metavar="KIND=SECONDS",
                        help="mean seconds between those of a kind, instead of all kinds")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a fault lasts")
    parser.add_argument("--most", type=float, default=math.inf, help="seconds after which what "
                        "is not done is cancelled")  # fmt: skip
    parser.add_argument("--disk", default="", help="size of the temporary folder, e.g. 256m")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: STOPPED.set())
    if given.part:
        found = json.dumps(program(given))
        for _ in range(120):  # the disk may be full just now
            with contextlib.suppress(OSError):
                _report(given.store, given.part).write_text(found)
                return
            time.sleep(0.5)
    if given.disk and not os.environ.get("CAMPAIGN_DISK"):
        mount = 'mount -t tmpfs -o size="$CAMPAIGN_DISK" none "$TMPDIR" && exec "$@"'
        with tempfile.TemporaryDirectory() as folder:
            command = ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, *sys.argv]
            again = {**os.environ, "CAMPAIGN_DISK": given.disk, "TMPDIR": folder}
            with subprocess.Popen(command, env=again) as inside:
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, lambda number, _: inside.send_signal(number))
                sys.exit(inside.wait())
    result = campaign(given)
    if given.out:
        record.write(given.out, [result], device=given.device)
    wrong = verdict(result)
    for one in result["programs"]:
        print({name: value for name, value in one.items() if name not in ("blamed", "errors")})
        print("  errors:", len(one.get("errors", ())), *one.get("errors", ())[:5], sep="\n    ")
    print({name: result[name] for name in ("faults", "growth_bytes", "left_behind", "seconds")})
    print("\n".join(wrong) or "all of it holds")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
