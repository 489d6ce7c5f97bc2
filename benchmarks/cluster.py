"""Evaluations over two Ray nodes on this machine, one of which is killed in the middle.

    python benchmarks/cluster.py --count 500 --out benchmarks/results/cluster.json

Needs the extra `ray`. Both nodes have worker processes of their own; the one that dies does so
without a word (SIGKILL to its raylet). Exit code 1 if an answer was lost or came twice.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import sys
import time
from pathlib import Path
from typing import Any

import record

import triton_gym
from triton_gym.evaluation.service.cluster import RayEvaluator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--task", default="sum_rows")
    parser.add_argument("--cpus", type=int, default=2, help="processors of each node")
    parser.add_argument("--workers", type=int, default=1, help="of each judge; it holds so many")
    parser.add_argument("--rejoin", action="store_true", help="a node joins after the death")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "cluster.json")
    options = parser.parse_args()

    import ray
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    nodes = [cluster.add_node(num_cpus=options.cpus, **small) for _ in range(2)]
    cluster.wait_for_nodes()
    task = triton_gym.load(options.task)
    told: collections.Counter[int] = collections.Counter()
    statuses: collections.Counter[str] = collections.Counter()
    events: list[dict[str, Any]] = []
    with RayEvaluator(cluster.address, device="simulated", workers=options.workers) as evaluator:
        started = time.perf_counter()

        def note(event: str) -> None:
            judges = [vars_of(judge) for judge in evaluator.progress().judges]
            seconds = time.perf_counter() - started
            events.append({"event": event, "seconds": seconds, "judges": judges})
            print(event, f"{seconds:.1f} s", flush=True)

        futures = []
        for index in range(options.count):
            future = evaluator.submit(task, f"{task.starter}\n# {index}\n", seed=index)
            future.add_done_callback(lambda done: told.update([done.id]))
            futures.append(future)
        for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
            statuses[str(future.result().status)] += 1
            if done == options.count // 2:
                note("a node is killed")
                cluster.remove_node(nodes[0], allow_graceful=False)
            if done == options.count * 3 // 4 and options.rejoin:
                note("a node joins")
                cluster.add_node(num_cpus=options.cpus, **small)
        note("all are answered")
        seconds = time.perf_counter() - started
        redone = evaluator.progress().redone
    ray.shutdown()
    cluster.shutdown()
    lost = [f.id for f in futures if told[f.id] == 0]
    twice = [f.id for f in futures if told[f.id] > 1]
    record.write(
        options.out, events, count=options.count, statuses=dict(statuses), lost=lost, twice=twice,
        redone=redone, seconds=seconds, ray=ray.__version__,
    )  # fmt: skip
    print(dict(statuses), f"lost {lost}, twice {twice}, redone {redone}, {seconds:.0f} s")
    sys.exit(bool(lost or twice or sum(statuses.values()) != options.count))


def vars_of(judge: Any) -> dict[str, Any]:
    return {
        "device": judge.device,
        "state": judge.state,
        "done": judge.done,
        "deaths": judge.deaths,
    }


if __name__ == "__main__":
    main()
