"""Observes one program at a time: what it accesses, multiplies and reduces, loops cut short."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import process_time
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.effort import Effort
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo
from triton_gym.evaluation.simulate.interpreter.scalars import TRITON
from triton_gym.evaluation.simulate.tracing import footprint
from triton_gym.evaluation.simulate.tracing.footprint import LINE, Footprints
from triton_gym.evaluation.simulate.tracing.launched import Launched, observed

ITERATIONS = 64
"""Iterations of a loop that are run before the rest is taken to be like them."""
MATRIX_ITERATIONS = 12
"""The same for loops with matrix products, whose iterations are more alike."""
WORK = 300.0
"""Accesses and dots that one program may make before its loops are cut as soon as possible."""
ROUNDS = 64
"""Rounds of a loop without a known end that are run in any case…"""
PROGRAM_US, LAUNCH_US = 1e5, 4e5
"""…and effort of one program, and of all that are followed, after which such a loop is left."""


STARTS = 4
"""Places of an access within a line that are kept."""
_VECTOR = 4
"""Values of 4 bytes that a lane takes from shared memory at once where blocks are laid anew."""


_PATIENCE = 64
"""Accesses and dots between two looks at the clock."""


class Cut(Exception):
    """Ends a program early: the rest of it is not needed."""


Key = tuple[int, int, str, int, bool, int]
"""Line, number of the operation, kind, owner, bulk, itemsize."""


@dataclass(slots=True)
class Counts:
    """Running totals of one program. Loops that are cut scale what they added."""

    totals: dict[Any, float] = field(default_factory=lambda: defaultdict(float))
    lines: dict[Key, list[Array]] = field(default_factory=dict)
    lanes: dict[Key, int] = field(default_factory=dict)
    axes: dict[Key, footprint.Axes] = field(default_factory=dict)
    """Of an access's block, the first time."""
    starts: dict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Where in a line of memory it began."""
    burst: dict[Key, int] = field(default_factory=dict)
    """Length of the loop around an access."""
    moved: int = 0
    """Lines of all accesses so far."""
    last: dict[int, int] = field(default_factory=dict)
    """What `moved` was when an access began at a line, by that line."""
    again: Counter[int] = field(default_factory=Counter)
    """Lines loaded again, by tensor."""
    distance: Counter[int] = field(default_factory=Counter)
    """Sum of the distances of those, in lines."""
    met: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Lanes of atomic operations, by cache line."""
    passes: dict[int, float] = field(default_factory=dict)
    """How often each line of the source was executed."""
    uncertain: bool = False
    """Whether a loop ended because it was left, not by its own condition."""

    def scale(self, before: dict[Any, float], factor: float) -> None:
        """Multiply everything added since `before`."""
        for key, value in self.totals.items():
            earlier = before.get(key, 0)
            self.totals[key] = earlier + (value - earlier) * factor


class Follower:
    """Observes one program of a launch after another, none of which leaves anything in memory."""

    def __init__(self, launched: Launched, deadline: float) -> None:
        self.hurried = False
        """Whether time ran out."""
        self.undo = Undo()
        """What atomics changed. They are carried out, since a program may wait for one."""
        self._launched = launched
        self._operations = launched.program.sketch.operations
        self._deadline = deadline
        self._footprints = Footprints()
        self._spent = 0.0
        self._begin(ITERATIONS, None)

    def follow(
        self, number: int, iterations: int = ITERATIONS, awaited: set[Key] | None = None
    ) -> Counts:
        """What one program does.

        Args:
            number: of the program.
            iterations: how many of each loop are run.
            awaited: the program is cut when all of these accesses have been seen.
        """
        self._begin(iterations, awaited)
        machine = self._launched.sketcher
        with observed(machine, self, self._effort):
            try:
                self._launched.draw(number)
            except Cut:
                pass
            entered = machine.counts
        self._spent += self._effort.us
        for block, count in zip(self._launched.program.sketch.blocks, entered, strict=True):
            for operation in block.operations:
                line = operation.line
                if count > self.counts.passes.get(line, 0.0):
                    self.counts.passes[line] = count
        return self.counts

    def _begin(self, iterations: int, awaited: set[Key] | None) -> None:
        self.counts = Counts()
        self._iterations = iterations
        self._awaited = None if awaited is None else set(awaited)
        self._work = 0.0
        self._looks = 0
        self._waiting = True
        self._multiplied = False
        self._lengths: list[int] = []
        self._rounds: Counter[int] = Counter()
        self._effort = Effort(math.inf)

    def access(
        self, kind: str, number: int, pointers: Array, active: Array, itemsize: int, bulk: bool
    ) -> bool:
        """Count an access. Stores are not carried out: their values may be wrong."""
        bounds = self._launched.bounds
        if kind == "atomic":
            self.undo.save(active, itemsize)
        if kind == "load":
            if self._waiting:
                self.counts.totals["rounds"] += 1
            self._waiting = False
        else:
            self._waiting = True
        owner = bounds.owner(int(active[0])) if active.size else -1
        key = (self._operations[number].line, number, kind, owner, bulk, itemsize)
        distinct, sectors = self._footprints.of(number, pointers, active, itemsize)
        self.counts.lines.setdefault(key, []).append(distinct)
        if self._awaited is not None:
            self._awaited.discard(key)
            if not self._awaited:
                raise Cut
            return False
        totals = self.counts.totals
        totals[key, "count"] += 1
        totals[key, "bytes"] += active.size * itemsize
        totals[key, "sectors"] += sectors
        totals[key, "lines"] += distinct.size
        if kind == "atomic":
            met, lanes = np.unique(active // np.uint64(LINE), return_counts=True)
            for line, number_of in zip(met.tolist(), lanes.tolist(), strict=True):
                self.counts.met[line] += number_of
        self.counts.lanes[key] = pointers.size
        if key not in self.counts.axes:
            self.counts.axes[key] = self._footprints.axes(number, pointers)
        starts = self.counts.starts[key]
        if len(starts) < STARTS:
            starts.add(int(pointers.flat[0]) % LINE)
        self.counts.burst[key] = self._lengths[-1] if self._lengths else 1
        self._note_distance(kind, owner, distinct)
        self._worked(pointers.size)
        return False

    def _note_distance(self, kind: str, owner: int, lines: Array) -> None:
        """How long ago the same block was accessed, told by its first line."""
        counts = self.counts
        if lines.size:
            first = int(lines[0])
            if kind == "load" and first in counts.last:
                counts.again[owner] += lines.size
                counts.distance[owner] += lines.size * (counts.moved - counts.last[first])
            counts.last[first] = counts.moved
            counts.moved += lines.size

    def dot(
        self, number: int, a: tuple[int, ...], b: tuple[int, ...], element: str, precision: str
    ) -> bool:
        """Count a matrix product."""
        *batch, m, k = a
        n = b[-1]
        operation = self._operations[number]
        name = TRITON.get(element, element)
        key = ("dot", operation.line, m, n, k, name, precision)
        self.counts.totals[key] += int(np.prod(batch))
        self._multiplied = True
        self._waiting = True
        self._effort.operation(m * n)
        self._worked(m * n)
        return False

    def reduction(self, number: int, size: int) -> None:
        """What follows waits for it."""
        self._effort.operation(size)
        self._waiting = True

    def gather(self, number: int, index: Array, itemsize: int) -> None:
        """Count how many of a warp's lanes meet in one bank of shared memory."""
        flat = index.ravel()[: index.size // 32 * 32].reshape(-1, 32)
        if flat.size:
            words = np.sort(flat.astype(np.int64) * itemsize // 4, axis=1)
            fresh = np.concatenate(
                [np.ones((len(words), 1), bool), words[:, 1:] != words[:, :-1]], axis=1
            )
            banks = np.where(fresh, words % 32, -1)
            meets = np.stack([(banks == bank).sum(axis=1) for bank in range(32)]).max(axis=0)
            self.counts.totals["gathered"] += float(np.maximum(meets / _VECTOR, 1.0).sum())
        self._waiting = True

    def loop(self, number: int, steps: range) -> Iterator[int]:
        """Run the first iterations, and let them stand for the rest."""
        machine = self._launched.sketcher
        before, entered = self.counts.totals.copy(), list(machine.counts)
        self._lengths.append(len(steps))
        for done, step in enumerate(steps):
            self._waiting = True
            yield step
            limit = min(self._iterations, MATRIX_ITERATIONS if self._multiplied else ITERATIONS)
            limit = min(limit, 2) if self._work > WORK else limit
            if done + 1 >= limit and done + 1 < len(steps):
                factor = len(steps) / (done + 1)
                self.counts.scale(before, factor)
                for block, (now, then) in enumerate(zip(machine.counts, entered, strict=True)):
                    if now > then:
                        machine.counts[block] = then + (now - then) * factor
                break
        self._lengths.pop()
        self._waiting = True

    def again(self, number: int) -> bool:
        """Leave a loop that may wait for others, or whose values are not there."""
        self._rounds[number] += 1
        if self._rounds[number] % ROUNDS == 0 and (
            self._effort.us > PROGRAM_US
            or self._spent + self._effort.us > LAUNCH_US
            or process_time() > self._deadline
        ):
            self.counts.uncertain = True
            return False
        if self._launched.program.waits:
            self.counts.uncertain = True
        return not self._launched.program.waits

    def _worked(self, size: int) -> None:
        self._work += 1 + size / 16384
        self._looks += 1
        if self._looks % _PATIENCE == 0 and process_time() > self._deadline:
            self.hurried = True
            raise Cut
