"""What an agent is: a class made with `(env, seed=...)` that has `act`.

The smallest agent::

    class Stubborn:
        def __init__(self, env, seed):
            self.env = env

        def act(self, observation, info):
            return observation["kernel"]

Everything else is optional, found by the name of the method: `learn` to see what became of an
action, `train` to drive the environment oneself, `save` to keep what was learned, `recall` to be
resumed without acting again, `upcoming` to have several actions evaluated at the same time,
`exhausted` to end early. `play` below is how all of them are used, and all there is to it.

A run is resumed by replay: the agent is made anew with the same seed and meets the recorded
outcomes again. An agent that takes all its randomness from `seed` therefore resumes exactly, with
nothing to save. One whose actions are dear or not reproducible (a language model behind a server)
defines `recall`, and is told what it did instead of being asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym

Environment = gym.Env[Any, Any]


@runtime_checkable
class Agent(Protocol):
    """Chooses actions."""

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The next action.

        Args:
            observation: what `reset` or the last `step` returned.
            info: what came with it; after a step the outcome's keys (`status`, `speedup`, …).
        """


@runtime_checkable
class Learner(Protocol):
    """An agent that is told what became of its action."""

    def learn(
        self,
        action: Any,
        observation: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[str, Any],
    ) -> None:
        """Called after every step with the action and all that `step` returned."""


@runtime_checkable
class Trainer(Protocol):
    """An agent with a loop of its own, such as stable-baselines3's algorithms."""

    def train(self, steps: int) -> None:
        """Take at most `steps` steps in the environment that the constructor was given."""


@runtime_checkable
class Saver(Protocol):
    """An agent that leaves something worth keeping."""

    def save(self, folder: Path) -> None:
        """Write what was learned into the run's folder, when the run ends."""


@runtime_checkable
class Recaller(Protocol):
    """An agent that is reminded of its actions when a run is resumed."""

    def recall(self, observation: Any, info: dict[str, Any], action: Any) -> None:
        """Called in place of `act` for every step that was taken before the interruption."""


@runtime_checkable
class Planner(Protocol):
    """An agent that knows some of its actions early."""

    def upcoming(self) -> Sequence[Any]:
        """Actions that follow the one that `act` returned last, in order, whatever becomes of it.

        Their evaluation may begin at once. They are still asked for by `act`, one after the other.
        """


@runtime_checkable
class Finite(Protocol):
    """An agent that may come to an end of its own."""

    @property
    def exhausted(self) -> bool:
        """Whether `act` has nothing new to offer."""


@runtime_checkable
class Pretrained(Protocol):
    """An agent that learns on other shapes before it is tried on one, as in `triton-gym bench`."""

    @classmethod
    def pretrain(cls, env: Environment, *, seed: int) -> Any:
        """What is learned, to be given to the constructor as `learned`; it can be pickled.

        Args:
            env: a `TritonTune` environment on the recorded times of the train shapes.
            seed: of all randomness.
        """


class Maker(Protocol):
    """How an agent is made: its class, or any function with these parameters."""

    def __call__(self, env: Environment, *, seed: int) -> Any:
        """An agent for `env` that takes all its randomness from `seed`."""


def play(
    agent: Any, env: Environment, steps: int, *, seed: int, history: Sequence[Any] = ()
) -> None:
    """Let an agent take `steps` steps, through as many episodes as that needs.

    Args:
        agent: has `act` or `train`; see the module.
        env: the environment that the agent was made for.
        steps: how many.
        seed: of the first reset; later episodes go on from it.
        history: the actions of an earlier, interrupted run of the same agent.
    """
    if isinstance(agent, Trainer):
        agent.train(steps)
        return
    observation, info = env.reset(seed=seed)
    announce = getattr(env.unwrapped, "announce", None)
    for step in range(steps):
        if isinstance(agent, Finite) and agent.exhausted:
            return
        if step < len(history) and isinstance(agent, Recaller):
            action = history[step]
            agent.recall(observation, info, action)
        else:
            action = agent.act(observation, info)
        if announce is not None and isinstance(agent, Planner) and step >= len(history):
            announce([action, *agent.upcoming()])
        observation, reward, terminated, truncated, info = env.step(action)
        if isinstance(agent, Learner):
            agent.learn(action, observation, float(reward), terminated, truncated, info)
        if (terminated or truncated) and step + 1 < steps:
            observation, info = env.reset()
