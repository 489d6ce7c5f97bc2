"""Which layer of the confinement breaks an honest answer on this machine, and what they cost.

    python benchmarks/confinement.py --device cuda

First the library as users run it. If that fails, every layer alone, all but each one, and all with
one folder more: the line that turns `correct` names the culprit. `--all` does so in any case.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Iterator
from unittest import mock

import triton_gym
from triton_gym import Evaluator, Limits, Outcome
from triton_gym.errors import TritonGymError
from triton_gym.evaluation.backends import backend_of, resolve
from triton_gym.evaluation.confine import layers, privileges
from triton_gym.evaluation.confine.kernel import prctl
from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.judging.judge import Request
from triton_gym.evaluation.workers import worker_pool
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool

FOLDERS = ("/dev/shm", "/dev", "/proc", "/sys", "/run", "/tmp", "/etc", "/var", "/home", "/root")
"""What is granted besides, one at a time, when the file layer breaks something."""
SESSIONS = 20
_SET_DUMPABLE = 4


def judged(device: str, held: frozenset[Layer], granted: tuple[str, ...] = ()) -> Outcome:
    """The starter of softmax, by a judge in this process whose workers are held to some layers."""
    pool = functools.partial(WorkerPool, layers=held, granted=granted)
    task, found = triton_gym.load("softmax"), resolve(device)
    with mock.patch.object(worker_pool, "WorkerPool", pool):
        judge = backend_of(found).open(found, 1)
    try:
        return judge.evaluate(
            Request(task=task, source=task.starter, seed=1, limits=Limits(seconds=60))
        )
    finally:
        judge.close()


def as_shipped(device: str) -> Outcome:
    task = triton_gym.load("softmax")
    with Evaluator(device) as evaluator:
        return evaluator.evaluate(task, task.starter, limits=Limits(seconds=60))


def hidden(device: str, held: frozenset[Layer]) -> Outcome:
    """Like `judged`, in a judge that no other process may look into."""
    privileges.hide()
    try:
        return judged(device, held)
    finally:
        prctl(_SET_DUMPABLE, 1)


def variants(device: str) -> Iterator[tuple[str, functools.partial[Outcome]]]:
    yield "no layer", functools.partial(judged, device, frozenset())
    yield "no layer, hidden judge", functools.partial(hidden, device, frozenset())
    for layer in Layer:
        yield f"only {layer}", functools.partial(judged, device, frozenset({layer}))
    for layer in Layer:
        yield f"all but {layer}", functools.partial(judged, device, ALL - {layer})
    yield "all", functools.partial(judged, device, ALL)
    for folder in FOLDERS:
        yield f"all, {folder} granted", functools.partial(judged, device, ALL, (folder,))


def tried(name: str, run: functools.partial[Outcome]) -> bool:
    started = time.monotonic()
    try:
        outcome = run()
        status, message = str(outcome.status), outcome.message
    except TritonGymError as error:
        status, message = type(error).__name__, str(error)
    told = "" if status == "correct" else " | ".join(message.strip().splitlines()[-3:])
    print(f"{name:28s} {status:16s} {time.monotonic() - started:5.1f} s  {told[:400]}", flush=True)
    return status == "correct"


def milliseconds(held: frozenset[Layer]) -> tuple[float, float]:
    """Median time of a fork, and of taking on the layers, in a recorder that does nothing else."""
    pool = WorkerPool("record", held)
    pool.wait_ready()
    forks, entries = [], []
    with Scratch("") as scratch:
        for _ in range(SESSIONS):
            start = time.perf_counter()
            session = Session(pool, Limits(), scratch)
            forked = time.perf_counter()
            with session:
                entries.append((time.perf_counter() - forked) * 1e3)
            forks.append((forked - start) * 1e3)
            time.sleep(0.1)  # its end must not be timed with the next start
    pool.close()
    return statistics.median(forks), statistics.median(entries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--all", action="store_true", help="every variant, whatever works")
    options = parser.parse_args()
    for found in layers.mechanisms():
        print(f"{found.name:28s} {'there' if found.there else 'MISSING':16s} {found.found}")
    fine = tried("as users run it", functools.partial(as_shipped, options.device))
    if options.all or not fine:
        for name, run in variants(options.device):
            tried(name, run)
    for name, held in (("without layers", frozenset()), ("with all layers", ALL)):
        fork, entry = milliseconds(held)
        print(f"{name:28s} fork {fork:.1f} ms, entering {entry:.1f} ms")


if __name__ == "__main__":
    main()
