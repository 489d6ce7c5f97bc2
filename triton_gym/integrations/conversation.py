"""One episode as text: a prompt, replies, and what is said to each of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from triton_gym import prompt
from triton_gym.env import KernelEnv
from triton_gym.registration import environment_of
from triton_gym.task import Task

Message = dict[str, str]
"""A message of a conversation: `role` and `content`, as chat templates take them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of a reply."""

    message: str
    """What the policy reads next: feedback, and what to do about it."""
    reward: float
    done: bool
    """Whether the episode is over."""
    info: dict[str, Any]
    """The outcome, flat, as `step` of a `TritonKernel` environment returns it."""


class Conversation:
    """An episode of a `TritonKernel` environment, for those who pass text and a number.

    Safe for use from several threads: a server's client that says the same twice, or leaves and
    comes back, has its replies evaluated one after the other.

    Args:
        task: a task, its name or its environment's id; a family draws one at each `open`.
        options: of `KernelEnv`: `device`, `reward`, `action_mode`, `max_turns`, `baseline`,
            `limits`, `evaluator`, `store`.

    Raises:
        InvalidOptionError, DeviceError: see `KernelEnv`.
    """

    def __init__(self, task: str | Task, **options: Any) -> None:
        self._env: KernelEnv = environment_of(task, **options)
        self._turns = threading.Lock()

    @property
    def task(self) -> Task:
        """The task of this episode."""
        return self._env.task

    @property
    def kernel(self) -> str:
        """The current kernel, whole."""
        return self._env.kernel

    def open(self, seed: int | None = None, kernel: str | None = None) -> list[Message]:
        """Begin an episode.

        Args:
            seed: decides the task, where there are many, and all inputs on the simulated device.
            kernel: what to start from instead of the task's starter.

        Returns:
            The system's message and the user's first.
        """
        options = None if kernel is None else {"kernel": kernel}
        with self._turns:
            observation, _ = self._env.reset(seed=seed, options=options)
        return prompt.opening(observation)

    def reply(self, text: str) -> Turn:
        """Evaluate a reply: a kernel, or edits under `action_mode="edit"`, with text around it."""
        with self._turns:
            observation, reward, terminated, truncated, info = self._env.step(text)
        message = prompt.next_turn(observation)
        return Turn(message, float(reward), terminated or truncated, info)

    def close(self) -> None:
        """Give back what the environment holds; shared evaluators stay."""
        self._env.close()
