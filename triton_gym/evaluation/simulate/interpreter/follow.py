"""Observes one program at a time: what it accesses, multiplies and reduces, loops cut short."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter import footprint
from triton_gym.evaluation.simulate.interpreter.arithmetic import OPERATIONS
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Undo
from triton_gym.evaluation.simulate.interpreter.state import State

ITERATIONS = 64
"""Iterations of a loop that are run before the rest is taken to be like them."""
MATRIX_ITERATIONS = 12
"""The same for loops with matrix products, whose iterations are more alike."""
WORK = 300.0
"""Accesses and dots that one program may make before its loops are cut as soon as possible."""


class Cut(Exception):
    """Ends a program early: the rest of it is not needed."""


Key = tuple[int, int, str, int, bool, int]
"""Line, instruction within it, kind, owner, bulk, itemsize."""


@dataclass(slots=True)
class Counts:
    """Running totals of one program. Loops that are cut scale what they added."""

    totals: dict[Any, float] = field(default_factory=lambda: defaultdict(float))
    lines: dict[Key, list[Array]] = field(default_factory=dict)
    lanes: dict[Key, int] = field(default_factory=dict)
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

    def scale(self, before: dict[Any, float], factor: float) -> None:
        """Multiply everything added since `before`."""
        for key, value in self.totals.items():
            earlier = before.get(key, 0)
            self.totals[key] = earlier + (value - earlier) * factor


class Follower:
    """Observes one program after another, none of which leaves anything in memory."""

    def __init__(self, deadline: float) -> None:
        self.hurried = False
        """Whether time ran out."""
        self.undo = Undo()
        """What atomics changed. They are carried out, since a program may wait for one."""
        self._deadline = deadline
        self.begin(ITERATIONS)

    def begin(self, iterations: int, awaited: set[Key] | None = None) -> None:
        """Start on a new program.

        Args:
            iterations: how many of each loop are run.
            awaited: the program is cut when all of these accesses have been seen.
        """
        self.counts = Counts()
        self.iterations = iterations
        self.awaited = None if awaited is None else set(awaited)
        self._work = 0.0
        self._waiting = True
        self._multiplied = False
        self._lengths: list[int] = []

    def access(self, kind: str, pointers: Array, active: Array, itemsize: int) -> bool:
        """Count an access. Stores are not carried out: their values may be wrong."""
        if kind == "atomic":
            self.undo.save(active, itemsize)
        if kind == "load":
            if self._waiting:
                self.counts.totals["rounds"] += 1
            self._waiting = False
        else:
            self._waiting = True
        line, instruction = _where()
        owner = State.bounds.owner(int(active[0])) if active.size else -1
        if owner >= 0:
            # As if every tensor began at a multiple of the line, as a GPU's allocator has it;
            # where the CPU's put them must not matter.
            shift = np.uint64(State.bounds.ranges[owner][0] - ((owner + 1) << 44) & (1 << 64) - 1)
            pointers, active = pointers - shift, active - shift
        key = (line, instruction, kind, owner, State.bulk, itemsize)
        distinct = footprint.lines(active)
        self.counts.lines.setdefault(key, []).append(distinct)
        if self.awaited is not None:
            self.awaited.discard(key)
            if not self.awaited:
                raise Cut
            return False
        totals = self.counts.totals
        totals[key, "count"] += 1
        totals[key, "bytes"] += active.size * itemsize
        totals[key, "sectors"] += footprint.sectors(pointers, active, itemsize)
        totals[key, "lines"] += distinct.size
        self.counts.lanes[key] = pointers.size
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

    def dot(self, a: Any, b: Any, c: Any, precision: str) -> bool:
        """Count a matrix product."""
        *batch, m, k = a.data.shape
        n = b.data.shape[-1]
        key = ("dot", m, n, k, a.dtype.scalar.name, precision)
        self.counts.totals[key] += int(np.prod(batch))
        self._multiplied = True
        self._waiting = True
        self._worked(m * n)
        return False

    def reduction(self, inputs: tuple[Any, ...], scan: bool) -> None:
        """Count a reduction or a scan."""
        self.counts.totals["reductions"] += 1
        self.counts.totals["reduced"] += inputs[0].handle.data.size
        self._waiting = True

    def operation(self, name: str, size: int) -> None:
        """Count an elementwise operation."""
        self.counts.totals["op", OPERATIONS[name]] += size

    def loop(self, steps: range) -> Iterator[int]:
        """Run the first iterations, and let them stand for the rest."""
        before = self.counts.totals.copy()
        self._lengths.append(len(steps))
        for done, step in enumerate(steps):
            self._waiting = True
            self.counts.totals["iterations"] += 1
            yield step
            limit = min(self.iterations, MATRIX_ITERATIONS if self._multiplied else ITERATIONS)
            limit = min(limit, 2) if self._work > WORK else limit
            if done + 1 >= limit and done + 1 < len(steps):
                self.counts.scale(before, len(steps) / (done + 1))
                break
        self._lengths.pop()
        self._waiting = True

    def _worked(self, size: int) -> None:
        self._work += 1 + size / 16384
        if process_time() > self._deadline:
            self.hurried = True
            raise Cut


@cache
def _foreign(file: str) -> bool:
    """Whether a source file belongs to Triton or to this package."""
    import triton

    places = (Path(triton.__file__).parent, Path(__file__).parent.parent)
    return any(Path(file).is_relative_to(place) for place in places)


def _where() -> tuple[int, int]:
    """Line and instruction of the innermost frame that runs the answer's code."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _foreign(frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_lineno, frame.f_lasti
