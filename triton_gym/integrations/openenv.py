"""OpenEnv (0.10): an `Environment` and the application that serves it.

    uvicorn triton_gym.integrations.openenv:app

`examples/environments/openenv` is the package that `openenv validate` takes. What a server
evaluates with is told by variables: `TRITON_GYM_DEVICE`, `TRITON_GYM_REWARD` and
`TRITON_GYM_TURNS`; a client's `reset(task=..., seed=...)` chooses the task.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Any

from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation, State
from pydantic import Field

import triton_gym
from triton_gym.action import LIMIT
from triton_gym.integrations.conversation import Conversation, Turn

SPLIT = "catalogue"
SESSIONS = 64
"""Clients at the same time."""


class KernelAction(Action):  # type: ignore[misc]
    """What a policy says."""

    reply: str = Field(max_length=4 * LIMIT)
    """A Python module with Triton kernels, alone or in one fenced block with text around it."""


class KernelObservation(Observation):  # type: ignore[misc]
    """What a policy sees."""

    message: str = ""
    """The task at first, then feedback on each reply."""
    system: str = ""
    """The system's message, at the beginning of an episode."""
    kernel: str = ""
    """The current kernel, whole."""
    status: str = ""
    """How the last reply ended; empty before the first."""
    numbers: dict[str, float] = Field(default_factory=dict)
    """What was measured of the last reply, without what does not exist."""


class KernelState(State):  # type: ignore[misc]
    """Where an episode stands."""

    task: str = ""
    best_reward: float = 0.0


class KernelEnvironment(Environment):  # type: ignore[misc]
    """Episodes of `TritonKernel` environments, one after the other.

    Args:
        options: of `KernelEnv`; by default what the variables say.

    Raises:
        InvalidOptionError, DeviceError: see `KernelEnv`.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = {**_from_variables(), **options}
        self._episode: Conversation | None = None
        self._state = KernelState(episode_id=str(uuid.uuid4()), step_count=0)

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        task: str = "softmax",
        split: str = SPLIT,
        index: int | None = None,
        injected_state: dict[str, str] | None = None,
        **unknown: Any,
    ) -> KernelObservation:
        """Begin an episode on `task`, or on the task that `index` names in a split.

        Args:
            seed: decides all inputs on the simulated device.
            episode_id: its name in `state`.
            task: name of a task or family.
            split: a name in `list_splits`.
            index: a task of the split instead of `task`.
            injected_state: what an episode came to, as a package's oracle says it: `task` and
                `kernel`. The kernel is evaluated as the first reply, and its reward observed.
            unknown: refused.

        Raises:
            InvalidOptionError: there is no such task, split, state or argument.
        """
        if unknown:
            raise triton_gym.InvalidOptionError(
                "reset takes seed, episode_id, task, split, index and injected_state; "
                f"got {sorted(unknown)}."
            )
        state = injected_state or {}
        if state and (set(state) - {"task"} != {"kernel"} or not isinstance(state["kernel"], str)):
            raise triton_gym.InvalidOptionError(
                f"injected_state holds `kernel` and if wanted `task`; got {sorted(state)}."
            )
        task = state.get("task", task)
        if index is not None:
            task = self.get_task(split, index)["id"]
        self.close()
        self._episode = Conversation(task, **self._options)
        system, user = self._episode.open(seed=seed)
        self._state = KernelState(
            episode_id=episode_id or str(uuid.uuid4()), step_count=0, task=task
        )
        if state:
            return self._observed(self._episode, self._episode.reply(state["kernel"]))
        return KernelObservation(
            message=user["content"], system=system["content"], kernel=self._episode.kernel,
            done=False, reward=0.0,
        )  # fmt: skip

    def step(
        self, action: KernelAction, timeout_s: float | None = None, **kwargs: Any
    ) -> KernelObservation:
        """Evaluate a reply. An answer ends within its own time limit, whatever `timeout_s` says."""
        episode = self._begun()
        return self._observed(episode, episode.reply(action.reply))

    async def step_async(
        self, action: KernelAction, timeout_s: float | None = None, **kwargs: Any
    ) -> KernelObservation:
        """As `step`, for the server: no thread waits for an evaluation."""
        episode = self._episode
        if episode is None:
            episode = await asyncio.to_thread(self._begun)
        return self._observed(episode, await episode.areply(action.reply))

    def _begun(self) -> Conversation:
        """The episode; of one that was never reset, on the first task."""
        if self._episode is None:
            self.reset()
        if self._episode is None:
            raise triton_gym.InvalidOptionError("reset() comes first.")
        return self._episode

    def _observed(self, episode: Conversation, turn: Turn) -> KernelObservation:
        self._state.step_count += 1
        self._state.best_reward = max(self._state.best_reward, turn.reward)
        numbers = {
            name: float(value)
            for name, value in turn.info.items()
            if isinstance(value, (int, float)) and value == value and abs(value) != float("inf")
        }
        return KernelObservation(
            message=turn.message, kernel=episode.kernel, status=str(turn.info["status"]),
            numbers=numbers, done=turn.done, reward=turn.reward,
        )  # fmt: skip

    @property
    def state(self) -> KernelState:
        """The episode's id, its task, how many replies came, the best reward."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        """Name and description."""
        return EnvironmentMetadata(
            name="triton-gym", version=triton_gym.__version__,
            description="Write fast, correct GPU kernels in Triton.",
        )  # fmt: skip

    def close(self) -> None:
        """End the episode; evaluators are shared and stay."""
        if self._episode is not None:
            self._episode.close()
            self._episode = None

    # OpenEnv's task API.

    def list_splits(self) -> list[str]:
        """The names of the splits."""
        return [SPLIT]

    def num_tasks(self, split: str) -> int:
        """How many tasks a split has."""
        return len(_names(split))

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """All tasks of a split."""
        return self.get_task_range(split)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One task.

        Raises:
            IndexError: there is none at `index`.
        """
        names = _names(split)
        if not 0 <= index < len(names):
            raise IndexError(f"{split} has {len(names)} tasks; there is none at {index}.")
        return {"id": names[index], "index": index}

    def get_task_range(
        self, split: str, start: int | None = None, stop: int | None = None
    ) -> list[dict[str, Any]]:
        """Tasks of a split, as a slice has them."""
        chosen = range(len(_names(split)))[start:stop]
        return [self.get_task(split, index) for index in chosen]


def _names(split: str) -> tuple[str, ...]:
    if split != SPLIT:
        raise triton_gym.InvalidOptionError(f"There is no split {split!r}; there is {SPLIT!r}.")
    return triton_gym.tasks()


def _from_variables() -> dict[str, Any]:
    return {
        "device": os.environ.get("TRITON_GYM_DEVICE", "auto"),
        "reward": os.environ.get("TRITON_GYM_REWARD", "kevin"),
        "max_turns": int(os.environ.get("TRITON_GYM_TURNS", "4")),
    }


def create_app(**options: Any) -> Any:
    """The application: `/reset`, `/step`, `/state`, `/schema`, `/ws`.

    Args:
        options: of `KernelEnv`.
    """
    return create_fastapi_app(
        lambda: KernelEnvironment(**options), KernelAction, KernelObservation,
        max_concurrent_envs=SESSIONS, env_name="triton-gym", state_cls=KernelState,
    )  # fmt: skip


def __getattr__(name: str) -> Any:
    """`app`, made when a server asks for it."""
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
