"""Evaluate several kernels at the same time."""

from __future__ import annotations

import argparse

import gymnasium as gym

import triton_gym


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="two environments")
    args = parser.parse_args()

    blocks = [512, 2048] if args.smoke else [512, 1024, 2048, 4096]
    starter = triton_gym.load("softmax").starter
    kernels = tuple(starter.replace("BLOCK=512", f"BLOCK={block}") for block in blocks)

    envs = gym.make_vec("TritonKernel-softmax-v0", num_envs=len(blocks), device=args.device)
    envs.reset(seed=0)
    _, rewards, _, _, infos = envs.step(kernels)
    for block, reward, status, us in zip(
        blocks, rewards, infos["status"], infos["runtime_us"], strict=True
    ):
        print(f"BLOCK={block}: {status}, {us:.1f} µs, reward {reward:.2f}")
    envs.close()


if __name__ == "__main__":
    main()
