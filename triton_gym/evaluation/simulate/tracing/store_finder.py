"""Finds out where programs store, without their matrix products and without storing anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from triton_gym.evaluation.simulate.interpreter.effort import Effort
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo
from triton_gym.evaluation.simulate.tracing.footprint import distinct
from triton_gym.evaluation.simulate.tracing.launched import Launched, observed

_ROUNDS = 64


@dataclass(slots=True)
class Stores:
    """Where one program stores in one buffer."""

    places: list[Array] = field(default_factory=list)
    """Addresses of each store's elements."""
    itemsize: int = 1
    shortened: bool = False
    """Whether some iterations of a loop were left out."""

    @property
    def bytes(self) -> int:
        """Bytes that are stored, each once."""
        if not self.places:
            return 0
        return int(distinct(np.concatenate(self.places)).size) * self.itemsize

    def holds(self, address: int) -> bool:
        """Whether the program stores there, or may if loops were shortened."""
        if self.shortened and self.places:
            low, high = (f(int(f(p)) for p in self.places) for f in (min, max))
            return low <= address <= high
        return self.surely(address)

    def surely(self, address: int) -> bool:
        """Whether the program was seen to store there."""
        return any(bool((p == np.uint64(address)).any()) for p in self.places)


class Scout:
    """Observes one program: what it stores where.

    Args:
        launched: its launch.
        effort: to spend.
        start: start address of the buffer.
        loops: how many iterations of a loop run, the first and the last of them; None for all.
    """

    def __init__(self, launched: Launched, effort: Effort, start: int, loops: int | None) -> None:
        self._launched = launched
        self._effort = effort
        self._start = start
        self._loops = loops
        self._idle = launched.program.sketch.idle_loops
        self._undo = Undo()
        self._found = Stores()
        self._rounds = 0

    def look(self, number: int) -> Stores:
        """Run one program; memory is afterwards as it was."""
        self._found = Stores()
        machine = self._launched.sketcher
        machine.stores_only = True
        try:
            with observed(machine, self, self._effort):
                self._launched.draw(number)
        finally:
            machine.stores_only = False
            self._undo.restore()
        return self._found

    def access(
        self, kind: str, number: int, pointers: Array, active: Array, itemsize: int, bulk: bool
    ) -> bool:
        """Note a store."""
        self._effort.access(pointers.size)
        if kind == "atomic":
            self._undo.save(active, itemsize)
        if kind != "load" and active.size:
            bounds = self._launched.bounds
            owner = bounds.owner(int(active[0]))
            if owner >= 0 and bounds.ranges[owner][0] == self._start:
                self._found.places.append(np.array(active))
                self._found.itemsize = itemsize
        return False

    def dot(
        self, number: int, a: tuple[int, ...], b: tuple[int, ...], element: str, precision: str
    ) -> bool:
        """Where a program stores does not depend on products."""
        return False

    def reduction(self, number: int, size: int) -> None:
        """Nothing to note."""

    def gather(self, number: int, index: Array, itemsize: int) -> None:
        """Nothing to note."""

    def loop(self, number: int, steps: range) -> Iterable[int]:
        """None, the first and the last iteration, or all that may store."""
        if number in self._idle:
            return ()
        if self._loops is None or len(steps) <= self._loops:
            return steps
        self._found.shortened = True
        return (steps[0], steps[-1]) if self._loops else ()

    def again(self, number: int) -> bool:
        """Not for long: values are not computed."""
        self._rounds += 1
        return not self._launched.program.waits and self._rounds % _ROUNDS != 0


class Finder:
    """Which program of a launch stores at an address."""

    def __init__(self, launched: Launched, start: int, effort: Effort) -> None:
        self._launched, self._start, self._effort = launched, start, effort
        self._known: dict[int, Stores] = {}

    def candidates(self, address: int) -> Iterator[int]:
        """Numbers of programs that seem to store there, the likeliest first."""
        tried = set()
        guesses = self._guesses(address)
        for number in guesses:  # of tiles side by side each reaches from the first row to the last
            if self._stores(number).surely(address):
                tried.add(number)
                yield number
        for number in (*guesses, *range(self._launched.programs)):
            if number not in tried:
                tried.add(number)
                if self._stores(number).holds(address):
                    yield number

    def _stores(self, number: int) -> Stores:
        if number not in self._known:
            scout = Scout(self._launched, self._effort, self._start, 2)
            self._known[number] = scout.look(number)
        return self._known[number]

    def _first(self, number: int) -> int | None:
        places = self._stores(number).places
        return min(int(p.min()) for p in places) if places else None

    def _guesses(self, address: int) -> list[int]:
        """The likeliest programs, if addresses grow by constant steps along the grid's axes.

        First the one that the steps lead to, then those that are as far along the longest step:
        a tile's rows reach beyond the tiles beside it.
        """
        base = self._first(0)
        if base is None:
            return []
        steps: list[tuple[int, int, int]] = []
        factor = 1
        for size in self._launched.grid:
            if size > 1:
                beside = self._first(factor)
                if beside is not None and beside > base:
                    steps.append((beside - base, size, factor))
            factor *= size
        ordered = sorted(steps, reverse=True)
        along = []
        left = address - base
        for step, size, _ in ordered:
            along.append(min(max(left // step, 0), size - 1))
            left -= along[-1] * step
        exact = sum(n * factor for n, (_, _, factor) in zip(along, ordered, strict=True))
        if len(ordered) < 2:
            return [exact]
        others = itertools.product(*(range(size) for _, size, _ in ordered[1:]))
        _, _, longest = ordered[0]
        return [exact] + [
            along[0] * longest
            + sum(n * factor for n, (_, _, factor) in zip(place, ordered[1:], strict=True))
            for place in others
        ]
