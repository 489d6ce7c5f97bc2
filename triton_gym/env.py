"""`TritonKernel-<task>-v0`: write a kernel, see it compiled, tested and profiled."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import gymnasium as gym

from triton_gym.action import LIMIT, MODES, InvalidAction, extract
from triton_gym.episode import (
    RENDER_MODES,
    TURNS,
    Known,
    check_options,
    reset_options,
    show,
    time_limit,
    turns_of,
)
from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.evaluation.service.pool import chosen_evaluator
from triton_gym.evaluation.service.protocol import EvaluationOptions, EvaluatorLike
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.observation import kernel_observation_space, observe
from triton_gym.outcome import Outcome, Status
from triton_gym.printing import printable
from triton_gym.reward import Reward, finite, reward_named
from triton_gym.spaces import CodeText
from triton_gym.task import Task


class KernelEnv(gym.Env[dict[str, Any], str]):
    """Write a Triton kernel for one task.

    ## Description
    The agent is shown a task and a correct, plain kernel, and submits better ones. Every step
    screens, compiles, tests and profiles what was submitted, in processes of its own, on the GPU
    or on its simulation.

    ## Action Space
    `Text`. Under `action_mode="kernel"` a full Python module, or a reply with one in a fenced
    block; under `"edit"` SEARCH/REPLACE blocks or a unified diff against the current kernel.
    `triton_gym.extract` reads both; a reply with long thoughts may be longer than the space says.

    ## Observation Space
    `Dict` of `task`, `kernel`, `feedback` (`Text`) and `metrics` (`Box`, float32; see
    `triton_gym.observation.metrics`). `kernel` is the last submitted source, or the one before
    if no source could be read from the action.

    ## Rewards
    `reward=` names one of `triton_gym.reward.REWARDS` or is a callable over an `Outcome`.

    ## Starting State
    The task's starter, or `options={"kernel": source}` at `reset`. Where `task` is a function from
    a seed to a task, every reset draws a new one; until the first reset it is that of seed 0.

    ## Episode End
    Truncates after `max_turns` steps, or after `max_episode_steps` of `gym.make` if that alone is
    given; after 8 otherwise. Never terminates. On the simulated device, whose outcomes are
    reproducible, an action that was evaluated since the last seed is not evaluated again.

    ## Arguments
    `device`, `action_mode`, `reward`, `max_turns`, `baseline`, `limits`, `render_mode`,
    `evaluator` (an `Evaluator`, `local` or `ray`), `store` (a file of outcomes found before).

    ## Version History
    v0: first version.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        task: Task | Callable[[int], Task],
        *,
        device: str = "auto",
        action_mode: str = "kernel",
        reward: str | Reward = "kevin",
        max_turns: int | None = None,
        baseline: str = "eager",
        limits: Limits | None = None,
        render_mode: str | None = None,
        evaluator: EvaluatorLike | str | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        if action_mode not in MODES:
            raise unknown("action_mode", action_mode, MODES)
        check_options(baseline=baseline, render_mode=render_mode, limits=limits)
        self._draw_task = None if isinstance(task, Task) else task
        self.task = task if isinstance(task, Task) else task(0)
        self.render_mode = render_mode
        self.evaluator = chosen_evaluator(evaluator, device, store)
        self.action_space = CodeText(LIMIT)
        self.observation_space = kernel_observation_space()
        self._action_mode = action_mode
        self._reward = reward_named(reward)
        self._given_turns = turns_of(max_turns)
        self._max_turns = self._given_turns or TURNS
        self._known = Known()
        self._baseline = baseline
        self._limits = limits or Limits()
        self._kernel = self.task.starter
        self._feedback = ""
        self._turn = 0
        self._outcome: Outcome | None = None
        self._begun: dict[tuple[str, int | None], Future[Outcome]] = {}

    @property
    def action_mode(self) -> str:
        """`kernel` or `edit`."""
        return self._action_mode

    @property
    def kernel(self) -> str:
        """The current kernel, whole."""
        return self._kernel

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of the last step."""
        return self._outcome

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: decides the task, where there are many, and the inputs of all later evaluations
                on the simulated device.
            options: `kernel`, a source to start from instead of the task's starter.
        """
        super().reset(seed=seed)
        self._max_turns = self._given_turns or time_limit() or TURNS
        chosen = reset_options(options, ["kernel"])
        if not isinstance(chosen.get("kernel", ""), str):
            raise InvalidOptionError(
                f"The kernel to start from must be text; got {type(chosen['kernel']).__name__}."
            )
        if seed is not None or self._draw_task:
            self._known.forget()
        if self._draw_task:
            self.task = self._draw_task(self.draw_seed())
        self._kernel = chosen.get("kernel", self.task.starter)
        self._feedback = "This is the starting kernel. Submit a faster one."
        self._turn = 0
        self._outcome = None
        show(self.render_mode, self._shown())
        return self._observation(), {
            "task": self.task.name, "device": self.evaluator.describe(),
            "notes": "; ".join(self.task.notes),
        }  # fmt: skip

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Evaluate a kernel or an edit; `info` holds the outcome."""
        options = self.evaluation(self.draw_seed())
        begun = self._begun.pop((action, options["seed"]), None)
        try:
            source = self.read(action)
        except InvalidAction as invalid:
            return self.settle(None, Outcome(status=Status.INVALID_ACTION, message=str(invalid)))
        outcome = self.known(source)
        if outcome is None and begun is not None:
            outcome = begun.result()
        elif outcome is None:
            outcome = self.evaluator.evaluate(self.task, source, **options)
        return self.settle(source, outcome)

    def announce(self, actions: Sequence[str]) -> None:
        """Begin the evaluation of actions that the next steps will take, in this order.

        Steps are no different for it but in how long they take. Edits are not begun, since they
        depend on the kernel that stands then, nor is anything where every episode has a task of its
        own.
        """
        if self._action_mode != "kernel" or self._draw_task is not None:
            return
        generator = copy.deepcopy(self.np_random)  # as the steps will draw
        for action in actions:
            options = self.evaluation(int(generator.integers(1 << 62)))
            key = (action, options["seed"])
            if key in self._begun:
                continue
            try:
                source = self.read(action)
            except InvalidAction:
                continue
            if self.known(source) is None:
                self._begun[key] = self.evaluator.submit(self.task, source, **options)

    def close(self) -> None:
        """Let go of evaluations that no step has asked for."""
        for future in self._begun.values():
            future.cancel()
        self._begun.clear()

    # The parts of a step, for vector environments that evaluate many at once.

    def draw_seed(self) -> int:
        """The seed of the next evaluation, drawn from the environment's generator."""
        return int(self.np_random.integers(1 << 62))

    def read(self, action: str) -> str:
        """The source that an action stands for.

        Raises:
            InvalidAction: there is none.
        """
        current = self._kernel if self._action_mode == "edit" else None
        return extract(action, self.task, current=current)

    def known(self, source: str) -> Outcome | None:
        """The outcome of a source that need not be evaluated again."""
        return self._known.get(source)

    def evaluation(self, seed: int) -> EvaluationOptions:
        """Options of the evaluator for the next evaluation.

        Where a seed makes nothing reproducible, the judge draws one that nothing can predict.
        """
        secret = seed if self.evaluator.deterministic else None
        return {"seed": secret, "baseline": self._baseline, "limits": self._limits}

    def settle(
        self, source: str | None, outcome: Outcome
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """What `step` returns for an outcome."""
        self._turn += 1
        if source is not None:
            self._kernel = source
            if self.evaluator.deterministic:
                self._known.add(source, outcome)
        self._outcome = outcome
        self._feedback = f"{outcome.status}: {outcome.message}"
        reward = finite(self._reward(outcome), outcome)
        info = {**outcome.info(), "turn": self._turn, "notes": "; ".join(self.task.notes)}
        show(self.render_mode, self._shown())
        return self._observation(), reward, False, self._turn >= self._max_turns, info

    def _observation(self) -> dict[str, Any]:
        return observe(self.task, self._kernel, self._feedback, self._outcome, self._action_mode)

    def render(self) -> str | None:
        """The current kernel and its feedback, under `render_mode="ansi"`.

        Under `"human"` it was printed when it changed.
        """
        return self._shown() if self.render_mode == "ansi" else None

    def _shown(self) -> str:
        return (
            f"{self.task.title}, turn {self._turn}\n{self._feedback}\n\n{printable(self._kernel)}"
        )
