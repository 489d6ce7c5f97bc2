"""Actions of a tuning environment: from an action to a choice of knobs.

`configuration`: `MultiDiscrete`, an index for each knob. `index`: `Discrete`, a configuration out
of a list, for DQN and for masks (MaskablePPO masks each knob by itself, which limits of shared
memory do not fit). `step`: `Discrete`, one knob one step down or up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError

ACTION_MODES = ("configuration", "index", "step")
Choice = tuple[int, ...]


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
