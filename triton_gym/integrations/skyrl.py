"""SkyRL: a text environment of SkyRL-gym (0.4).

    from triton_gym.integrations.skyrl import register
    register()                                  # then `env_class: triton_kernel` in the data

A row of the data names its task: `extra_info = {"task": "softmax"}`, or `extras={"task": ...}`
to `skyrl_gym.make`. `rows` makes such a data set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import skyrl_gym
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from triton_gym.errors import InvalidOptionError
from triton_gym.integrations.conversation import Conversation, Message

NAME = "triton_kernel"
"""The id under which `register` makes the environment known."""


class TritonKernelTextEnv(BaseTextEnv):  # type: ignore[misc]
    """An episode of `TritonKernel-<task>-v0`.

    Args:
        env_config: options of `KernelEnv` (`device`, `reward`, `action_mode`, `max_turns`, …).
        extras: the row: `task`, directly or within `extra_info`, and if wanted `seed` and
            `max_turns`.

    Raises:
        InvalidOptionError: the row names no task, or an unknown one; an option is wrong.
    """

    def __init__(self, env_config: Any = None, extras: dict[str, Any] | None = None) -> None:
        super().__init__()
        row = {**((extras or {}).get("extra_info") or {}), **(extras or {})}
        if "task" not in row:
            raise InvalidOptionError(
                "A row must name its task: extra_info={'task': 'softmax'}. Given: "
                f"{', '.join(sorted(map(str, row))) or 'nothing'}."
            )
        options = {str(name): env_config[name] for name in env_config or {}}
        if "max_turns" in row:
            options["max_turns"] = row["max_turns"]
        self.max_turns = int(options.setdefault("max_turns", 1))
        self._conversation = Conversation(row["task"], **options)
        self._seed = row.get("seed")
        self._metrics: dict[str, float] = {}

    def init(self, prompt: list[Message]) -> tuple[list[Message], dict[str, Any]]:
        """The first messages; what the row's prompt holds is replaced by the task's."""
        return self._conversation.open(seed=self._seed), {"task": self._conversation.task.name}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Evaluate a reply."""
        turn = self._conversation.reply(action)
        self.turns += 1
        self._metrics = {
            "correct": float(turn.info["correct"]), "speedup": float(turn.info["speedup"]),
        }  # fmt: skip
        said = [] if turn.done else [{"role": "user", "content": turn.message}]
        return BaseTextEnvStepOutput(
            observations=said, reward=turn.reward, done=turn.done, metadata=turn.info
        )

    def get_metrics(self) -> dict[str, float]:
        """`correct` (0 or 1) and `speedup` (NaN if untimed) of the last reply."""
        return dict(self._metrics)

    def close(self) -> None:
        """End the episode."""
        self._conversation.close()


def register(name: str = NAME) -> str:
    """Make the environment known to SkyRL-gym; again is no error. Returns its id."""
    if name not in skyrl_gym.envs.registration.registry:
        skyrl_gym.register(id=name, entry_point="triton_gym.integrations.skyrl:TritonKernelTextEnv")
    return name


def rows(tasks: Iterable[str], *, each: int = 1) -> list[dict[str, Any]]:
    """A data set in SkyRL's form.

    Args:
        tasks: names of tasks or families.
        each: rows of each, with seeds from 0.
    """
    return [
        {
            "prompt": Conversation(task).open(seed=seed),
            "env_class": NAME,
            "extra_info": {"task": task, "seed": seed},
        }
        for task in tasks
        for seed in range(each)
    ]
