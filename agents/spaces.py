"""All configurations of a `TritonTune` environment at once, for agents that rank them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .protocol import Environment

Choice = tuple[int, ...]


def every_choice(env: Environment) -> list[Choice]:
    """The configurations of the environment's shape that can be asked for: all of the space, or
    those that its table holds there."""
    tuning: Any = env.unwrapped
    table = tuning.table
    space: Any = env.action_space
    whole = list(itertools.product(*(range(int(n)) for n in space.nvec)))
    if table is None:
        return whole
    return [tuple(map(int, row)) for row in table.choices[table.present[tuning.case_index]]]


def scaled_choices(env: Environment, choices: list[Choice]) -> Any:
    """(C, K): the same from 0 (a knob's first value) to 1 (its last)."""
    space: Any = env.action_space
    return np.array(choices, np.float64) / np.maximum(np.asarray(space.nvec) - 1, 1)
