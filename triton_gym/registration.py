"""From task names to Gymnasium ids, without importing a task until it is made."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from triton_gym.errors import InvalidTaskError, unknown

if TYPE_CHECKING:
    from triton_gym.task import Task

_own: dict[str, Task] = {}
"""Tasks that users registered, by name."""


@cache
def catalogue() -> tuple[str, ...]:
    """Names of the bundled tasks: the folders of `triton_gym.envs`."""
    package = importlib.import_module("triton_gym.envs")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg))


def tasks() -> tuple[str, ...]:
    """Names of all tasks: the bundled ones and the user's own."""
    return (*catalogue(), *sorted(_own))


def load(name: str) -> Task:
    """The task of a name.

    Raises:
        InvalidOptionError: there is none; the message suggests the nearest.
    """
    if name in _own:
        return _own[name]
    if name not in catalogue():
        raise unknown("task", name, tasks())
    task: Task = importlib.import_module(f"triton_gym.envs.{name}.task").TASK
    if task.name != name:
        raise InvalidTaskError(f"The folder envs/{name} holds a task named {task.name!r}.")
    return task


def register(task: Task) -> str:
    """Make a task of your own available: `gym.make("TritonKernel-<name>-v<version>")`.

    Returns:
        The id of its kernel environment. A task with knobs has a `TritonTune` id as well.

    Raises:
        InvalidTaskError: a bundled task has the name.
    """
    if task.name in catalogue():
        raise InvalidTaskError(
            f"A bundled task is already called {task.name!r}; choose another name."
        )
    _own[task.name] = task
    _register_ids(task.name, task.version, tune=bool(task.knobs))
    return f"TritonKernel-{task.name}-v{task.version}"


def register_catalogue() -> None:
    """Register the ids of all bundled tasks with Gymnasium."""
    for name in catalogue():
        _register_ids(name, 0, tune=True)


def _register_ids(name: str, version: int, *, tune: bool) -> None:
    gym.register(
        id=f"TritonKernel-{name}-v{version}",
        entry_point="triton_gym.registration:make_kernel_env",
        vector_entry_point="triton_gym.registration:make_vector_env",
        kwargs={"task": name},
        disable_env_checker=True,
    )
    if tune:
        gym.register(
            id=f"TritonTune-{name}-v{version}",
            entry_point="triton_gym.registration:make_tune_env",
            kwargs={"task": name},
            disable_env_checker=True,
        )


def make_kernel_env(task: str | Task, **options: Any) -> gym.Env[Any, Any]:
    """A `TritonKernel` environment; what `gym.make` calls."""
    from triton_gym.env import KernelEnv

    return KernelEnv(load(task) if isinstance(task, str) else task, **options)


def make_tune_env(task: str | Task, **options: Any) -> gym.Env[Any, Any]:
    """A `TritonTune` environment; what `gym.make` calls."""
    from triton_gym.tune import TuneEnv

    return TuneEnv(load(task) if isinstance(task, str) else task, **options)


def make_vector_env(
    num_envs: int, task: str | Task, tasks: Sequence[str | Task] = (), **options: Any
) -> Any:
    """A vector environment that evaluates its batch in parallel; what `gym.make_vec` calls.

    With `tasks=` its environments work on these in turn, instead of all on the id's task.
    """
    from triton_gym.vector import KernelVectorEnv

    given = [load(one) if isinstance(one, str) else one for one in tasks or (task,)]
    return KernelVectorEnv(num_envs, given, **options)
