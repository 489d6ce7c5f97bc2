"""PPO, A2C and DQN of stable-baselines3, and sb3-contrib's MaskablePPO and RecurrentPPO, on
`TritonTune` environments. Needs the extra `sb3`.

The defaults are for budgets of tens to hundreds of steps, since a step compiles and runs a kernel.
The discount is zero: a step's reward depends on that step's knobs alone, so a return over later
steps would only add noise.

Networks run on the CPU: they are tiny, and the GPU, where there is one, is busy being measured.
A resumed run repeats the training on the recorded outcomes, which takes milliseconds a step and
gives the same weights on the same machine and versions.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError
from triton_gym.wrappers import FlattenActions

from .protocol import Environment
from .spaces import every_choice

_EXPLORE = 64
"""Steps over which DQN goes from random choices to its own."""


class Algorithm:
    """One of stable-baselines3's algorithms as an agent."""

    numeric: ClassVar[bool] = True
    """A task's bare name stands for its `TritonTune` environment."""
    name: ClassVar[str]
    """Of the class."""
    package: ClassVar[str] = "stable_baselines3"
    """Where it is."""
    policy: ClassVar[str] = "MlpPolicy"
    defaults: ClassVar[dict[str, Any]]
    """Hyperparameters that differ from stable-baselines3's own."""

    def __init__(self, env: Environment, *, seed: int, **hyperparameters: Any) -> None:
        if not isinstance(env.action_space, gym.spaces.MultiDiscrete):
            raise InvalidOptionError(
                f"{self.name} learns numeric actions, on TritonTune environments such as "
                f"'TritonTune-softmax-v0'; this one has {type(env.action_space).__name__} actions."
            )
        try:
            library = importlib.import_module(self.package)
        except ModuleNotFoundError:
            raise InvalidOptionError(
                f"{self.name} needs {self.package}: pip install 'triton-gym[sb3]'."
            ) from None
        self._library = library
        self._env = self.prepared(env)
        self._seed = seed
        self._settings = {**self.defaults, **hyperparameters}
        self.model: Any = None

    @property
    def env(self) -> Environment:
        """The environment as the algorithm takes it."""
        return self._env

    def loaded(self, file: Any) -> Any:
        """A model of the algorithm that was saved.

        Args:
            file: where it is, or what was written there.
        """
        return getattr(self._library, self.name).load(file, device="cpu")

    def prepared(self, env: Environment) -> Environment:
        """The environment as the algorithm takes it."""
        return env

    def settings(self, steps: int) -> dict[str, Any]:
        """Hyperparameters for a budget of `steps`."""
        return self._settings

    def train(self, steps: int) -> None:
        """Learn for exactly `steps` steps; stable-baselines3 alone rounds up to whole rollouts."""
        stop = importlib.import_module("stable_baselines3.common.callbacks").BaseCallback

        class Budget(stop):  # type: ignore[misc, valid-type]
            def _on_step(self) -> bool:
                return bool(self.num_timesteps < steps)

        algorithm = getattr(self._library, self.name)
        self.model = algorithm(
            self.policy, self._env, seed=self._seed, device="cpu", **self.settings(steps)
        )
        self.model.learn(total_timesteps=steps, callback=Budget())

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The learned choice, without exploration.

        Raises:
            InvalidOptionError: the agent was not trained.
        """
        if self.model is None:
            raise InvalidOptionError(f"{self.name} has to `train` before it can act.")
        action, _ = self.model.predict(observation, deterministic=True)
        return action

    def save(self, folder: Path) -> None:
        """Write `model.zip`, for `stable_baselines3.<name>.load`."""
        if self.model is not None:
            self.model.save(folder / "model.zip")


class PPOAgent(Algorithm):
    """Proximal policy optimisation."""

    name = "PPO"
    defaults: ClassVar[dict[str, Any]] = {
        "n_steps": 16, "batch_size": 16, "n_epochs": 8, "learning_rate": 1e-3, "gamma": 0.0,
        "ent_coef": 0.01,
    }  # fmt: skip


class A2CAgent(Algorithm):
    """Advantage actor-critic."""

    name = "A2C"
    defaults: ClassVar[dict[str, Any]] = {
        "n_steps": 8, "learning_rate": 2e-3, "gamma": 0.0, "ent_coef": 0.01,
    }  # fmt: skip


class DQNAgent(Algorithm):
    """Deep Q-learning, on the knobs flattened to one number."""

    name = "DQN"
    defaults: ClassVar[dict[str, Any]] = {
        "buffer_size": 10_000, "batch_size": 32, "learning_starts": 8, "train_freq": 1,
        "gradient_steps": 4, "target_update_interval": 50, "learning_rate": 1e-3, "gamma": 0.0,
    }  # fmt: skip

    def prepared(self, env: Environment) -> Environment:
        """DQN takes `Discrete` actions only."""
        return FlattenActions(env)

    def settings(self, steps: int) -> dict[str, Any]:
        """Exploration ends after a fixed number of steps, so that a run can be prolonged."""
        return {"exploration_fraction": min(1.0, _EXPLORE / steps), **self._settings}


class MaskablePPOAgent(Algorithm):
    """PPO that never asks for what the environment's `action_masks` exclude, on the configurations
    by number: what a table lacks is masked, which the knobs one by one could not say."""

    name = "MaskablePPO"
    package = "sb3_contrib"
    defaults: ClassVar[dict[str, Any]] = PPOAgent.defaults

    def prepared(self, env: Environment) -> Environment:
        """The numbers of configurations, with the mask of those that are in the table."""
        return MaskedNumbers(env)


class RecurrentPPOAgent(Algorithm):
    """PPO with an LSTM, which remembers more than the observation's history."""

    name = "RecurrentPPO"
    package = "sb3_contrib"
    policy = "MlpLstmPolicy"
    defaults: ClassVar[dict[str, Any]] = PPOAgent.defaults


class MaskedNumbers(FlattenActions):
    """`FlattenActions` that says which numbers are in the table."""

    def action_masks(self) -> Any:
        """(N,): true for what can be asked for on this episode's shape."""
        space: Any = self.env.action_space
        mask = np.zeros(int(np.prod(space.nvec)), np.bool_)
        mask[np.ravel_multi_index(np.array(every_choice(self.env)).T, space.nvec)] = True
        return mask
