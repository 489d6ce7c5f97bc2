"""Finds out where programs store, without their matrix products and without storing anything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.effort import Effort
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo
from triton_gym.evaluation.simulate.interpreter.state import Program, State, place


@dataclass(slots=True)
class Stores:
    """Where one program stores in one tensor's memory."""

    places: list[Array] = field(default_factory=list)
    """Addresses of each store's elements."""
    shortened: bool = False
    """Whether some iterations of a loop were left out."""

    def holds(self, address: int) -> bool:
        """Whether the program stores there, or may if loops were shortened."""
        if self.shortened and self.places:
            low, high = (f(int(f(p)) for p in self.places) for f in (min, max))
            return low <= address <= high
        return self.surely(address)

    def surely(self, address: int) -> bool:
        """Whether the program was seen to store there."""
        return any(bool((p == np.uint64(address)).any()) for p in self.places)


class StoreObserver:
    """Observes one program: what it stores where.

    Args:
        effort: to spend.
        start: start address of the storage.
        loops: how many iterations of a loop run, the first and the last of them; None for all.
    """

    def __init__(self, effort: Effort, start: int, loops: int | None) -> None:
        self._effort = effort
        self._start = start
        self._loops = loops
        self._undo = Undo()
        self.found = Stores()
        self.itemsize = 1

    def run(self, run: Callable[[Program], None], program: Program) -> None:
        """Run one program; memory is afterwards as it was."""
        State.observer = self
        try:
            run(program)
        finally:
            State.observer = None
            self._undo.restore()

    def access(self, kind: str, pointers: Array, active: Array, itemsize: int) -> bool:
        """Note a store."""
        self._effort.access(pointers.size)
        if kind == "atomic":
            self._undo.save(active, itemsize)
        if kind != "load" and active.size:
            owner = State.bounds.owner(int(active[0]))
            if owner >= 0 and State.bounds.ranges[owner][0] == self._start:
                self.found.places.append(np.array(active))
                self.itemsize = itemsize
        return False

    def dot(self, a: Any, b: Any, c: Any, precision: str) -> bool:
        """Where a program stores does not depend on products."""
        return False

    def reduction(self, inputs: tuple[Any, ...], scan: bool) -> None:
        """Nothing to note."""

    def operation(self, name: str, size: int) -> None:
        """Nothing to note."""
        self._effort.operation(size)

    def loop(self, steps: range) -> Iterable[int]:
        """None, the first and the last iteration, or all."""
        if self._loops is None or len(steps) <= self._loops:
            return steps
        self.found.shortened = True
        return (steps[0], steps[-1]) if self._loops else ()


class StoreFinder:
    """Which program of a launch stores at an address."""

    def __init__(
        self, run: Callable[[Program], None], grid: Program, start: int, effort: Effort
    ) -> None:
        self._run, self._grid, self._start, self._effort = run, grid, start, effort
        self._known: dict[int, Stores] = {}

    def candidates(self, address: int) -> Iterator[int]:
        """Numbers of programs that seem to store there, the likeliest first."""
        tried = set()
        guesses = self._guesses(address)
        for number in guesses:  # of tiles side by side each reaches from the first row to the last
            if self._stores(number).surely(address):
                tried.add(number)
                yield number
        for number in (*guesses, *range(math.prod(self._grid))):
            if number not in tried:
                tried.add(number)
                if self._stores(number).holds(address):
                    yield number

    def _stores(self, number: int) -> Stores:
        if number not in self._known:
            observer = StoreObserver(self._effort, self._start, 2)
            observer.run(self._run, place(number, self._grid))
            self._known[number] = observer.found
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
        for size in self._grid:
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
