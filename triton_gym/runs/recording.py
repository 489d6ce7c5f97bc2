"""An environment that writes its steps to a run folder, and repeats those that are there.

As long as there are recorded steps, the evaluator answers from them, and every action is compared
with the recorded one. So the kernel that the environment holds and the state of its random
generator come out as they were, without being stored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Unpack, cast

import gymnasium as gym
import numpy as np

from triton_gym.errors import RunError
from triton_gym.evaluation.service.protocol import (
    EvaluationOptions,
    EvaluatorLike,
    EvaluatorWrapper,
)
from triton_gym.reward import reward_named
from triton_gym.runs.folder import RunFolder
from triton_gym.runs.records import Step

if TYPE_CHECKING:
    from triton_gym.outcome import Outcome
    from triton_gym.task import Task

Watch = Callable[[Step, Step], None]
"""Called after every step, recorded ones included, with it and with the best step so far."""


class Playback(EvaluatorWrapper):
    """An evaluator that first repeats a recorded outcome, if it has been given one."""

    def __init__(self, evaluator: EvaluatorLike) -> None:
        super().__init__(evaluator)
        self.next: Outcome | None = None

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """The recorded outcome, or a fresh evaluation."""
        if self.next is None:
            return super().submit(task, source, **options)
        known: Future[Outcome] = Future()
        known.set_result(self.next)
        self.next = None
        return known

    def evaluate(self, task: Task, source: str, **options: Unpack[EvaluationOptions]) -> Outcome:
        """The recorded outcome, or that of a fresh evaluation."""
        if self.next is not None:
            return self.submit(task, source, **options).result()
        return self.evaluator.evaluate(task, source, **options)


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Writes every step of an environment to a run folder, and replays those that are there."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        folder: RunFolder,
        playback: Playback,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(env)
        self._folder, self._playback, self._watch = folder, playback, watch
        self._recorded = tuple(folder.steps)
        self._taken = 0
        self.best: Step | None = None
        self._best_kernel: str | None = None  # not on disk yet

    def history(self) -> list[Any]:
        """The recorded actions, as the environment takes them."""
        dtype = self.env.action_space.dtype
        return [
            np.array(step.action, dtype) if isinstance(step.action, list) else step.action
            for step in self._recorded[1:]
        ]

    def start(self) -> None:
        """Evaluate, as step 0, the kernel that the environment stands at after a reset."""
        if self._recorded:
            step = self._recorded[0]
        else:
            env: Any = self.env.unwrapped
            config = self._folder.config
            started = time.perf_counter()
            outcome = self._playback.evaluate(
                env.task,
                env.kernel,
                seed=config.seed if self._playback.deterministic else None,
                baseline=config.options.get("baseline", "eager"),
            )
            reward = float(reward_named(config.options.get("reward", "kevin"))(outcome))
            seconds = time.perf_counter() - started
            step = Step(0, None, reward, False, False, seconds, {}, outcome)
            self._folder.write("start.py", env.kernel)
            self._folder.append(step)
        self._note(step)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step, or repeat the recorded one.

        Raises:
            RunError: the agent does something else than it did when the step was recorded.
        """
        self._taken += 1
        recorded = self._recorded[self._taken] if self._taken < len(self._recorded) else None
        plain = _plain(action)
        if recorded is not None and recorded.action != plain:
            raise RunError(
                f"{self._folder.path} cannot be resumed: at step {self._taken} the agent did not "
                "repeat what it did before. It must take all its randomness from its seed, or "
                "define `recall` (see triton_gym.agents.protocol)."
            )
        self._playback.next = recorded.outcome if recorded else None
        started = time.perf_counter()
        result = self.env.step(action)
        seconds = time.perf_counter() - started
        self._playback.next = None  # an action that was no kernel asked for no evaluation
        if recorded is not None:
            self._note(recorded)
            return result
        _, reward, terminated, truncated, info = result
        outcome: Outcome = cast("Any", self.env.unwrapped).outcome
        extra = {key: _plain(value) for key, value in info.items() if key not in outcome.info()}
        step = Step(
            self._taken, plain, float(reward), terminated, truncated, seconds, extra, outcome
        )
        self._folder.append(step)
        self._note(step)
        return result

    def _note(self, step: Step) -> None:
        if self.best is None or rank(step) > rank(self.best):
            self.best = step
            self._best_kernel = cast("Any", self.env.unwrapped).kernel
        # The file must not go back to older kernels while recorded steps are repeated.
        if self._best_kernel is not None and step.step + 1 >= len(self._recorded):
            self._folder.write("best.py", self._best_kernel)
            self._best_kernel = None
        if self._watch is not None:
            self._watch(step, self.best)


def rank(step: Step) -> tuple[bool, float, float]:
    """What makes one step better than another: correct, then its reward, then its time."""
    runtime = step.outcome.runtime_us
    return (
        step.outcome.correct,
        step.reward,
        -runtime if math.isfinite(runtime) else -math.inf,
    )


def _plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
