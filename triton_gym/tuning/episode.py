"""An episode of tuning: what was evaluated since the last reset, and what an agent sees of it.

A step on a recorded table takes a few microseconds, so what does not change is laid down once: a
row has its part of the observation as bytes, and its `info` with a place for every key.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from triton_gym.tuning.choosing import Choice
from triton_gym.tuning.layout import FLOAT, WORST, Layout, Values, scaled
from triton_gym.tuning.world import Row, World

_STANDING = struct.Struct("3f")
"""`turn`, `best` and `last`, as they lie in an observation."""


class Episode:
    """One episode on one case.

    Args:
        world: what is asked for times.
        case: index of the shape.
        choice: the knobs that it starts from, not evaluated.
        layout: of an observation.
        max_turns: its steps.
    """

    __slots__ = (
        "_best", "_history", "_length", "_seen", "_tail", "before_us", "best_us", "case", "choice",
        "floor_us", "max_turns", "optimum_us", "row", "spent_s", "turn", "world",
    )  # fmt: skip

    def __init__(
        self, world: World, case: int, choice: Choice, layout: Layout, max_turns: int
    ) -> None:
        self.world, self.case, self.choice, self.max_turns = world, case, choice, max_turns
        self.floor_us, self.optimum_us = world.floor_us(case), world.optimum_us(case)
        self.row: Row | None = None
        """The last evaluation."""
        self.turn, self.spent_s = 0, 0.0
        self.best_us = self.before_us = math.inf
        """The least time so far, and before the last step."""
        self._best = WORST
        self._seen: set[int] = set()
        self._tail = layout.entry * FLOAT.itemsize if layout.history else 0
        self._history = bytes(layout.history * layout.entry * FLOAT.itemsize)
        self._length = (layout.length,)

    def start(self, layout: Layout) -> Values:
        """The observation before the first step."""
        at = scaled(self.choice, self.world.sizes, len(layout.knobs))
        head = self.world.context(self.case).tobytes() + at.tobytes()
        return self._observed(head, WORST)

    def add(self, row: Row) -> tuple[Values, dict[str, Any]]:
        """An evaluation: what is seen after it, and its `info`."""
        self.turn += 1
        self.row, self.choice = row, row.choice
        place, seen = row.place, self._seen
        repeated = place in seen
        if not repeated and place >= 0:
            seen.add(place)
            self.spent_s += row.seconds
        time_us = row.time_us
        self.before_us = best_us = self.best_us
        if time_us < best_us:
            self.best_us, self._best = time_us, row.score
        if self._tail:
            self._history = self._history[self._tail :] + row.tail
        info = row.info.copy()
        info["turn"] = self.turn
        info["evaluations"] = len(seen)
        info["repeated"] = repeated
        info["simulated_s"] = self.spent_s
        return self._observed(row.head, row.score), info

    def _observed(self, head: bytes, last: float) -> Values:
        """Parts laid one after the other, in memory of the array's own."""
        standing = _STANDING.pack(self.turn / self.max_turns, self._best, last)
        return np.ndarray(self._length, FLOAT, bytearray(head + standing + self._history))
