"""Steps a second of tuning on a recorded table beside CartPole's, in turn in one process.

    python benchmarks/tuning_steps.py --rounds 15 --out benchmarks/results/tuning-steps.json

One environment of each through `gym.make`, actions drawn before, reset when an episode is over; and a
vector environment of 64 on the table. Each round measures all of them one after the other, by the
processor's time of this process, so that other work on the machine counts little; a round's ratio is
of its own two numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import record

import triton_gym  # noqa: F401

ENVS = 64
TUNE = "TritonTune-softmax-v0"


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4000, help="of one environment in a round")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "tuning-steps.json")
    options = parser.parse_args()
    with (
        contextlib.closing(gym.make("CartPole-v1")) as pole,
        contextlib.closing(gym.make(TUNE, device="recorded", max_turns=32)) as tune,
        contextlib.closing(
            gym.make_vec(TUNE, num_envs=ENVS, device="recorded", max_turns=32)
        ) as many,
    ):
        measured: dict[str, Callable[[], float]] = {
            "cartpole": one(pole, options.steps), "tuning": one(tune, options.steps),
            f"tuning_vector_{ENVS}": vector(many, options.steps // 4),
        }  # fmt: skip
        for measure in measured.values():
            measure()  # warm-up
        found = {name: [] for name in measured}  # type: dict[str, list[float]]
        for _ in range(options.rounds):
            for name, measure in measured.items():
                found[name].append(measure())
    ratios = [t / c for t, c in zip(found["tuning"], found["cartpole"], strict=True)]
    rows: dict[str, Any] = {
        "steps_per_cpu_second": {name: spread(values) for name, values in found.items()},
        "tuning_over_cartpole": spread(ratios),
    }
    print(rows)
    record.write(options.out, rows, rounds=options.rounds, steps=options.steps)


def one(env: gym.Env[Any, Any], steps: int) -> Callable[[], float]:
    """Steps a second of an environment."""
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(steps)]

    def measure() -> float:
        env.reset(seed=0)
        begun = time.process_time()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return steps / (time.process_time() - begun)

    return measure


def vector(env: gym.vector.VectorEnv[Any, Any, Any], steps: int) -> Callable[[], float]:
    """Steps a second of all environments of a vector environment together."""
    env.action_space.seed(0)
    actions = [np.asarray(env.action_space.sample()) for _ in range(steps)]

    def measure() -> float:
        env.reset(seed=0)
        begun = time.process_time()
        for action in actions:
            env.step(action)
        return steps * env.num_envs / (time.process_time() - begun)

    return measure


def spread(values: list[float]) -> dict[str, float]:
    """Median and the middle half."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "low": low, "high": high}


if __name__ == "__main__":
    main()
