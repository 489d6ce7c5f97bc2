"""Many `TritonKernel` environments whose steps are evaluated in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from triton_gym.action import InvalidAction
from triton_gym.env import KernelEnv
from triton_gym.episode import check_arguments, number_of_envs
from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.service.pool import hold_evaluator, make_evaluator
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.outcome import Outcome, Status
from triton_gym.task import Task


class KernelVectorEnv(gym.vector.VectorEnv[Any, Any, npt.NDArray[Any]]):
    """`num_envs` kernel environments that share one evaluator.

    Args:
        num_envs: how many.
        tasks: what they work on, each a task or a function from a seed to one (see `KernelEnv`):
            environment i on task i, over again if there are fewer.
        device: see `Evaluator`; `cuda:all` spreads the batch over all GPUs.
        workers: evaluations at the same time on each device; see `Evaluator`.
        evaluator: used in place of one of its own, and not closed; or `local` or `ray`.
        store: file of outcomes that were found before.
        options: of `KernelEnv`.

    An environment whose episode is over is reset by the next step, which ignores its action
    (Gymnasium's `AutoresetMode.NEXT_STEP`).
    """

    def __init__(
        self,
        num_envs: int,
        tasks: Task | Callable[[int], Task] | Sequence[Task | Callable[[int], Task]],
        *,
        device: str = "auto",
        workers: int | None = None,
        evaluator: EvaluatorLike | str | None = None,
        store: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        num_envs = number_of_envs(num_envs)
        check_arguments(KernelEnv, options)
        given = tuple(tasks) if isinstance(tasks, Sequence) else (tasks,)
        if not 1 <= len(given) <= num_envs:
            raise InvalidOptionError(f"{len(given)} tasks were given for {num_envs} environments.")
        self._owned = evaluator is None or isinstance(evaluator, str)
        self._evaluator = _evaluator(evaluator, device, workers, store)
        self.envs = [
            KernelEnv(given[index % len(given)], evaluator=self._evaluator, **options)
            for index in range(num_envs)
        ]
        self.num_envs = num_envs
        first = self.envs[0]
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = first.render_mode
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._over = np.zeros(num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments; an integer seed gives environment i the seed `seed + i`."""
        seeds: list[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, int):
            seeds = [seed + index for index in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise InvalidOptionError(f"{len(seeds)} seeds were given for {self.num_envs} envs.")
        observations: list[Any] = []
        infos: dict[str, Any] = {}
        for index, (env, one) in enumerate(zip(self.envs, seeds, strict=True)):
            observation, info = env.reset(seed=one, options=options)
            observations.append(observation)
            infos = self._add_info(infos, info, index)
        self._over[:] = False
        return self._batch(observations), infos

    def step(
        self, actions: Any
    ) -> tuple[Any, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]:
        """Evaluate one action for each environment, in parallel.

        If that is interrupted, all of it is given up: no environment has taken a step.
        """
        actions = list(actions)
        if len(actions) != self.num_envs:
            raise InvalidOptionError(
                f"{len(actions)} actions were given for {self.num_envs} environments."
            )
        evaluated = self._evaluate(actions)
        rewards = np.zeros(self.num_envs, np.float64)
        terminated = np.zeros(self.num_envs, np.bool_)
        truncated = np.zeros(self.num_envs, np.bool_)
        observations: list[Any] = []
        infos: dict[str, Any] = {}
        for index, (env, begun) in enumerate(zip(self.envs, evaluated, strict=True)):
            if begun is None:
                observation, info = env.reset()
            else:
                source, outcome = begun
                observation, rewards[index], terminated[index], truncated[index], info = env.settle(
                    source, outcome
                )
            observations.append(observation)
            infos = self._add_info(infos, info, index)
        self._over = terminated | truncated
        return self._batch(observations), rewards, terminated, truncated, infos

    def _evaluate(self, actions: Sequence[str]) -> list[tuple[str | None, Outcome] | None]:
        """Source and outcome of each action; None where an episode is over."""
        states = [env.np_random.bit_generator.state for env in self.envs]
        started: list[tuple[str | None, Outcome | Future[Outcome]] | None] = []
        try:
            for over, env, action in zip(self._over, self.envs, actions, strict=True):
                started.append(None if over else self._start(env, action))
            return [one and (one[0], _outcome(one[1])) for one in started]
        except BaseException:
            for _, result in filter(None, started):
                if isinstance(result, Future):
                    result.cancel()
            for env, state in zip(self.envs, states, strict=True):
                env.np_random.bit_generator.state = state
            raise

    def _start(self, env: KernelEnv, action: str) -> tuple[str | None, Outcome | Future[Outcome]]:
        seed = env.draw_seed()
        try:
            source = env.read(action)
        except InvalidAction as invalid:
            return None, Outcome(status=Status.INVALID_ACTION, message=str(invalid))
        known = env.known(source)
        if known is not None:
            return source, known
        return source, self._evaluator.submit(env.task, source, **env.evaluation(seed))

    def _batch(self, observations: list[Any]) -> Any:
        empty: Any = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, observations, empty)

    def render(self) -> tuple[Any, ...] | None:
        """What each environment renders."""
        return tuple(env.render() for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        """End the evaluator's processes, unless the evaluator was given."""
        if self._owned:
            self._evaluator.close()


def _outcome(result: Outcome | Future[Outcome]) -> Outcome:
    return result.result() if isinstance(result, Future) else result


def _evaluator(
    given: EvaluatorLike | str | None,
    device: str,
    workers: int | None,
    store: str | os.PathLike[str] | None,
) -> EvaluatorLike:
    if given is None or isinstance(given, str):
        return make_evaluator(given or "local", device, workers=workers, store=store)
    hold_evaluator(given)
    if workers is not None or store is not None:
        raise InvalidOptionError("An evaluator has its own workers and its own store.")
    return given
