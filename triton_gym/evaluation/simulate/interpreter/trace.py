"""Follows a few program instances of every launch and records what they ask of a GPU.

A call of full size is run in the interpreter, but only some programs of each grid run:

* a *sample* of programs, spread over the grid, whose accesses, dots and reductions are counted.
  Of long loops the first iterations run and stand for the rest, in proportion; so does a part of
  the tiles of a persistent program. Results are exact where iterations are alike.
* a *wave* of consecutive programs, of whose loops one iteration runs. It shows how much of what
  neighbours read is the same, which decides between L2 and device memory. Where a few of them, at
  all distances, have nothing in common, the others are not run.

Matrix products are not computed and tensors may hold zeros: what depends on values that were
not computed (a `while` on data, say) is not traced truly. `LaunchTrace.note` says where a
trace is incomplete.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np

from triton_gym.device import GPUS, Gpu
from triton_gym.evaluation.simulate.host import Numbering, pretend
from triton_gym.evaluation.simulate.interpreter import footprint, interpret
from triton_gym.evaluation.simulate.interpreter.follow import ITERATIONS, Counts, Cut, Follower, Key
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.replay import Launched
from triton_gym.evaluation.simulate.interpreter.state import Program, State, place, run_whole_grid
from triton_gym.evaluation.simulate.launches import Dot, LaunchTrace, Site, Tensor

PROGRAMS = 4
"""Programs of a launch that are sampled; more if they turn out to differ."""
WAVE = 132
"""Consecutive programs whose reads are compared: one for each multiprocessor of a Hopper GPU."""
SECONDS = 20.0
"""How much processor time the trace of a whole call may take: wall time would let the result depend
on what else the machine does."""


class _Tracer(Numbering):
    """Runs the programs of each launch that are to be followed."""

    tolerated = (AssertionError, ValueError)
    """What an alternative may raise in the interpreter where the compiler refuses it."""

    def __init__(self, programs: int, seconds: float) -> None:
        super().__init__()
        self.traces: list[LaunchTrace] = []
        self.launches: list[Launched] = []
        """The same launches, to be repeated."""
        self._programs = programs
        self._deadline = process_time() + seconds

    def execute(self, kernel: str, grid: Program, run: Callable[[Program], None]) -> None:
        """Follow some programs of one launch."""
        index, config = self.number()
        total = grid[0] * grid[1] * grid[2]
        if total < 1:
            return
        alternative = any(trace.index == index for trace in self.traces)
        if alternative and process_time() > self._deadline:
            return  # what was followed for a moment only would seem to do next to nothing
        follower = Follower(self._deadline)

        def followed(numbers: Sequence[int]) -> list[Counts]:
            return [_follow(follower, run, place(n, grid)) for n in numbers]

        State.observer = follower
        try:
            numbers = _sample(total, self._programs)
            sample = followed(numbers)
            if _spread([c.totals for c in sample]) > 1.02:
                numbers = _sample(total, 2 * self._programs)
                sample += followed(numbers[len(sample) :])
            wave = _wave(follower, run, grid, total, sample)
        finally:
            State.observer = None
            follower.undo.restore()
        if alternative and follower.hurried:
            return
        note = "time ran out before all sampled programs ended" if follower.hurried else ""
        self.traces.append(_summary(index, kernel, config, grid, sample, wave, note))
        self.launches.append(
            Launched(
                index,
                config,
                grid,
                run,
                State.bounds,
                _used(sample),
                [(_work(c.totals), n) for c, n in zip(sample, numbers, strict=True)],
            )
        )


def _used(sample: list[Counts]) -> dict[int, set[str]]:
    """How a launch was seen to use each storage that it was given, by start address."""
    seen: dict[int, set[str]] = {start: set() for start, _, _ in State.bounds.ranges}
    for counts in sample:
        for key in counts.lines:
            if key[3] >= 0:
                seen[State.bounds.ranges[key[3]][0]].add(key[2])
    return seen


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


def _follow(follower: Follower, run: Callable[[Program], None], program: Program) -> Counts:
    follower.begin(ITERATIONS)
    try:
        run(program)
    except Cut:
        pass
    return follower.counts


def _work(totals: Mapping[Any, float]) -> float:
    """A rough measure of a program's work, for comparing programs of one launch."""
    moved = sum(v for k, v in totals.items() if isinstance(k, tuple) and k[-1] == "sectors")
    flops = sum(k[1] * k[2] * k[3] * v for k, v in totals.items() if k[0] == "dot")
    return float(moved * footprint.SECTOR + flops / 64)


def _spread(totals: list[dict[Any, float]]) -> float:
    """Work of the heaviest program over the mean."""
    work = [_work(t) for t in totals]
    mean = sum(work) / len(work)
    return max(work) / mean if mean else 1.0


@dataclass(frozen=True, slots=True)
class _Wave:
    """Which lines some consecutive programs read."""

    programs: int
    footprints: dict[Key, list[Array]]
    """For each load, the lines of its first execution in each program that was followed: all of
    them, or some that have nothing in common."""
    apart: bool
    """Whether they have nothing in common."""

    def sharing(self, key: Key) -> tuple[tuple[int, float], ...]:
        """See `footprint.sharing`."""
        lines = self.footprints.get(key, [])
        if self.apart:
            return footprint.sharing_nothing(lines, self.programs)
        return footprint.sharing(lines)


def _wave(
    follower: Follower,
    run: Callable[[Program], None],
    grid: Program,
    total: int,
    sample: list[Counts],
) -> _Wave:
    """What consecutive programs read, each up to where it has executed every load once.

    A few of them are at every distance from each other that two of the wave can have. If no two of
    these read the same, then none do, as far as what two programs share depends on their distance.
    """
    awaited = {key for counts in sample for key in counts.lines if key[2] == "load"}
    size = min(WAVE, total) if awaited else 0
    start = (total - size) // 2
    read: dict[int, dict[Key, Array]] = {}
    for first in (footprint.ruler(size), range(size)):
        for number in first:
            if number in read or follower.hurried:
                continue
            follower.begin(1, awaited)
            try:
                run(place(start + number, grid))
            except Cut:
                pass
            lines = follower.counts.lines.items()
            read[number] = {key: arrays[0] for key, arrays in lines if arrays}
        ordered = [read[number] for number in sorted(read)]
        found = {key: [lines[key] for lines in ordered if key in lines] for key in awaited}
        if len(read) < size and all(map(footprint.disjoint, found.values())):
            return _Wave(size, found, apart=not follower.hurried)
    return _Wave(size, found, apart=False)


def _summary(
    index: int, kernel: str, config: str, grid: Program, sample: list[Counts],
    wave: _Wave, note: str,
) -> LaunchTrace:  # fmt: skip
    """The average of the programs sampled."""
    mean: dict[Any, float] = defaultdict(float)
    for counts in sample:
        for key, value in counts.totals.items():
            mean[key] += value / len(sample)
    sites = []
    for key in sorted({k for counts in sample for k in counts.lines}):
        line, _, kind, owner, bulk, itemsize = key
        sites.append(
            Site(
                line=line, kind=kind, owner=owner, bulk=bulk, itemsize=itemsize,
                count=mean[key, "count"],
                burst=_mean(c.burst[key] for c in sample if key in c.burst),
                lanes=max(c.lanes.get(key, 0) for c in sample),
                bytes=mean[key, "bytes"],
                sectors=mean[key, "sectors"], lines=mean[key, "lines"],
                sharing=wave.sharing(key),
            )
        )  # fmt: skip
    dots = tuple(
        Dot(m=key[1], n=key[2], k=key[3], dtype=key[4], precision=key[5], count=value)
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


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 1.0


def _tensor(owner: int, sample: list[Counts]) -> Tensor:
    """How the sampled programs read one tensor."""
    seen = distinct = 0
    for counts in sample:
        arrays = [a for key, listed in counts.lines.items() if key[2:4] == ("load", owner)
                  for a in listed]  # fmt: skip
        if arrays:
            seen += sum(a.size for a in arrays)
            distinct += footprint.distinct(np.concatenate(arrays)).size
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
    launches: list[Launched] | None = None,
) -> tuple[LaunchTrace, ...]:
    """Run the host code of an answer and follow some programs of every kernel it launches.

    Args:
        call: calls the answer with CPU tensors of the real shapes; results are not computed.
        programs: programs of each launch to sample.
        seconds: after this the trace is cut short, and says so.
        gpu: the device that the host code is told it runs on.
        launches: filled with what is needed to repeat the launches.

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
        State.execute = staticmethod(run_whole_grid)
    if launches is not None:
        launches += tracer.launches
    return tuple(tracer.traces)
