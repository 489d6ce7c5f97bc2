"""Fault campaign: evaluations while workers, fork servers and the judge are killed at random.

    python benchmarks/campaign.py --device simulated --count 2000 --out campaign.json

A third of the answers is hostile. Every evaluation must end in exactly one outcome, an honest
answer that was not hit must be correct, nothing may be left behind (processes, folders, shared
memory, GPU memory), and the long-lived processes must not grow.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import record

import triton_gym
from triton_gym import Evaluator, Limits
from triton_gym.audit.exploits import all_exploits
from triton_gym.evaluation.service import serving
from triton_gym.evaluation.workers import fork_server

HONEST = ("softmax", "matmul", "cumsum_rows")
HIT = "died of SIGKILL"
"""What an answer hears whose worker was killed by the campaign."""


class Processes:
    """The evaluator's processes as /proc shows them, found through their ancestors."""

    def __init__(self) -> None:
        self._root = os.getpid()
        self._seen: set[tuple[int, str]] = set()

    def kinds(self) -> dict[str, list[int]]:
        """Ids of the `judge`s, their `fork_server`s, and the `worker`s: of this program's only."""
        parents, commands, starts = {}, {}, {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                stat = (folder / "stat").read_text()
                commands[int(folder.name)] = (folder / "cmdline").read_bytes().decode()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            parents[int(folder.name)], starts[int(folder.name)] = int(fields[1]), fields[19]
        found: dict[str, list[int]] = {"judge": [], "fork_server": [], "worker": []}
        for pid, command in commands.items():
            parent = parents[pid]
            if not self._ours(pid, parents):
                continue
            if serving.__name__ in command:
                found["judge"].append(pid)
            elif fork_server.__name__ in command:
                above = fork_server.__name__ in commands.get(parent, "")
                found["worker" if above else "fork_server"].append(pid)
        self._seen |= {(pid, starts[pid]) for pids in found.values() for pid in pids}
        return found

    def left(self) -> int:
        """How many of those that were seen are still there, whoever is their parent now."""
        count = 0
        for pid, start in self._seen:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            count += fields[19] == start and fields[0] != "Z"
        return count

    def _ours(self, pid: int, parents: dict[int, int]) -> bool:
        while pid in parents and pid != self._root:
            pid = parents[pid]
        return pid == self._root


def resident_bytes(pid: int) -> int:
    """Memory of a process that nobody else has."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Killer(threading.Thread):
    """Kills a random process of a random kind, and notes how the long-lived ones grow."""

    def __init__(self, rng: random.Random, pauses: dict[str, float]) -> None:
        super().__init__(daemon=True)
        self._rng = rng
        self._next = {kind: time.monotonic() + pause for kind, pause in pauses.items()}
        self._pauses = pauses
        self.processes = Processes()
        self.done = threading.Event()
        self.kills: collections.Counter[str] = collections.Counter()
        self.memory: dict[str, list[tuple[int, int]]] = {"judge": [], "fork_server": []}

    def run(self) -> None:
        while not self.done.wait(0.25):
            kinds = self.processes.kinds()
            for kind, samples in self.memory.items():
                samples += [(pid, resident_bytes(pid)) for pid in kinds[kind]]
            for kind, pause in self._pauses.items():
                if time.monotonic() >= self._next[kind] and kinds[kind]:
                    self._next[kind] = time.monotonic() + pause * self._rng.uniform(0.5, 1.5)
                    try:
                        os.kill(self._rng.choice(kinds[kind]), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    self.kills[kind] += 1

    def growth(self) -> dict[str, float]:
        """For each kind the largest growth of one process, from its second quarter to its last.

        Of lives of a minute or more: before the second quarter a process still imports.
        """
        found = {}
        for kind, samples in self.memory.items():
            lives = collections.defaultdict(list)
            for pid, size in samples:
                lives[pid].append(size)
            long = [sizes for sizes in lives.values() if len(sizes) >= 240]
            found[kind] = max((_grown(sizes) for sizes in long), default=float("nan"))
        return found


def _grown(sizes: list[int]) -> float:
    quarter = len(sizes) // 4
    return statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter])


def left_behind(before: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """What is there now that was not before."""
    now = resources()
    return {name: sorted(set(now[name]) - set(before[name])) for name in ("folders", "memory")} | {
        "gpu_mib": now["gpu_mib"] - before["gpu_mib"],
        "processes": processes.left(),
    }


def left(result: dict[str, Any]) -> bool:
    """Whether something stayed behind; a driver gives back memory in its own time."""
    behind = result["left_behind"]
    return bool(behind["folders"] or behind["memory"] or behind["processes"])


def resources() -> dict[str, Any]:
    temporary = Path(tempfile.gettempdir())
    return {
        "folders": [str(path) for path in temporary.glob("triton-gym-*") if path.is_dir()],
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker-pause", type=float, default=1.0, help="seconds between kills")
    parser.add_argument("--fork-server-pause", type=float, default=12.0)
    parser.add_argument("--judge-pause", type=float, default=30.0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    before = resources()
    pauses = {
        "worker": given.worker_pause, "fork_server": given.fork_server_pause, "judge": given.judge_pause,
    }  # fmt: skip
    killer = Killer(rng, pauses)
    ended: collections.Counter[int] = collections.Counter()
    statuses: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    wrong: list[str] = []
    started = time.monotonic()
    with Evaluator(given.device, workers=given.workers) as evaluator:
        asked = answers(given.count, rng)
        killer.start()
        futures = []
        for number, (_, name, source) in enumerate(asked):
            limits = Limits(seconds=20.0)
            future = evaluator.submit(triton_gym.load(name), source, seed=number, limits=limits)
            future.add_done_callback(lambda _, number=number: ended.update([number]))
            futures.append(future)
        for (kind, name, _), future in zip(asked, futures, strict=True):
            error = future.exception()
            status = type(error).__name__ if error else str(future.result().status)
            message = str(error) if error else future.result().message
            group = "honest" if kind == "honest" else "hostile"
            if status == "runtime_error" and HIT in message:
                status = "killed"
            statuses[group][status] += 1
            if error or (group == "honest" and status not in ("correct", "killed")):
                wrong.append(f"{name} {status}: {message[:300]}")
        killer.done.set()
        killer.join()
    seconds = time.monotonic() - started
    time.sleep(3.0)
    result = {
        "evaluations": given.count,
        "ended_once": sum(times == 1 for times in ended.values()),
        "statuses": {group: dict(found) for group, found in statuses.items()},
        "honest_neither_correct_nor_hit": wrong,
        "kills": dict(killer.kills),
        "growth_bytes": killer.growth(),
        "left_behind": left_behind(before, killer.processes),
        "seconds": seconds,
    }
    record.write(given.out, [result], device=given.device)
    for name, value in result.items():
        print(f"{name:32} {value if name != 'honest_neither_correct_nor_hit' else len(value)}")
    for line in wrong[:10]:
        print(" ", line)
    spared = set(pauses) - set(killer.kills) if seconds > 2 * max(pauses.values()) else set()
    if spared:
        print(f"no {', '.join(sorted(spared))} was killed: this says nothing about that")
    sys.exit(bool(wrong or spared) or result["ended_once"] != given.count or left(result))


if __name__ == "__main__":
    main()
