"""RLlib's PPO chooses the knobs of a kernel.

python rllib_ppo.py --device simulated --task softmax --iterations 20
"""

from __future__ import annotations

import argparse

from ray.rllib.algorithms.ppo import PPOConfig

from triton_gym.integrations.rllib import register


def main() -> None:
    """Train and print the mean return of each iteration."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", default="softmax")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    algorithm = (
        PPOConfig()
        .environment(register(given.task, device=given.device, max_turns=4))
        .env_runners(num_env_runners=0)
        .training(train_batch_size=given.batch, minibatch_size=min(16, given.batch), num_epochs=4)
        .build_algo()
    )
    try:
        for number in range(given.iterations):
            result = algorithm.train()
            print(f"{number}: mean return {result['env_runners']['episode_return_mean']:.2f}")
    finally:
        algorithm.stop()


if __name__ == "__main__":
    main()
