"""An agent of one's own: 20 lines.

Run it with a progress display and a run folder that can be resumed::

    cd examples && triton-gym run custom_agent:Doubler TritonKernel-softmax-v0 --steps 5
"""

from __future__ import annotations

import argparse
import re

import gymnasium as gym

import triton_gym  # noqa: F401  (registers the environments)


class Doubler:
    """Doubles the block size for as long as that makes the kernel faster, then halves it."""

    def __init__(self, env, *, seed):
        self.factor, self.last = 2.0, 0.0

    def act(self, observation, info):
        def resized(match):
            return f"BLOCK={max(16, int(int(match[1]) * self.factor))}"

        return re.sub(r"BLOCK=(\d+)", resized, observation["kernel"])

    def learn(self, action, observation, reward, terminated, truncated, info):
        if reward < self.last:
            self.factor = 1 / self.factor
        self.last = reward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two steps")
    args = parser.parse_args()

    from triton_gym.agents import play

    env = gym.make("TritonKernel-softmax-v0", device=args.device)
    env = gym.wrappers.TransformReward(env, lambda r: print(f"reward {r:.3f}") or r)
    play(Doubler(env, seed=0), env, steps=2 if args.smoke else 6, seed=0)
    env.close()


if __name__ == "__main__":
    main()
