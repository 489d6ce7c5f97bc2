"""Runs some programs of a call's launches completely, so that what they store can be compared.

A trace leaves memory as it was; here chosen programs run to their end on the real arguments. What
a program reads must be there: arguments, memory that no launch writes, and what programs of the
launches before it have stored. Those programs are found and run first. Where that does not decide
what a value will be (atomics, several launches that write the same memory, no such program found)
the replay says so instead of guessing: honest kernels must not be refused because only a part of
a grid ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from triton_gym.evaluation.simulate.interpreter.effort import Effort, Exhausted
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo, sparse_zeros
from triton_gym.evaluation.simulate.tracing.earnest import InEarnest
from triton_gym.evaluation.simulate.tracing.launched import Launched, observed
from triton_gym.evaluation.simulate.tracing.store_finder import Finder
from triton_gym.evaluation.simulate.tracing.trace import Traced

LIMIT_US = 1.6e7
"""Effort of a whole replay, of which most is for programs that others depend on."""
FORESEEN = 2.0
"""How far the mean program of a launch must exceed the effort that is left, not to be begun."""


class Undecided(Exception):
    """What a program computes depends on more than can be replayed."""


@dataclass(slots=True)
class Event:
    """One store of a replayed program."""

    start: int
    """Of the buffer."""
    addresses: Array
    itemsize: int


@dataclass(slots=True)
class Played:
    """A program that ran to its end."""

    launch: int
    number: int
    moved: float
    """Bytes of its loads, stores and atomics."""
    flops: float
    events: list[Event] = field(default_factory=list)


class Verifier(InEarnest):
    """Observes a program that runs in earnest."""

    def __init__(self, replay: Replay, position: int) -> None:
        self._replay = replay
        self._position = position
        self._bounds = replay.launches[position].launched.bounds
        self.undo = Undo()
        super().__init__(replay.effort, self.undo)
        self.tags: list[tuple[Array, Array, Array]] = []
        self.moved = self.flops = 0.0
        self.events: list[Event] = []

    def access(
        self, kind: str, number: int, pointers: Array, active: Array, itemsize: int, bulk: bool
    ) -> bool:
        """Hold a load against what is there, and note a store."""
        self._effort.access(pointers.size)
        self.moved += active.size * itemsize
        if active.size:
            owner = self._bounds.owner(int(active[0]))
            start, end, _ = self._bounds.ranges[owner]
            if kind == "atomic":
                raise Undecided("atomic operations decide between programs")
            if kind == "load":
                self._replay.check_load(self._position, start, end, active)
            else:
                self._store(start, end, active, itemsize)
        return True

    def _store(self, start: int, end: int, active: Array, itemsize: int) -> None:
        tags = self._replay.tags_of(start, end)
        at = (active - np.uint64(start)).astype(np.int64)
        before = tags[at]
        if (before > self._position + 1).any():
            raise Undecided("a later launch has written the same memory already")
        self.undo.save(active, itemsize)
        self.tags.append((tags, at, before))
        tags[at] = self._position + 1
        self.events.append(Event(start, np.array(active), itemsize))

    def take_back(self) -> None:
        """Undo what the program has stored so far."""
        self.undo.restore()
        while self.tags:
            tags, at, before = self.tags.pop()
            tags[at] = before

    def dot(
        self, number: int, a: tuple[int, ...], b: tuple[int, ...], element: str, precision: str
    ) -> bool:
        """Count a matrix product, and compute it."""
        *batch, m, k = a
        self.flops += 2.0 * m * b[-1] * k * int(np.prod(batch))
        return super().dot(number, a, b, element, precision)


class Replay:
    """The launches of one call, in order, of which programs can be run.

    Args:
        launches: one for each index, with the configuration that counts.
        given: start addresses of the arguments' buffers.
        limit_us: effort for all of it.
    """

    def __init__(
        self, launches: Sequence[Traced], given: set[int], limit_us: float = LIMIT_US
    ) -> None:
        self.launches = launches
        self.effort = Effort(limit_us)
        self.changed_arguments = False
        self._given = given
        self._tags: dict[int, Array] = {}
        self._played: dict[tuple[int, int], Played] = {}
        self._finders: dict[tuple[int, int], Finder] = {}

    def tags_of(self, start: int, end: int) -> Array:
        """For each byte of a buffer, one more than the launch that wrote it last."""
        if start not in self._tags:
            self._tags[start] = sparse_zeros(end - start, np.int16)
        return self._tags[start]

    def writers(self, start: int) -> list[int]:
        """Launches that may write a buffer."""
        if start in self._given:  # to change an argument is a fault of its own
            return []
        return [i for i, traced in enumerate(self.launches) if start in traced.writes]

    def check_load(self, position: int, start: int, end: int, active: Array) -> None:
        """See to it that all that a program loads is what it will find on a GPU.

        Raises:
            Undecided: that cannot be told.
        """
        writers = self.writers(start)
        if not writers:
            return
        earlier = [i for i in writers if i < position]
        expected = earlier[-1] + 1 if earlier else 0
        untouched = 0 if not earlier or self.launches[earlier[-1]].whole else expected
        at = (active - np.uint64(start)).astype(np.int64)
        tags = self.tags_of(start, end)
        while True:
            found = tags[at]
            if (found > position + 1).any():
                raise Undecided("a later launch has written what a program reads")
            there = (found == expected) | (found == position + 1) | (found == untouched)
            if there.all():
                return
            if not earlier:
                raise Undecided("a program reads what other programs of its launch write")
            self._supply(earlier[-1], start, int(active[int(np.argmin(there))]))

    def supply_range(self, position: int, start: int, low: int, high: int) -> None:
        """Run the programs of a launch that store between two addresses of a buffer.

        Raises:
            Undecided: that cannot be told.
            Exhausted: it takes too much effort.
        """
        if self.launches[position].whole:
            return
        bounds = self.launches[position].launched.bounds
        end = bounds.ranges[bounds.owner(start)][1]
        tags = self.tags_of(start, end)
        while not (there := tags[low - start : high - start] == position + 1).all():
            self._supply(position, start, low + int(np.argmin(there)))

    def play(self, position: int, number: int) -> Played:
        """Run a program to its end, and before it reads something, what stores it there.

        Raises:
            Undecided: that cannot be told.
            Exhausted: it takes too much effort.
        """
        key = (position, number)
        if key in self._played:
            return self._played[key]
        launched = self.launches[position].launched
        if launched.program.waits:
            raise Undecided("programs of a launch wait for one another")
        if self.launches[position].in_place:
            raise Undecided("the launch has run, and what it read is no more")
        if _foreseen_us(self.launches[position]) > FORESEEN * self.effort.left_us:
            raise Exhausted
        verifier = Verifier(self, position)
        with observed(launched.machine, verifier, self.effort):
            try:
                launched.run(number)
            except BaseException:
                verifier.take_back()
                raise
        self._note_changes(launched, verifier)
        self._played[key] = Played(
            position, number, verifier.moved, verifier.flops, verifier.events
        )
        return self._played[key]

    def _note_changes(self, launched: Launched, verifier: Verifier) -> None:
        for start, end, _ in launched.bounds.ranges:
            if start in self._given and verifier.undo.changed(start, end):
                self.changed_arguments = True

    def _supply(self, position: int, start: int, address: int) -> None:
        """Run the program of an earlier launch that stores at an address."""
        launched = self.launches[position].launched
        if (position, start) not in self._finders:
            self._finders[position, start] = Finder(launched, start, self.effort)
        for number in self._finders[position, start].candidates(address):
            self.play(position, number)
            if self._tags[start][address - start] == position + 1:
                return
        raise Undecided("no program was found that writes what another one reads")

    def spoil(self) -> None:
        """Run a program of each launch that was seen to write an argument: does it change it?"""
        for position, traced in enumerate(self.launches):
            if any(traced.uses.get(start, set()) - {"load"} for start in self._given):
                try:
                    self.play(position, int(traced.paths.numbers[0]))
                except (Undecided, Exhausted):
                    continue


def _foreseen_us(traced: Traced) -> float:
    """Effort for a program of a launch, as it was traced."""
    effort = Effort(float("inf"))
    found = 0.0
    for dot in traced.trace.dots:
        before = effort.us
        effort.dot(dot.m, dot.n, dot.k)
        found += (effort.us - before) * dot.count
    for site in traced.trace.sites:
        before = effort.us
        effort.access(site.lanes)
        found += (effort.us - before) * site.count
    return found
