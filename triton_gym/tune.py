"""`TritonTune-<task>-v0`: choose the knobs of a task's expert kernel.

A small numeric environment for ordinary reinforcement learning algorithms.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from triton_gym import knobs
from triton_gym.episode import (
    RENDER_MODES,
    TURNS,
    Known,
    check_options,
    show,
    time_limit,
    turns_of,
)
from triton_gym.errors import InvalidOptionError, InvalidTaskError, unknown
from triton_gym.evaluation.service.pool import evaluator_for
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.observation import METRICS_SIZE, metrics
from triton_gym.outcome import Outcome
from triton_gym.reward import Reward, finite, reward_named
from triton_gym.task import Task

Values = npt.NDArray[np.float32]


class TuneEnv(gym.Env[Values, npt.NDArray[np.int64]]):
    """Choose the knobs of a kernel that is already right.

    ## Description
    Every task has an expert kernel whose block sizes, warps and stages are module constants. An
    action sets all of them; the step evaluates the kernel that results.

    ## Action Space
    `MultiDiscrete`: for each of the task's knobs the index of its value, in the order of
    `env.unwrapped.knobs`.

    ## Observation Space
    `Box`, float32, shape `(number of knobs + METRICS_SIZE + 1,)`: the current indices scaled to
    [0, 1], the numbers of the last outcome, and the share of the episode that is over.

    ## Rewards
    As in `TritonKernel`.

    ## Starting State
    A random choice of knobs, not evaluated; `options={"knobs": {...}}` sets some.

    ## Episode End
    Truncates after `max_turns` steps, or after `max_episode_steps` of `gym.make` if that alone is
    given; after 8 otherwise. Never terminates. On the simulated device, whose outcomes are
    reproducible, an action that was evaluated since the last seed is not evaluated again.

    ## Arguments
    `device`, `reward`, `max_turns`, `baseline`, `limits`, `render_mode`,
    `evaluator` (an `Evaluator`, `local` or `ray`), `store` (a file of outcomes found before).

    ## Version History
    v0: first version.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        task: Task,
        *,
        device: str = "auto",
        reward: str | Reward = "kevin",
        max_turns: int | None = None,
        baseline: str = "eager",
        limits: Limits | None = None,
        render_mode: str | None = None,
        evaluator: EvaluatorLike | str | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        if not task.knobs:
            raise InvalidTaskError(f"Task {task.name!r} declares no knobs, so it cannot be tuned.")
        check_options(baseline=baseline, render_mode=render_mode)
        self.task = task
        self.knobs = {name: tuple(values) for name, values in task.knobs.items()}
        self.render_mode = render_mode
        if evaluator is None or isinstance(evaluator, str):
            asked: dict[str, Any] = {"kind": evaluator, "store": store}
            evaluator = evaluator_for(device, **{k: v for k, v in asked.items() if v is not None})
        elif store is not None:
            raise InvalidOptionError("An evaluator has its own store: Evaluator(store=...).")
        self.evaluator = evaluator
        self._sizes = [len(values) for values in self.knobs.values()]
        self.action_space = gym.spaces.MultiDiscrete(self._sizes)
        size = len(self._sizes) + METRICS_SIZE + 1
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self._reward = reward_named(reward)
        self._given_turns = turns_of(max_turns)
        self._max_turns = self._given_turns or TURNS
        self._known = Known()
        self._baseline = baseline
        self._limits = limits or Limits()
        self._choice = np.zeros(len(self._sizes), np.int64)
        self._turn = 0
        self._outcome: Outcome | None = None

    @property
    def values(self) -> dict[str, int]:
        """The current value of each knob."""
        chosen = zip(self.knobs.items(), self._choice, strict=True)
        return {name: values[int(index)] for (name, values), index in chosen}

    @property
    def kernel(self) -> str:
        """The expert's source with the current knobs."""
        return knobs.render(self.task.expert, self.values)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of the last step."""
        return self._outcome

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Values, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: decides the starting knobs, and inputs on the simulated device.
            options: `knobs`, a mapping from knob to value.
        """
        super().reset(seed=seed)
        self._max_turns = self._given_turns or time_limit() or TURNS
        if seed is not None:
            self._known.forget()
        self._choice = np.array([self.np_random.integers(n) for n in self._sizes], np.int64)
        chosen = options or {}
        if set(chosen) - {"knobs"}:
            raise unknown("reset option", sorted(set(chosen) - {"knobs"})[0], ["knobs"])
        asked = chosen.get("knobs", {})
        if not isinstance(asked, Mapping):
            raise InvalidOptionError(
                f"knobs must map names to values; got {asked!r}. Allowed: {self.knobs}."
            )
        for name, value in asked.items():
            if isinstance(value, bool) or value not in self.knobs.get(name, ()):
                raise InvalidOptionError(
                    f"{name}={value!r} is not a knob setting of {self.task.name}; "
                    f"allowed: {self.knobs}."
                )
            self._choice[list(self.knobs).index(name)] = self.knobs[name].index(value)
        self._turn = 0
        self._outcome = None
        show(self.render_mode, self._shown())
        return self._observation(), {"task": self.task.name, "device": self.evaluator.describe()}

    def step(
        self, action: npt.NDArray[np.int64]
    ) -> tuple[Values, float, bool, bool, dict[str, Any]]:
        """Evaluate a choice of knobs; `info` holds the outcome and the choice."""
        seed = int(self.np_random.integers(1 << 62))
        self._choice = self._checked(action)
        source = self.kernel
        reproducible = self.evaluator.deterministic
        self._outcome = self._known.get(source) or self.evaluator.evaluate(
            self.task, source, seed=seed if reproducible else None, baseline=self._baseline,
            limits=self._limits,
        )  # fmt: skip
        if reproducible:
            self._known.add(source, self._outcome)
        self._turn += 1
        reward = finite(self._reward(self._outcome), self._outcome)
        info = {**self._outcome.info(), "turn": self._turn, **self.values}
        show(self.render_mode, self._shown())
        return self._observation(), reward, False, self._turn >= self._max_turns, info

    def _checked(self, action: Any) -> npt.NDArray[np.int64]:
        """The indices of an action, checked as they were given: none is rounded or read."""
        given = np.asarray(action, None if isinstance(action, np.ndarray) else object)
        numbers = given.dtype.kind in "iu" or all(
            isinstance(index, int | np.integer) and not isinstance(index, bool)
            for index in given.ravel()
        )
        if numbers and given.shape == (len(self._sizes),):
            if all(0 <= index < size for index, size in zip(given, self._sizes, strict=True)):
                return given.astype(np.int64)
        raise InvalidOptionError(
            f"action {action!r} is not in {self.action_space}: one index for each of "
            f"{list(self.knobs)}."
        )

    def _observation(self) -> Values:
        scaled = self._choice / np.maximum(np.array(self._sizes) - 1, 1)
        over = self._turn / self._max_turns
        return np.concatenate([scaled, metrics(self._outcome), [over]]).astype(np.float32)

    def render(self) -> str | None:
        """The current knobs and what became of them, under `render_mode="ansi"`.

        Under `"human"` it was printed when it changed.
        """
        return self._shown() if self.render_mode == "ansi" else None

    def _shown(self) -> str:
        told = self._outcome.message if self._outcome else "not evaluated yet"
        return f"{self.task.title}, turn {self._turn}: {self.values}\n{told}"
