"""stable-baselines3's algorithms, trained on the shapes that an agent may learn on, for others.

`pretrained-ppo` and the others learn on episodes of `TURNS` evaluations over the train shapes,
drawn at each reset, with the shape in the observation, rewarded as `triton-gym bench` says: by
`best` (floor over the least time so far). On a new shape the first guess is the policy's likeliest
action; then actions are drawn from the policy, and what was tried is not asked for again while the
policy finds something new. Needs the extra `sb3`.
"""

from __future__ import annotations

import io
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError

from .protocol import Environment
from .sb3 import A2CAgent, Algorithm, DQNAgent, MaskablePPOAgent, PPOAgent
from .spaces import Choice, every_choice

STEPS = 5_000
"""Of training."""
TURNS = 8
"""Evaluations of an episode of training."""
DRAWS = 32
"""Actions that are drawn from the policy to find one that was not tried."""


class _Pretrained:
    """An algorithm that learned on other shapes.

    Args:
        env: `TritonTune` on a recorded table.
        seed: of the actions that are drawn.
        learned: what `pretrain` returned.

    Raises:
        InvalidOptionError: nothing was learned.
    """

    numeric: ClassVar[bool] = True
    algorithm: ClassVar[type[Algorithm]]
    settings: ClassVar[dict[str, Any]] = {}
    """Hyperparameters for thousands of steps, where they differ from those for hundreds."""

    @classmethod
    def pretrain(cls, env: Environment, *, seed: int) -> bytes:
        """The trained model, as stable-baselines3 writes it; see `Pretrained`."""
        short = gym.wrappers.TimeLimit(env, TURNS)
        agent = cls.algorithm(short, seed=seed, **cls.settings)
        agent.train(STEPS)
        file = io.BytesIO()
        agent.model.save(file)
        return file.getvalue()

    def __init__(self, env: Environment, *, seed: int, learned: bytes | None = None) -> None:
        if learned is None:
            raise InvalidOptionError(
                f"A pretrained {self.algorithm.name} learns on other shapes first: use `triton-gym "
                "bench`, or give learned=pretrain(env of the train shapes, seed=...)."
            )
        self._env, self._rng = env, np.random.default_rng(seed)
        made = self.algorithm(env, seed=seed)
        self._inner: Any = made.env
        self._model = made.loaded(io.BytesIO(learned))
        self._model.set_random_seed(seed)
        self._tried: set[Choice] = set()

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The likeliest choice, then those that the policy draws."""
        for draw in range(DRAWS + 1):
            choice = self._predicted(observation, likeliest=not self._tried and not draw)
            if choice not in self._tried:
                break
        else:
            left = [one for one in every_choice(self._env) if one not in self._tried]
            if left:
                choice = left[int(self._rng.integers(len(left)))]
        self._tried.add(choice)
        return np.array(choice, np.int64)

    def _predicted(self, observation: Any, *, likeliest: bool) -> Choice:
        more = {}
        if hasattr(self._inner, "action_masks"):
            more["action_masks"] = self._inner.action_masks()
        action, _ = self._model.predict(observation, deterministic=likeliest, **more)
        if self._inner is not self._env:  # it takes configurations by number
            action = self._inner.action(action)
        return tuple(int(index) for index in action)


class PretrainedPPO(_Pretrained):
    """Proximal policy optimisation."""

    algorithm = PPOAgent
    settings: ClassVar[dict[str, Any]] = {"n_steps": 256, "batch_size": 64, "n_epochs": 4}


class PretrainedA2C(_Pretrained):
    """Advantage actor-critic."""

    algorithm = A2CAgent
    settings: ClassVar[dict[str, Any]] = {"n_steps": 16}


class PretrainedDQN(_Pretrained):
    """Deep Q-learning; what it draws is its own choice, or one in twenty times any."""

    algorithm = DQNAgent
    settings: ClassVar[dict[str, Any]] = {
        "learning_starts": 500, "train_freq": 4, "gradient_steps": 1, "exploration_fraction": 0.5,
        "target_update_interval": 250, "batch_size": 64,
    }  # fmt: skip


class PretrainedMaskablePPO(_Pretrained):
    """PPO on the configurations by number, without those that the table lacks."""

    algorithm = MaskablePPOAgent
    settings = PretrainedPPO.settings
