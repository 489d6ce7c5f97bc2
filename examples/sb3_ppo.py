"""stable-baselines3's PPO on a tuning environment, without anything of triton-gym's agents."""

from __future__ import annotations

import argparse

import gymnasium as gym
from stable_baselines3 import PPO

import triton_gym  # noqa: F401  (registers the environments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="four steps")
    args = parser.parse_args()

    rollout, steps = (4, 4) if args.smoke else (16, 64)
    env = gym.make("TritonTune-softmax-v0", device=args.device)
    model = PPO("MlpPolicy", env, n_steps=rollout, batch_size=rollout, gamma=0.0, device="cpu")
    model.learn(steps)

    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    _, reward, _, _, info = env.step(action)
    chosen = {name: info[name] for name in env.unwrapped.knobs}
    print(f"{chosen}: {info['status']}, {info['runtime_us']:.1f} µs, reward {reward:.2f}")
    env.close()


if __name__ == "__main__":
    main()
