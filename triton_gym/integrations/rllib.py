"""Ray RLlib (2.60, new API stack): `TritonTune` environments by name.

from triton_gym.integrations.rllib import register
config = PPOConfig().environment(register("softmax", device="simulated"))
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from ray.tune.registry import register_env

from triton_gym.registration import task_of


def register(task: str = "softmax", **options: Any) -> str:
    """Make `TritonTune-<task>-v0` known to RLlib, in every process that its workers run in.

    Args:
        task: name of a task with knobs.
        options: of `TuneEnv`; what a configuration's `env_config` says goes before them.

    Returns:
        The name for `AlgorithmConfig.environment`.

    Raises:
        InvalidOptionError: the task is unknown.
    """
    known = task_of(task)
    name = f"TritonTune-{known.name}-v{known.version}"
    register_env(name, lambda config: make(name, **{**options, **config}))
    return name


def make(name: str, **options: Any) -> gym.Env[Any, Any]:
    """The environment, as a worker of RLlib makes it."""
    import triton_gym  # noqa: F401  (registers the ids in a worker's process)

    return gym.make(name, **options)
