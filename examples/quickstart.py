"""Step an environment with two kernels and see what became of them."""

from __future__ import annotations

import argparse

import gymnasium as gym

import triton_gym


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="the starter only")
    args = parser.parse_args()

    env = gym.make("TritonKernel-softmax-v0", device=args.device)
    observation, info = env.reset(seed=0)
    print(observation["task"])
    task = triton_gym.load("softmax")
    for kernel in [task.starter] if args.smoke else [task.starter, task.expert]:
        observation, reward, _, _, info = env.step(kernel)
        print(f"{info['status']}: {info['runtime_us']:.1f} µs ({info['time_source']})")
        print(f"  {info['speedup']:.2f}× PyTorch, roofline {info['roofline']:.2f}")
        print(f"  {info['registers']:.0f} registers, reward {reward:.2f}")
    env.close()


if __name__ == "__main__":
    main()
