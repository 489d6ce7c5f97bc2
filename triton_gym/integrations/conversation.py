"""One episode as text: a prompt, replies, and what is said to each of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from triton_gym import prompt
from triton_gym.action import InvalidAction
from triton_gym.env import KernelEnv
from triton_gym.errors import QueueFullError
from triton_gym.evaluation.service.protocol import EvaluationOptions
from triton_gym.outcome import Outcome, Status
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
    """By the episode's named reward; finite."""
    done: bool
    """Whether the episode is over."""
    info: dict[str, Any]
    """The outcome, flat, as `step` of a `TritonKernel` environment returns it."""


class Conversation:
    """An episode of a `TritonKernel` environment, for those who pass text and a number.

    Safe for use from several threads and tasks: a server's client that says the same twice, or
    leaves and comes back, has its replies evaluated one after the other.

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
            return _turn(self._env.step(text))

    async def areply(self, text: str) -> Turn:
        """As `reply`, for an event loop: no thread waits, however many episodes are under way.

        Cancelled, it cancels the evaluation, and the reply counts as not said.
        """
        env = self._env
        async with _held(self._turns):
            seed = env.draw_seed()
            try:
                source = env.read(text)
            except InvalidAction as invalid:
                outcome = Outcome(status=Status.INVALID_ACTION, message=str(invalid))
                return _turn(env.settle(None, outcome))
            found = env.known(source)
            if found is None:
                found = await self._evaluated(source, seed)
            return _turn(env.settle(source, found))

    async def _evaluated(self, source: str, seed: int) -> Outcome:
        evaluator, options = self._env.evaluator, self._env.evaluation(seed)
        at_once: EvaluationOptions = {**options, "wait": False}
        try:
            future = evaluator.submit(self.task, source, **at_once)
        except QueueFullError:  # what waits for room must not be the event loop
            future = await asyncio.to_thread(evaluator.submit, self.task, source, **options)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Give back what the environment holds; shared evaluators stay."""
        self._env.close()


def _turn(step: tuple[dict[str, Any], float, bool, bool, dict[str, Any]]) -> Turn:
    observation, reward, terminated, truncated, info = step
    return Turn(prompt.next_turn(observation), float(reward), terminated or truncated, info)


@contextlib.asynccontextmanager
async def _held(lock: threading.Lock) -> AsyncIterator[None]:
    """Hold a lock that threads take too; a thread waits for it only where it is not free."""
    if not lock.acquire(blocking=False):
        waiting = asyncio.get_running_loop().run_in_executor(None, lock.acquire)
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            waiting.add_done_callback(lambda _: lock.release())  # it is had later, for nobody
            raise
    try:
        yield
    finally:
        lock.release()
