"""Evaluate many kernels and take their results as they finish."""

from __future__ import annotations

import argparse
from concurrent.futures import as_completed

import triton_gym
from triton_gym import Evaluator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--store", help="a file of outcomes, so that a second run costs nothing")
    parser.add_argument("--smoke", action="store_true", help="two kernels")
    args = parser.parse_args()

    task = triton_gym.load("softmax")
    blocks = [512, 2048] if args.smoke else [256, 512, 1024, 2048, 4096, 8192]
    with Evaluator(args.device, store=args.store, pending=64) as evaluator:
        futures = {}
        for block in blocks:
            source = task.starter.replace("BLOCK=512", f"BLOCK={block}")
            # Larger blocks go first; submit waits while 64 are under way.
            futures[evaluator.submit(task, source, seed=0, priority=block)] = block
        for future in as_completed(futures):
            outcome = future.result()
            progress = evaluator.progress()
            print(
                f"BLOCK={futures[future]}: {outcome.status}, {outcome.runtime_us:.1f} µs "
                f"({outcome.time_source}); {progress.done} done, {progress.running} running"
            )


if __name__ == "__main__":
    main()
