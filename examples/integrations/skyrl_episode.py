"""An episode of SkyRL-gym's environment with a scripted policy, and a data set for SkyRL.

python skyrl_episode.py --device simulated --task softmax
"""

from __future__ import annotations

import argparse
import json

import skyrl_gym

from triton_gym import load
from triton_gym.integrations.skyrl import register, rows


def main() -> None:
    """Play the starter and the expert, then show a row of a data set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", default="softmax")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    task = load(given.task)
    env = skyrl_gym.make(
        register(),
        env_config={"device": given.device, "max_turns": 2},
        extras={"task": given.task, "seed": 0},
    )
    messages, _ = env.init([])
    print(messages[-1]["content"])
    for kernel in (task.starter, task.expert):
        step = env.step(f"```python\n{kernel}\n```")
        print(f"reward {step['reward']:.2f}, {step['metadata']['status']}")
    env.close()
    print(json.dumps(rows([given.task])[0])[:200])


if __name__ == "__main__":
    main()
