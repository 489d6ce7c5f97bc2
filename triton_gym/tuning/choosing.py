"""Actions of a tuning environment: from an action to a choice of knobs.

`configuration`: `MultiDiscrete`, an index for each knob. `index`: `Discrete`, a configuration out
of a list, for DQN and for masks (MaskablePPO masks each knob by itself, which limits of shared
memory do not fit). `step`: `Discrete`, one knob one step down or up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from triton_gym.errors import InvalidOptionError, unknown

ACTION_MODES = ("configuration", "index", "step")
Choice = tuple[int, ...]


class Actions:
    """The actions of an environment, whose tasks may have fewer knobs and values than its space.

    Args:
        mode: one of `ACTION_MODES`.
        sizes: of each task how many values its knobs have.
        count: most configurations of a task in the list of `index`.
        names: of the knobs.

    Raises:
        InvalidOptionError: there is no such mode.
    """

    def __init__(
        self, mode: str, sizes: Sequence[Sequence[int]], count: int, names: Sequence[str]
    ) -> None:
        if mode not in ACTION_MODES:
            raise unknown("action_mode", mode, ACTION_MODES)
        widest = [0] * len(names)
        for own in sizes:
            for place, size in enumerate(own):
                widest[place] = max(widest[place], size)
        self.mode, self.widest, self._count, self._names = mode, tuple(widest), count, tuple(names)
        self.space = action_space(mode, widest, count)

    def choice(
        self, action: Any, current: Choice, sizes: Sequence[int], count: int,
        numbered: Callable[[int], Choice],
    ) -> Choice | None:  # fmt: skip
        """The choice that an action stands for; None for one that a task lacks.

        Args:
            action: of the space.
            current: the choice that a step goes from.
            sizes: how many values each of the task's knobs has.
            count: configurations in its list.
            numbered: one of them.

        Raises:
            InvalidOptionError: the action is not in the space.
        """
        if self.mode == "configuration":
            found = whole_numbers(action, self.widest, self._names)
            own = found[: len(sizes)]  # of padded knobs the rest counts nothing
            return own if all(map(int.__lt__, own, sizes)) else None
        if self.mode == "index":
            number = whole_number(action, self._count, "a configuration")
            return numbered(number) if number < count else None
        number = whole_number(action, 2 * len(self.widest), "a knob's step down or up")
        return stepped(current, number, sizes) if number < 2 * len(sizes) else None

    def masks(self, current: Choice, sizes: Sequence[int], count: int) -> npt.NDArray[np.bool_]:
        """Which actions are allowed now, flat as sb3-contrib takes it; arguments as of `choice`."""
        if self.mode == "index":
            return np.arange(self._count) < count
        if self.mode == "step":
            allowed = np.zeros(2 * len(self.widest), np.bool_)
            for knob, size in enumerate(sizes):
                allowed[2 * knob] = current[knob] > 0
                allowed[2 * knob + 1] = current[knob] < size - 1
            return allowed if allowed.any() else np.ones_like(allowed)
        padded = [*sizes, *[1] * (len(self.widest) - len(sizes))]
        return np.concatenate(
            [np.arange(most) < size for most, size in zip(self.widest, padded, strict=True)]
        )


def action_space(mode: str, sizes: Sequence[int], count: int) -> gym.Space[Any]:
    """The space of a mode.

    Args:
        mode: one of `ACTION_MODES`.
        sizes: how many values each knob has.
        count: configurations in the list of `index`.
    """
    if mode == "configuration":
        return gym.spaces.MultiDiscrete(list(sizes))
    return gym.spaces.Discrete(count if mode == "index" else 2 * len(sizes))


def whole_numbers(action: Any, sizes: Sequence[int], names: Sequence[str]) -> Choice:
    """A `configuration` action as a choice. It is never rounded, cast or cut.

    Raises:
        InvalidOptionError: it is not one index for each knob.
    """
    found = np.asarray(action, None if isinstance(action, np.ndarray) else object)
    whole = found.dtype.kind in "iu" or all(map(_is_whole, found.ravel()))
    if not whole or found.shape != (len(sizes),):
        raise InvalidOptionError(
            f"action {action!r} is not {len(sizes)} whole numbers, one index for each of "
            f"{list(names)}."
        )
    choice: Choice = tuple(map(int, found))
    bad = [i for i, (index, size) in enumerate(zip(choice, sizes, strict=True))
           if not 0 <= index < size]  # fmt: skip
    if bad:
        told = ", ".join(f"{names[i]} is {choice[i]}, of 0 to {sizes[i] - 1}" for i in bad)
        raise InvalidOptionError(f"action {action!r} is not one index for each knob: {told}.")
    return choice


def _is_whole(index: object) -> bool:
    return isinstance(index, int | np.integer) and not isinstance(index, bool | np.bool_)


def whole_number(action: Any, count: int, what: str) -> int:
    """A `Discrete` action as a number.

    Raises:
        InvalidOptionError: it is no whole number from 0 to `count` − 1.
    """
    found = np.asarray(action)
    if found.dtype.kind not in "iu" or found.size != 1 or not 0 <= int(found.item()) < count:
        raise InvalidOptionError(
            f"action {action!r} is not a whole number from 0 to {count - 1} ({what})."
        )
    return int(found.item())


def stepped(current: Choice, action: int, sizes: Sequence[int]) -> Choice:
    """A `step` action: knob `action // 2` one value down (even) or up (odd), within its range."""
    knob, up = divmod(action, 2)
    moved = min(max(current[knob] + (1 if up else -1), 0), sizes[knob] - 1)
    return (*current[:knob], moved, *current[knob + 1 :])
