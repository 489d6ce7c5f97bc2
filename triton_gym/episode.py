"""What both kinds of environments share: arguments that are checked, outcomes that are known."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Collection, Iterable, Mapping
from types import FrameType
from typing import Any

import gymnasium as gym

from triton_gym import printing
from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.evaluation.service.options import BASELINES
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import Outcome, Status

RENDER_MODES = ("human", "ansi")
TURNS = 8
"""Steps of an episode, unless given."""
_KNOWN = 4096
"""Most outcomes that an environment remembers."""


def check_options(*, baseline: str, render_mode: str | None, limits: Limits | None = None) -> None:
    """Check arguments that both environments take.

    Raises:
        InvalidOptionError: one is outside what is allowed.
    """
    if baseline not in BASELINES:
        raise unknown("baseline", baseline, BASELINES)
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise unknown("render_mode", render_mode, RENDER_MODES)
    if limits is not None and not isinstance(limits, Limits):
        raise InvalidOptionError(f"limits must be a triton_gym.Limits or None; got {limits!r}.")


def check_arguments(
    made: type[gym.Env[Any, Any]], options: Mapping[str, Any], others: Iterable[str] = ()
) -> None:
    """Check that an environment's class takes the arguments that it is to be made with.

    Args:
        made: the class.
        options: the arguments, without those that others have taken already.
        others: names of those.

    Raises:
        InvalidOptionError: it does not take one; the message suggests the nearest that it takes.
    """
    names = [name for name in inspect.signature(made).parameters if name != "task"]
    for name in options:
        if name not in names:
            raise unknown("argument", name, [*names, *others, "max_episode_steps"])


def reset_options(given: Any, allowed: Collection[str]) -> Mapping[str, Any]:
    """The options of a reset.

    Raises:
        InvalidOptionError: they are no mapping, or one is not known.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOptionError(f"options of a reset must be a dict; got {given!r:.80}.")
    if extra := sorted(map(str, set(given) - set(allowed))):
        raise unknown("reset option", extra[0], allowed)
    return given


def number_of_envs(given: Any) -> int:
    """How many environments a vector environment is to have.

    Raises:
        InvalidOptionError: it is not a number of 1 or more.
    """
    try:
        number = operator.index(given)
    except TypeError:
        number = 0
    if isinstance(given, bool) or number < 1:
        raise InvalidOptionError(f"num_envs must be 1 or more; got {given!r}.")
    return number


def turns_of(max_turns: int | None) -> int | None:
    """Steps of an episode as they were given.

    Raises:
        InvalidOptionError: it is not a number of 1 or more.
    """
    if max_turns is None or (type(max_turns) is int and max_turns >= 1):
        return max_turns
    raise InvalidOptionError(f"max_turns must be a number of 1 or more; got {max_turns!r}.")


def time_limit() -> int | None:
    """Steps that a `gymnasium.wrappers.TimeLimit` around the environment allows, while it resets.

    `gym.make(id, max_episode_steps=20)` makes such a wrapper and tells the environment nothing of
    it, which would end episodes of its own accord earlier. The wrapper's `reset` calls the
    environment's, so it is found among the callers.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and isinstance(caller := frame.f_locals.get("self"), gym.Env):
        if isinstance(caller, gym.wrappers.TimeLimit):
            return int(caller._max_episode_steps)
        frame = frame.f_back
    return None


def show(render_mode: str | None, text: str) -> None:
    """Print what is to be seen of an environment, under `render_mode="human"`."""
    if render_mode == "human":
        printing.show(text)


class Known:
    """Outcomes of sources that an environment evaluated, where a device gives the same again.

    It forgets when a seed is given, so that the same seed and actions give the same everything.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}

    def get(self, source: str) -> Outcome | None:
        """The outcome of an equal source, if there was one."""
        return self._outcomes.get(source)

    def add(self, source: str, outcome: Outcome) -> None:
        """Remember an outcome. How long an answer may take depends on the machine: a timeout is
        not remembered."""
        if outcome.status is Status.TIMEOUT:
            return
        if len(self._outcomes) >= _KNOWN:
            self._outcomes.pop(next(iter(self._outcomes)))
        self._outcomes[source] = outcome

    def forget(self) -> None:
        """Evaluate everything afresh from here on."""
        self._outcomes.clear()
