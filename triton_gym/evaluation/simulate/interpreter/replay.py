"""Runs some programs of a call's launches completely, so that what they store can be compared.

A trace leaves memory as it was; here chosen programs run to their end on the real arguments. What
a program reads must be there: arguments, memory that no launch writes, and what programs of the
launches before it have stored. Those programs are found and run first. Where that does not decide
what a value will be (atomics, several launches that write the same memory, no such program found)
the replay says so instead of guessing: honest kernels must not be refused because only a part of
a grid ran.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

from triton_gym.evaluation.simulate.interpreter.effort import Effort, Exhausted
from triton_gym.evaluation.simulate.interpreter.follow import ITERATIONS, Counts, Cut, Follower
from triton_gym.evaluation.simulate.interpreter.footprint import distinct
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo
from triton_gym.evaluation.simulate.interpreter.state import Observer, Program, State, place
from triton_gym.evaluation.simulate.interpreter.store_finder import StoreFinder, StoreObserver

PROGRAMS = 8
"""Most programs of a launch that are replayed for their results."""
BUDGET_US = 60e3
"""Effort after which no further program is begun."""
_KEPT = 64
"""Addresses of a program that are compared with those of others."""
LIMIT_US = 8e6
"""Effort of a whole replay, of which most is for programs that others depend on."""


class Undecided(Exception):
    """What a program computes depends on more than can be replayed."""


@dataclass(slots=True)
class Launched:
    """A launch that was traced and can be repeated."""

    index: int
    config: str
    grid: Program
    run: Callable[[Program], None]
    bounds: Any
    """The launch's `Bounds`, which keep its tensors alive."""
    uses: dict[int, set[str]]
    """Start addresses of its storages, with the kinds of access seen: `load`, `store`, `atomic`."""
    sample: list[tuple[float, int]]
    """Work and numbers of the programs that its time is estimated from."""

    @property
    def programs(self) -> int:
        """Programs of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def alike(self) -> bool:
        """Whether its sampled programs do the same amount of work."""
        work = [amount for amount, _ in self.sample]
        return max(work) <= 1.02 * min(work)

    @property
    def writes(self) -> set[int]:
        """Storages that it may write: those it was seen to, and those it was not seen to use."""
        return {start for start, kinds in self.uses.items() if kinds != {"load"}}


@dataclass(slots=True)
class Event:
    """One store of a replayed program to a result."""

    start: int
    """Of the storage."""
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


@dataclass(slots=True)
class Survey:
    """Where some programs of a launch store in one storage."""

    stored: list[int] = field(default_factory=list)
    """Distinct bytes of each program."""
    _places: list[Array] = field(default_factory=list)

    def add(self, places: list[Array], itemsize: int) -> None:
        """Add a program that stores elements at these addresses."""
        found = distinct(np.concatenate([p.ravel() for p in places])) if places else None
        self.stored.append(found.size * itemsize if found is not None else 0)
        if found is not None:
            self._places.append(found[:: max(1, found.size // _KEPT)])

    @property
    def alike(self) -> float:
        """How many times the programs' places are counted, beyond once, in programs' worth."""
        total = sum(p.size for p in self._places)
        if not total:
            return 0.0
        different = distinct(np.concatenate(self._places)).size
        return float((total - different) / total * len(self._places))


class Verifier:
    """Observes a program that runs in earnest."""

    def __init__(self, replay: Replay, position: int) -> None:
        self._replay = replay
        self._position = position
        self._effort = replay.effort
        self.undo = Undo()
        self.tags: list[tuple[Array, Array, Array]] = []
        self.moved = self.flops = 0.0
        self.events: list[Event] = []

    def access(self, kind: str, pointers: Array, active: Array, itemsize: int) -> bool:
        """Hold a load against what is there, and note a store."""
        self._effort.access(pointers.size)
        self.moved += active.size * itemsize
        if active.size:
            owner = State.bounds.owner(int(active[0]))
            start, end, _ = State.bounds.ranges[owner]
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

    def dot(self, a: Any, b: Any, c: Any, precision: str) -> bool:
        """Count a matrix product."""
        *batch, m, k = a.data.shape
        n = b.data.shape[-1]
        count = int(np.prod(batch))
        self.flops += 2.0 * m * n * k * count
        self._effort.dot(m * count, n, k)
        return True

    def reduction(self, inputs: tuple[Any, ...], scan: bool) -> None:
        """Nothing to note."""
        self._effort.operation(inputs[0].handle.data.size)

    def operation(self, name: str, size: int) -> None:
        """Nothing to note."""
        self._effort.operation(size)

    def loop(self, steps: range) -> Iterable[int]:
        """All iterations."""
        return steps


class Replay:
    """The launches of one call, in order, of which programs can be run.

    Args:
        launches: one for each index, with the configuration that counts.
        given: start addresses of the arguments' storages.
        limit_us: effort for all of it.
    """

    def __init__(
        self, launches: list[Launched], given: set[int], limit_us: float = LIMIT_US
    ) -> None:
        self.launches = launches
        self.effort = Effort(limit_us)
        self.changed_arguments = False
        self._given = given
        self._tags: dict[int, Array] = {}
        self._played: dict[tuple[int, int], Played] = {}
        self._finders: dict[tuple[int, int], StoreFinder] = {}

    def tags_of(self, start: int, end: int) -> Array:
        """For each byte of a storage, one more than the launch that wrote it last."""
        if start not in self._tags:
            self._tags[start] = np.zeros(end - start, dtype=np.int16)
        return self._tags[start]

    def writers(self, start: int) -> list[int]:
        """Launches that may write a storage."""
        if start in self._given:  # to change an argument is a fault of its own
            return []
        return [i for i, launch in enumerate(self.launches) if start in launch.writes]

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
        at = (active - np.uint64(start)).astype(np.int64)
        tags = self.tags_of(start, end)
        while True:
            found = tags[at]
            if (found > position + 1).any():
                raise Undecided("a later launch has written what a program reads")
            there = (found == expected) | (found == position + 1)
            if there.all():
                return
            if not earlier:
                raise Undecided("a program reads what other programs of its launch write")
            self._supply(earlier[-1], start, int(active[int(np.argmin(there))]))

    def play(self, position: int, number: int) -> Played:
        """Run a program to its end, and before it reads something, what stores it there.

        Raises:
            Undecided: that cannot be told.
            Exhausted: it takes too much effort.
        """
        key = (position, number)
        if key in self._played:
            return self._played[key]
        launch = self.launches[position]
        verifier = Verifier(self, position)
        with self._entered(launch, verifier):
            try:
                launch.run(place(number, launch.grid))
            except BaseException:
                verifier.take_back()
                raise
            self._note_changes(verifier)
        self._played[key] = Played(
            position, number, verifier.moved, verifier.flops, verifier.events
        )
        return self._played[key]

    def _note_changes(self, verifier: Verifier) -> None:
        for start, end, _ in State.bounds.ranges:
            if start in self._given and verifier.undo.changed(start, end):
                self.changed_arguments = True

    def _supply(self, position: int, start: int, address: int) -> None:
        """Run the program of an earlier launch that stores at an address."""
        launch = self.launches[position]
        if (position, start) not in self._finders:
            self._finders[position, start] = StoreFinder(
                launch.run, launch.grid, start, self.effort
            )
        candidates = self._finders[position, start].candidates(address)
        while True:
            with self._entered(launch, None):
                number = next(candidates, None)
            if number is None:
                raise Undecided("no program was found that writes what another one reads")
            self.play(position, number)
            if self._tags[start][address - start] == position + 1:
                return

    @contextlib.contextmanager
    def _entered(self, launch: Launched, observer: Observer | None) -> Iterator[None]:
        """Make the interpreter ready for a launch, maybe in the middle of another one."""
        from triton.runtime import interpreter as it

        builder = it.interpreter_builder
        before = State.bounds, State.observer, builder.grid_dim, getattr(builder, "grid_idx", None)
        State.bounds, State.observer = launch.bounds, observer
        builder.set_grid_dim(*launch.grid)
        scope = launch.run.scope  # type: ignore[attr-defined]
        try:
            with np.errstate(all="ignore"), mock.patch.dict(scope, {"range": it.tl.range}):
                yield
        finally:
            State.bounds, State.observer, builder.grid_dim, builder.grid_idx = before

    def choose(self, position: int, rng: random.Random) -> list[int]:
        """Programs to replay.

        First the lightest of those that the time is estimated from: if any of them leaves out
        work, that one does. Then some that nobody can foresee, and the last.
        """
        launch = self.launches[position]
        least = min(work for work, _ in launch.sample)
        light = rng.choice([n for work, n in launch.sample if work <= 1.001 * least])
        total = launch.programs
        wanted = [light, rng.randrange(total), total - 1]
        wanted += (rng.randrange(total) for _ in range(4 * PROGRAMS))
        return list(dict.fromkeys(wanted))[:PROGRAMS]

    def followed(self, played: Iterable[Played]) -> tuple[float, float]:
        """Bytes and FLOPs that a trace counts for programs that ran in earnest."""
        moved = flops = 0.0
        for program in played:
            launch = self.launches[program.launch]
            with self._entered(launch, None):
                counts = _traced(launch, program.number)
            moved += sum(v for k, v in counts.totals.items() if k[-1] == "bytes")
            flops += sum(
                2.0 * k[1] * k[2] * k[3] * v for k, v in counts.totals.items() if k[0] == "dot"
            )
        return moved, flops

    def survey(
        self, position: int, start: int, numbers: Iterable[int], loops: int | None, us: float
    ) -> Survey:
        """Look at where programs store in a storage, as many as an effort allows."""
        launch = self.launches[position]
        effort, found = Effort(us), Survey()
        with self._entered(launch, None), contextlib.suppress(Exhausted):
            for number in numbers:
                observer = StoreObserver(effort, start, loops)
                observer.run(launch.run, place(number, launch.grid))
                found.add(observer.found.places, observer.itemsize)
        return found

    def spoil(self) -> None:
        """Run a program of each launch that was seen to write an argument: does it change it?"""
        for position, launch in enumerate(self.launches):
            if any(launch.uses.get(start, set()) - {"load"} for start in self._given):
                try:
                    self.play(position, min(launch.sample)[1])
                except (Undecided, Exhausted):
                    continue


def _traced(launch: Launched, number: int) -> Counts:
    follower = Follower(float("inf"))
    follower.begin(ITERATIONS)
    State.observer = follower
    try:
        launch.run(place(number, launch.grid))
    except Cut:
        pass
    finally:
        State.observer = None
        follower.undo.restore()
    return follower.counts
