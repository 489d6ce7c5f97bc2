"""Follows a few program instances of every launch and records what they ask of a GPU.

A call of full size is run in the interpreter, but only some programs of each grid run:

* a *sample* of programs, spread over the grid, whose accesses, dots and reductions are counted.
  Of long loops the first iterations run and stand for the rest, in proportion; so does a part of
  the tiles of a persistent program. Results are exact where iterations are alike.
* a *wave* of consecutive programs, of whose loops one iteration runs. It shows how much of what
  neighbours read is the same, which decides between L2 and device memory.

Matrix products are not computed and tensors may hold zeros: what depends on values that were
not computed (a `while` on data, say) is not traced truly. `LaunchTrace.note` says where a
trace is incomplete.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from triton_gym.device import GPUS, Gpu
from triton_gym.evaluation.simulate import footprint, interpret
from triton_gym.evaluation.simulate.build import MAX_CONFIGS
from triton_gym.evaluation.simulate.formats import Array
from triton_gym.evaluation.simulate.host import Recorder, pretend
from triton_gym.evaluation.simulate.interpret import Program, State

PROGRAMS = 4
"""Programs of a launch that are sampled; more if they turn out to differ."""
WAVE = 132
"""Consecutive programs whose reads are compared: one for each multiprocessor of a Hopper GPU."""
ITERATIONS = 64
"""Iterations of a loop that are run before the rest is taken to be like them."""
MATRIX_ITERATIONS = 12
"""The same for loops with matrix products, whose iterations are more alike."""
WORK = 300.0
"""Accesses and dots that one program may make before its loops are cut as soon as possible."""
SECONDS = 20.0
"""How long the trace of a whole call may take."""


@dataclass(frozen=True, slots=True)
class Site:
    """One memory access of the kernel's source, per program."""

    line: int
    """Line of the answer."""
    kind: str
    """`load`, `store` or `atomic`."""
    owner: int
    """Which of the launch's tensors it goes to, an index into `LaunchTrace.tensors`."""
    bulk: bool
    """Whether it goes through a tensor descriptor (TMA)."""
    itemsize: int
    """Bytes of an element."""
    count: float
    """How often a program executes it."""
    lanes: int
    """Elements of one execution, masked ones too."""
    bytes: float
    """Bytes of the active lanes."""
    sectors: float
    """32-byte sectors of the warps' requests."""
    lines: float
    """Distinct 128-byte lines of each access, summed."""
    sharing: tuple[tuple[int, float], ...]
    """For 1, 2, 4, … consecutive programs, their distinct lines over the sum of theirs."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that a launch was given, and how a program reads it."""

    bytes: int
    """Its size, or that of the storage that it is a view of."""
    distinct: float
    """Distinct lines that a program loads over all that it loads: below 1 if it reads again."""
    distance: float
    """Bytes that a program moves, on average, before it reads a line again."""


@dataclass(frozen=True, slots=True)
class Dot:
    """Matrix products of one shape, per program."""

    m: int
    n: int
    k: int
    dtype: str
    """Triton's name of the operands' type: `bf16`, `fp16`, `fp32`, `int8`, …"""
    precision: str
    """`TF32`, `IEEE`, … for fp32 operands."""
    count: float

    @property
    def flops(self) -> float:
        """FLOPs per program."""
        return 2.0 * self.m * self.n * self.k * self.count


@dataclass(frozen=True, slots=True)
class LaunchTrace:
    """What the average program of one launch does."""

    index: int
    """Which launch of the call this is; equals `Build.index`."""
    kernel: str
    config: str
    """The autotuner's configuration; empty if the kernel is not autotuned."""
    grid: Program
    sampled: int
    """Programs that were followed."""
    note: str
    """Empty, or why the trace is incomplete."""
    tensors: tuple[Tensor, ...]
    """The tensors that the launch was given, in the order of its arguments."""
    sites: tuple[Site, ...]
    dots: tuple[Dot, ...]
    operations: dict[str, float]
    """Elements that elementwise operations made, by class: `float`, `special`, `integer`."""
    reductions: float
    """Reductions and scans."""
    reduced: float
    """Elements that went into them."""
    rounds: float
    """Groups of loads that can only start when an earlier group has arrived."""
    iterations: float
    """Iterations of loops, all loops together."""
    imbalance: float
    """Work of the heaviest program sampled over the mean."""

    @property
    def programs(self) -> int:
        """Programs of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    def record(self) -> dict[str, Any]:
        """The trace as plain JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, record: dict[str, Any]) -> LaunchTrace:
        """The trace that `record` describes."""
        values = dict(record)
        values["grid"] = tuple(values["grid"])
        values["tensors"] = tuple(Tensor(**t) for t in values["tensors"])
        values["dots"] = tuple(Dot(**d) for d in values["dots"])
        values["sites"] = tuple(
            Site(**{**s, "sharing": tuple((int(n), float(r)) for n, r in s["sharing"])})
            for s in values["sites"]
        )
        return cls(**values)


class _Cut(Exception):
    """Ends a program early: the rest of it is not needed."""


_Key = tuple[int, int, str, int, bool, int]
"""Line, instruction within it, kind, owner, bulk, itemsize."""


@dataclass(slots=True)
class _Counts:
    """Running totals of one program. Loops that are cut scale what they added."""

    totals: Counter[Any] = field(default_factory=Counter)
    lines: dict[_Key, list[Array]] = field(default_factory=dict)
    lanes: dict[_Key, int] = field(default_factory=dict)
    moved: int = 0
    """Lines of all accesses so far."""
    last: dict[int, int] = field(default_factory=dict)
    """What `moved` was when an access began at a line, by that line."""
    again: Counter[int] = field(default_factory=Counter)
    """Lines loaded again, by tensor."""
    distance: Counter[int] = field(default_factory=Counter)
    """Sum of the distances of those, in lines."""

    def scale(self, before: Counter[Any], factor: float) -> None:
        """Multiply everything added since `before`."""
        for key, value in self.totals.items():
            earlier = before.get(key, 0)
            self.totals[key] = earlier + (value - earlier) * factor


class _Follower:
    """Observes one program after another."""

    def __init__(self, iterations: int, deadline: float) -> None:
        self.counts = _Counts()
        self.iterations = iterations
        self.awaited: set[_Key] | None = None
        """In a wave: the accesses still to be seen before the program can be cut."""
        self.hurried = False
        self._deadline = deadline
        self._work = 0.0
        self._waiting = True
        self._multiplied = False

    def begin(self, iterations: int, awaited: set[_Key] | None = None) -> None:
        """Start on a new program."""
        self.counts = _Counts()
        self.iterations = iterations
        self.awaited = None if awaited is None else set(awaited)
        self._work = 0.0
        self._waiting = True
        self._multiplied = False

    def access(self, kind: str, pointers: Array, active: Array, itemsize: int) -> None:
        """Count an access."""
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
                raise _Cut
            return
        totals = self.counts.totals
        totals[key, "count"] += 1
        totals[key, "bytes"] += active.size * itemsize
        totals[key, "sectors"] += footprint.sectors(pointers, active, itemsize)
        totals[key, "lines"] += distinct.size
        self.counts.lanes[key] = pointers.size
        self._note_distance(kind, owner, distinct)
        self._worked(pointers.size)

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

    def dot(self, a: Any, b: Any, c: Any, precision: str) -> None:
        """Count a matrix product."""
        *batch, m, k = a.data.shape
        n = b.data.shape[-1]
        key = ("dot", m, n, k, a.dtype.scalar.name, precision)
        self.counts.totals[key] += int(np.prod(batch))
        self._multiplied = True
        self._waiting = True
        self._worked(m * n)

    def reduction(self, inputs: tuple[Any, ...], scan: bool) -> None:
        """Count a reduction or a scan."""
        self.counts.totals["reductions"] += 1
        self.counts.totals["reduced"] += inputs[0].handle.data.size
        self._waiting = True

    def operation(self, name: str, size: int) -> None:
        """Count an elementwise operation."""
        self.counts.totals["op", interpret.OPERATIONS[name]] += size

    def loop(self, steps: range) -> Iterator[int]:
        """Run the first iterations, and let them stand for the rest."""
        before = self.counts.totals.copy()
        for done, step in enumerate(steps):
            self._waiting = True
            self.counts.totals["iterations"] += 1
            yield step
            limit = self.iterations
            if self._multiplied:
                limit = min(limit, MATRIX_ITERATIONS)
            if self._work > WORK:
                limit = min(limit, 2)
            if done + 1 >= limit and done + 1 < len(steps):
                self.counts.scale(before, len(steps) / (done + 1))
                break
        self._waiting = True

    def _worked(self, size: int) -> None:
        self._work += 1 + size / 16384
        if monotonic() > self._deadline:
            self.hurried = True
            raise _Cut


@cache
def _foreign(file: str) -> bool:
    """Whether a source file belongs to Triton or to this package."""
    import triton

    places = (Path(triton.__file__).parent, Path(__file__).parent)
    return any(Path(file).is_relative_to(place) for place in places)


def _where() -> tuple[int, int]:
    """Line and instruction of the innermost frame that runs the answer's code."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _foreign(frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_lineno, frame.f_lasti


class _Tracer(Recorder):
    """Runs the programs of each launch that are to be followed."""

    def __init__(self, programs: int, seconds: float) -> None:
        self.traces: list[LaunchTrace] = []
        self._programs = programs
        self._deadline = monotonic() + seconds
        self._index = 0
        self._config = ""

    def choose(self, kernel: str, configs: Sequence[str]) -> Iterator[int]:
        alternatives = len(configs) > 1
        first = self._index
        for number, config in enumerate(configs[:MAX_CONFIGS]):
            self._config = config if alternatives else ""
            self._index = first
            yield number
        self._config = ""

    def execute(self, kernel: str, grid: Program, run: Callable[[Program], None]) -> None:
        """Follow some programs of one launch."""
        follower = _Follower(ITERATIONS, self._deadline)
        total = grid[0] * grid[1] * grid[2]
        State.observer = follower
        try:
            sample = [_followed(follower, run, _place(n, grid))
                      for n in _sample(total, self._programs)]  # fmt: skip
            if _spread([c.totals for c in sample]) > 1.02:
                sample += [_followed(follower, run, _place(n, grid))
                           for n in _sample(total, 2 * self._programs)[self._programs:]]  # fmt: skip
            footprints = _wave(follower, run, grid, total, sample)
        finally:
            State.observer = None
        note = "time ran out before all sampled programs ended" if follower.hurried else ""
        self.traces.append(
            _summary(self._index, kernel, self._config, grid, sample, footprints, note)
        )
        self._index += 1


def _place(number: int, grid: Program) -> Program:
    """The program that the GPU starts as the `number`-th: axis 0 is fastest."""
    return number % grid[0], number // grid[0] % grid[1], number // (grid[0] * grid[1])


def _sample(total: int, count: int) -> list[int]:
    """Programs to follow, spread over the grid without a period: multiples of the golden ratio.

    A grid's programs often repeat with a period (causal tiles of one head after the other), so
    equal steps would mislead.
    """
    chosen = dict.fromkeys([0])
    step = 0
    while len(chosen) < min(count, total):
        step += 1
        chosen[int(step * 0.6180339887498949 % 1 * total)] = None
    return list(chosen)


def _followed(follower: _Follower, run: Callable[[Program], None], program: Program) -> _Counts:
    follower.begin(ITERATIONS)
    try:
        run(program)
    except _Cut:
        pass
    return follower.counts


def _work(totals: Counter[Any]) -> float:
    """A rough measure of a program's work, for comparing programs of one launch."""
    moved = sum(v for k, v in totals.items() if isinstance(k, tuple) and k[-1] == "sectors")
    flops = sum(k[1] * k[2] * k[3] * v for k, v in totals.items() if k[0] == "dot")
    return float(moved * footprint.SECTOR + flops / 64)


def _spread(totals: list[Counter[Any]]) -> float:
    """Work of the heaviest program over the mean."""
    work = [_work(t) for t in totals]
    mean = sum(work) / len(work)
    return max(work) / mean if mean else 1.0


def _wave(
    follower: _Follower,
    run: Callable[[Program], None],
    grid: Program,
    total: int,
    sample: list[_Counts],
) -> dict[_Key, list[Array]]:
    """For each load, the lines of its first execution in each of some consecutive programs."""
    awaited = {key for counts in sample for key in counts.lines if key[2] == "load"}
    found: dict[_Key, list[Array]] = {key: [] for key in awaited}
    if not awaited:
        return found
    size = min(WAVE, total)
    start = (total - size) // 2
    for number in range(start, start + size):
        follower.begin(1, awaited)
        try:
            run(_place(number, grid))
        except _Cut:
            pass
        for key, arrays in follower.counts.lines.items():
            if key in found and arrays:
                found[key].append(arrays[0])
        if follower.hurried:
            break
    return found


def _summary(
    index: int, kernel: str, config: str, grid: Program, sample: list[_Counts],
    footprints: dict[_Key, list[Array]], note: str,
) -> LaunchTrace:  # fmt: skip
    """The average of the programs sampled."""
    mean: Counter[Any] = Counter()
    for counts in sample:
        for key, value in counts.totals.items():
            mean[key] += value / len(sample)
    sites = []
    for key in sorted({k for counts in sample for k in counts.lines}):
        line, _, kind, owner, bulk, itemsize = key
        sites.append(
            Site(
                line=line, kind=kind, owner=owner, bulk=bulk, itemsize=itemsize,
                count=mean[key, "count"], lanes=max(c.lanes.get(key, 0) for c in sample),
                bytes=mean[key, "bytes"],
                sectors=mean[key, "sectors"], lines=mean[key, "lines"],
                sharing=footprint.sharing(footprints.get(key, [])),
            )
        )  # fmt: skip
    dots = tuple(
        Dot(*key[1:], count=value)
        for key, value in sorted(mean.items(), key=str)
        if key[0] == "dot"
    )
    return LaunchTrace(
        index=index, kernel=kernel, config=config, grid=grid, sampled=len(sample), note=note,
        tensors=tuple(_tensor(i, sample) for i in range(len(State.bounds.ranges))),
        sites=tuple(sites), dots=dots,
        operations={k[1]: v for k, v in sorted(mean.items(), key=str) if k[0] == "op"},
        reductions=mean["reductions"], reduced=mean["reduced"], rounds=mean["rounds"],
        iterations=mean["iterations"], imbalance=_spread([c.totals for c in sample]),
    )  # fmt: skip


def _tensor(owner: int, sample: list[_Counts]) -> Tensor:
    """How the sampled programs read one tensor."""
    seen = distinct = 0
    for counts in sample:
        arrays = [a for key, listed in counts.lines.items() if key[2:4] == ("load", owner)
                  for a in listed]  # fmt: skip
        if arrays:
            seen += sum(a.size for a in arrays)
            distinct += np.unique(np.concatenate(arrays)).size
    again = sum(c.again[owner] for c in sample)
    start, end, _ = State.bounds.ranges[owner]
    return Tensor(
        bytes=end - start,
        distinct=distinct / seen if seen else 1.0,
        distance=sum(c.distance[owner] for c in sample) / again * footprint.LINE if again else 0.0,
    )


def trace(
    call: Callable[[], Any],
    *,
    programs: int = PROGRAMS,
    seconds: float = SECONDS,
    gpu: Gpu = GPUS["h100"],
) -> tuple[LaunchTrace, ...]:
    """Run the host code of an answer and follow some programs of every kernel it launches.

    Args:
        call: calls the answer with CPU tensors of the real shapes; results are not computed.
        programs: programs of each launch to sample.
        seconds: after this the trace is cut short, and says so.
        gpu: the device that the host code is told it runs on.

    Raises:
        OutOfBoundsError: a program accessed memory that is not the launch's.
    """
    interpret.install()
    tracer = _Tracer(programs, seconds)
    State.execute = tracer.execute
    try:
        with pretend(gpu, tracer):
            call()
    finally:
        State.execute = staticmethod(interpret.run_whole_grid)
    return tuple(tracer.traces)
