"""What a user types on the command line, read."""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

import gymnasium

from triton_gym import registration
from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.task import Task

LARGEST_SEED = 2**32 - 1
"""What every generator takes that a seed goes to: NumPy's, PyTorch's, stable-baselines3's."""
_ID = re.compile(r"(?:(?P<module>[\w.]+):)?Triton(?:Kernel|Tune)-(?P<task>\w+)-v\d+")


def task_of(name: str) -> Task:
    """The task that a name or an id, e.g. `softmax` or `TritonTune-softmax-v0`, stands for.

    An id may be preceded by the module that registers it, as with `gym.make`.

    Raises:
        InvalidOptionError: there is no such task.
    """
    found = _ID.fullmatch(name)
    if found and found["module"]:
        try:
            importlib.import_module(found["module"])
        except ModuleNotFoundError as error:
            raise InvalidOptionError(f"{name!r}: {error}.") from None
        name = name.removeprefix(f"{found['module']}:")
    return registration.task_of(name)


def ids_of(name: str, task: Task) -> list[str]:
    """The environments of a task."""
    kinds = ["TritonKernel", "TritonTune"] if task.knobs else ["TritonKernel"]
    return [f"{kind}-{name}-v{task.version}" for kind in kinds]


def family_id(name: str) -> str:
    """The environment of a family of tasks."""
    return f"TritonKernel-{name}-v0"


def environment_id(name: str, *, numeric: bool = False) -> str:
    """The id as given, or an environment of a bare task's or family's name.

    Args:
        name: an id, or the name of a task or family.
        numeric: of a task with knobs take `TritonTune`, for an agent that learns numbers.
    """
    if name in registration.tasks():
        return ids_of(name, registration.load(name))[-1 if numeric else 0]
    if name in registration.families():
        return family_id(name)
    if not _ID.fullmatch(name):
        known = [*registration.tasks(), *registration.families()]
        if "-" in name:  # nearer to an id than to the name of a task
            known = [
                i for i in gymnasium.registry if i.startswith(("TritonKernel-", "TritonTune-"))
            ]
        raise unknown("environment", name, known)
    return name


def options_from(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs as arguments; a value that is a Python literal is read as one.

    Raises:
        InvalidOptionError: there is no `=` in one.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InvalidOptionError(f"--env-arg takes key=value; got {pair!r}.")
        try:
            options[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[key] = text
    return options
