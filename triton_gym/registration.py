"""From task names to Gymnasium ids, without importing a task until it is made."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from triton_gym.errors import InvalidOptionError, InvalidTaskError, unknown

if TYPE_CHECKING:
    from triton_gym.env import KernelEnv
    from triton_gym.task import Task

_ID = re.compile(r"(?:triton_gym:)?Triton(?:Kernel|Tune)-(.+)-v\d+")

_own: dict[str, Task] = {}
"""Tasks that users registered, by name."""
_lazy: dict[str, Callable[[], Task]] = {}
"""What loads the tasks that were registered without being loaded."""


@cache
def catalogue() -> tuple[str, ...]:
    """Names of the bundled tasks: the folders below `triton_gym.envs` with a `task.py`."""
    return tuple(_packages_with("task.py"))


@cache
def families() -> tuple[str, ...]:
    """Names of the bundled families of tasks: the folders below `triton_gym.envs` with a
    `family.py`.

    `TritonKernel-<family>-v0` draws a new task at each reset.
    """
    return tuple(_packages_with("family.py"))


@cache
def _packages_with(file: str) -> Mapping[str, str]:
    """Packages of the folders below `triton_gym.envs` that hold a file, by the folders' names.

    Folders lie at any depth, grouped by suite, and need no `__init__.py`.
    """
    found: dict[str, str] = {}
    for root in importlib.import_module("triton_gym.envs").__path__:
        for folder in (path.parent for path in Path(root).rglob(file)):
            package = ".".join(("triton_gym.envs", *folder.relative_to(root).parts))
            if found.setdefault(folder.name, package) != package:
                raise InvalidTaskError(
                    f"Two folders of the catalogue are called {folder.name!r}: "
                    f"{found[folder.name]} and {package}."
                )
    return dict(sorted(found.items()))


def tasks(*, tag: str = "") -> tuple[str, ...]:
    """Names of all tasks, the bundled ones and the user's own, or of those with a tag.

    A suite's problem counts once it is loaded; `Suite.ids` names all of them.

    Args:
        tag: a suite (`core`, `mlperf`, `spec`, …) or a category (`matrix`, `attention`, …).

    Raises:
        InvalidOptionError: no task has the tag, and the message suggests the nearest.
    """
    names = (*catalogue(), *sorted(_own))
    if not tag:
        return names
    tags = {name: load(name).tags for name in names}
    if not any(tag in some for some in tags.values()):
        raise unknown("tag", tag, sorted({one for some in tags.values() for one in some}))
    return tuple(name for name in names if tag in tags[name])


def load(name: str) -> Task:
    """The task of a name.

    Raises:
        InvalidOptionError: there is none, and the message suggests the nearest; or it is a family.
    """
    if name in _lazy and name not in _own:
        _own[name] = _lazy[name]()
    if name in _own:
        return _own[name]
    if name in families():
        raise InvalidOptionError(
            f"{name!r} is a family of tasks, of which each reset draws one: "
            f'gym.make("TritonKernel-{name}-v0").'
        )
    if name not in catalogue():
        raise unknown("task", name, [*tasks(), *_lazy])
    package = _packages_with("task.py")[name]
    task: Task = importlib.import_module(f"{package}.task").TASK
    if task.name != name:
        raise InvalidTaskError(f"The folder of {package} holds a task named {task.name!r}.")
    return task


def name_in(text: str) -> str:
    """The task or family that a name or an environment's id names."""
    found = _ID.fullmatch(text.strip())
    return found[1] if found else text.strip()


def task_of(task: str | Task) -> Task:
    """The task that a name or an environment's id names, or the task itself.

    Raises:
        InvalidOptionError: see `load`.
    """
    return load(name_in(task)) if isinstance(task, str) else task


def environment_of(task: str | Task, **options: Any) -> KernelEnv:
    """A `TritonKernel` environment without Gymnasium's wrappers, for adapters and agents.

    Args:
        task: a task, the name of one or of a family, or an environment's id.
        options: of `KernelEnv`, and of the family.

    Raises:
        InvalidOptionError: there is no such task; an option is wrong.
    """
    name = name_in(task) if isinstance(task, str) else ""
    made: Any = (
        make_family_env(name, **options)
        if name in families()
        else make_kernel_env(task_of(task), **options)
    )
    return made  # type: ignore[no-any-return]


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


def register_lazily(name: str, loader: Callable[[], Task]) -> str:
    """Make a task available that is loaded when it is first asked for, e.g. by `gym.make`.

    Args:
        name: of the task.
        loader: makes it. It may raise `InvalidTaskError`.

    Returns:
        The id of its kernel environment.

    Raises:
        InvalidTaskError: a bundled task has the name.
    """
    if name in catalogue():
        raise InvalidTaskError(f"A bundled task is already called {name!r}; choose another name.")
    _own.pop(name, None)
    _lazy[name] = loader
    _register_ids(name, 0, tune=False)
    return f"TritonKernel-{name}-v0"


def kernel_id(name: str) -> str:
    """The kernel environment of a task's or a family's bare name; other names as they are."""
    if name in families():
        return f"TritonKernel-{name}-v0"
    return f"TritonKernel-{name}-v{load(name).version}" if name in tasks() else name


def register_catalogue() -> None:
    """Register the ids of all bundled tasks and families with Gymnasium."""
    for name in catalogue():
        _register_ids(name, 0, tune=True)
    for name in families():
        gym.register(
            id=f"TritonKernel-{name}-v0",
            entry_point="triton_gym.registration:make_family_env",
            vector_entry_point="triton_gym.registration:make_family_vector_env",
            kwargs={"family": name},
            disable_env_checker=True,
        )
    gym.register(
        id="TritonTune-any-v0",
        entry_point="triton_gym.registration:make_tune_any_env",
        disable_env_checker=True,
    )


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
            vector_entry_point="triton_gym.registration:make_tune_vector_env",
            kwargs={"task": name},
            disable_env_checker=True,
        )


def make_kernel_env(task: str | Task, **options: Any) -> gym.Env[Any, Any]:
    """A `TritonKernel` environment; what `gym.make` calls."""
    from triton_gym.env import KernelEnv
    from triton_gym.episode import check_arguments

    check_arguments(KernelEnv, options)
    return KernelEnv(load(task) if isinstance(task, str) else task, **options)


def make_tune_env(task: str | Task, **options: Any) -> gym.Env[Any, Any]:
    """A `TritonTune` environment; what `gym.make` calls."""
    from triton_gym.tuning.opening import tune_env

    return tune_env(task_of(task), **options)


def make_tune_vector_env(num_envs: int, task: str | Task, **options: Any) -> Any:
    """Many `TritonTune` environments at once; what `gym.make_vec` calls."""
    from triton_gym.tuning.opening import tune_vector_env

    return tune_vector_env(num_envs, task_of(task), **_turns(options))


def make_tune_any_env(**options: Any) -> gym.Env[Any, Any]:
    """A `TritonTune` environment over all recorded tables; what `gym.make` calls."""
    from triton_gym.tuning.opening import tune_any_env

    return tune_any_env(load, **options)


def make_vector_env(
    num_envs: int,
    task: str | Task,
    tasks: Sequence[str | Task] | str | Task | None = None,
    **options: Any,
) -> Any:
    """A vector environment that evaluates its batch in parallel; what `gym.make_vec` calls.

    With `tasks=` its environments work on these in turn, instead of all on the id's task; with
    `num_envs=1`, which is what `gym.make_vec` takes if it is told nothing, each has one.
    """
    from triton_gym.episode import number_of_envs
    from triton_gym.vector import KernelVectorEnv

    alone = tasks is None or isinstance(tasks, str) or not isinstance(tasks, Sequence)
    named: Any = (task if tasks is None else tasks,) if alone else tasks
    given = [load(one) if isinstance(one, str) else one for one in named]
    count = len(given) if number_of_envs(num_envs) == 1 and given else num_envs
    return KernelVectorEnv(count, given, **_turns(options))


def _turns(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a vector environment, with Gymnasium's name for the length of an episode.

    `gym.make` keeps `max_episode_steps` to itself; `gym.make_vec` passes it on.
    """
    given = dict(options)
    steps = given.pop("max_episode_steps", None)
    return given if steps in (None, -1) else {"max_turns": steps, **given}


def family_of(name: str) -> type[Callable[[int], Task]]:
    """The class of a family: made with its options, it is a function from a seed to a task."""
    package = _packages_with("family.py")[name]
    found: type[Callable[[int], Task]] = importlib.import_module(f"{package}.family").Family
    return found


def make_family_env(family: str, **options: Any) -> gym.Env[Any, Any]:
    """A `TritonKernel` environment with a new task at each reset; what `gym.make` calls.

    Options that are fields of the family (for `composed`: `split`, `difficulty`, `kind`) choose
    its tasks, the others are of `KernelEnv`.
    """
    from triton_gym.env import KernelEnv
    from triton_gym.episode import check_arguments

    draw, others = _family(family, options)
    check_arguments(KernelEnv, others, _own_options(family))
    return KernelEnv(draw, **others)


def make_family_vector_env(num_envs: int, family: str, **options: Any) -> Any:
    """A vector environment over a family; what `gym.make_vec` calls."""
    from triton_gym.vector import KernelVectorEnv

    draw, others = _family(family, options)
    return KernelVectorEnv(num_envs, draw, **_turns(others))


def _family(name: str, options: dict[str, Any]) -> tuple[Callable[[int], Task], dict[str, Any]]:
    """A family with its options, and the options that are not its."""
    family: Any = family_of(name)
    own = _own_options(name)
    chosen = {key: value for key, value in options.items() if key in own}
    return family(**chosen), {k: v for k, v in options.items() if k not in own}


def _own_options(name: str) -> set[str]:
    """Names of the options that choose a family's tasks."""
    family: Any = family_of(name)
    return {field.name for field in dataclasses.fields(family)}
