"""How many processes a second can start CUDA on one host, on one of its GPUs and on several.

    python benchmarks/cuda_starts.py --out benchmarks/results/cuda-starts-h200.json

Every answer has a process of its own, so this bounds evaluations a second. Each process here makes
a context and a tensor, says so, and is killed. Another process holds each GPU all the while, as a
judge does; workers have one hardware queue, as here.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import record
import torch

HOLD = "import torch; x = torch.zeros(1, device='cuda'); print(flush=True); input()"


def start(gpu: int, told: int) -> None:
    """Start CUDA, say how long it took, and wait for the end."""
    os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    began = time.perf_counter()
    torch.zeros(8, device="cuda")
    torch.cuda.synchronize()
    os.write(told, json.dumps(time.perf_counter() - began).encode())
    time.sleep(600)


def starts(gpus: int, at_once: int, count: int) -> dict[str, Any]:
    """Keep `at_once` processes starting until `count` have."""
    living: dict[int, int] = {}
    dying: list[int] = []
    seconds: list[float] = []
    begun = 0
    began = time.perf_counter()
    while len(seconds) < count:
        while len(living) < at_once and begun < count:
            read, write = os.pipe()
            pid = os.fork()
            if not pid:
                try:
                    start(begun % gpus, write)
                finally:
                    os._exit(1)
            os.close(write)
            living[read] = pid
            begun += 1
        for read in select.select(list(living), [], [])[0]:
            said = os.read(read, 64)
            os.close(read)
            pid = living.pop(read)
            if not said:
                raise SystemExit("A process could not start CUDA.")
            seconds.append(json.loads(said))
            os.kill(pid, signal.SIGKILL)
            dying.append(pid)
        dying = [pid for pid in dying if not os.waitpid(pid, os.WNOHANG)[0]]
    for pid in dying:
        os.waitpid(pid, 0)
    return {
        "gpus": gpus, "at_once": at_once, "processes": count,
        "starts_a_second": count / (time.perf_counter() - began),
        "start_p50_s": statistics.median(seconds),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--at-once", nargs="*", type=int, default=[1, 4, 12], help="for each GPU")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--out", type=Path, default=record.RESULTS / "cuda-starts.json")
    options = parser.parse_args()
    os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = "1"
    there = torch.cuda.device_count()  # asks the driver without starting it here
    holders = []
    for gpu in range(there):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu)}
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert holder.stdout
        holder.stdout.readline()
        holders.append(holder)
    rows = []
    try:
        for gpus in dict.fromkeys((1, there)):
            for at_once in options.at_once:
                rows.append(starts(gpus, at_once * gpus, options.count))
                print(rows[-1], flush=True)
                record.write(options.out, rows)
    finally:
        for holder in holders:
            holder.communicate(b"\n")


if __name__ == "__main__":
    main()
