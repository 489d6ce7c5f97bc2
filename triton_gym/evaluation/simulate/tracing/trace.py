"""Follows some programs of every launch and records what they ask of a GPU.

Only some programs of a launch at full size run:

* a *sample*, of every class of programs (`paths.py`), whose accesses and dots are counted. Of long
  loops the first iterations run and stand for the rest, in proportion. Results are exact where
  iterations are alike.
* a *wave* of neighbouring programs, of whose loops one iteration runs. It shows how much of what
  neighbours read is the same, which decides between L2 and device memory. Where a few of them, at
  all distances, have nothing in common, the others are not run.

Matrix products are not computed and stores are not carried out: what depends on values that were
not computed (a `while` on data, say) is not traced truly. `LaunchTrace.note` says where a trace is
incomplete.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.launches import Dot, LaunchTrace, Site, Tensor
from triton_gym.evaluation.simulate.tracing import footprint
from triton_gym.evaluation.simulate.tracing.follow import STARTS, Counts, Follower, Key
from triton_gym.evaluation.simulate.tracing.launched import Launched
from triton_gym.evaluation.simulate.tracing.paths import Paths, paths_of

PROGRAMS = 8
"""Programs of a launch that are sampled, as many as that if all are alike in path."""
MOST_PROGRAMS = 20
"""The same where there are many paths."""
WAVE = 132
"""Neighbouring programs whose reads are compared: one for each multiprocessor of a Hopper GPU."""
SECONDS = 20.0
"""How much processor time the trace of a whole call may take: wall time would let the result depend
on what else the machine does."""

BLIND = "what its programs do depends on values of other kernels that were not computed"
"""Note of a trace that cannot be true."""


@dataclass(slots=True)
class Traced:
    """A launch that was followed."""

    launched: Launched
    trace: LaunchTrace
    paths: Paths
    uses: dict[int, set[str]]
    """Start addresses of its buffers, with the kinds of access seen: `load`, `store`, `atomic`."""
    whole: bool = False
    """Whether all of it has run: what it writes is there."""

    @property
    def writes(self) -> set[int]:
        """Buffers that it may write: those it was seen to, and those it was not seen to use."""
        return {start for start, kinds in self.uses.items() if kinds != {"load"}}

    @property
    def in_place(self) -> bool:
        """Whether it has run, and has written over what it read."""
        both = ("load" in kinds and len(kinds) > 1 for kinds in self.uses.values())
        return self.whole and any(both)


def trace(
    launched: Launched, seed: int, seconds: float = SECONDS,
    given: Sequence[tuple[int, int]] = (),
) -> Traced:  # fmt: skip
    """Follow some programs of a launch.

    Args:
        launched: the launch; memory is afterwards as it was.
        seed: decides which programs.
        seconds: of processor time, after which the trace is cut short, and says so.
        given: memory that no launch writes, as starts and ends: what programs load from there
            decides their paths.

    Raises:
        OutOfBoundsError: a program accessed memory that is not the launch's.
    """
    follower = Follower(launched, process_time() + seconds)
    paths = paths_of(launched.program.module, launched.grid, launched.arguments, seed, given)
    rng = np.random.default_rng(seed)
    most = min(MOST_PROGRAMS, max(PROGRAMS, paths.classes + PROGRAMS // 2))
    strata = paths.strata(most, rng)
    try:
        sample = [(follower.follow(number), weight) for number, weight in strata]
        wave = _wave(follower, paths, [number for number, _ in strata], sample)
    finally:
        follower.undo.restore()
    note = ""
    if follower.hurried:
        note = "time ran out before all sampled programs ended"
    elif any(counts.uncertain for counts, _ in sample):
        note = "how often a loop runs depends on values that were not computed"
    found = _summary(launched, sample, wave, note)
    return Traced(launched, found, paths, _used(launched, sample))


Sample = Sequence[tuple[Counts, float]]
"""Programs that were followed, and how many each stands for."""


def _used(launched: Launched, sample: Sample) -> dict[int, set[str]]:
    ranges = launched.bounds.ranges
    seen: dict[int, set[str]] = {start: set() for start, _, _ in ranges}
    for counts, _ in sample:
        for key in counts.lines:
            if key[3] >= 0:
                seen[ranges[key[3]][0]].add(key[2])
    return seen


def _work(totals: Mapping[Any, float]) -> float:
    """A rough measure of a program's work, for comparing programs of one launch."""
    moved = sum(v for k, v in totals.items() if isinstance(k, tuple) and k[-1] == "sectors")
    flops = sum(k[2] * k[3] * k[4] * v for k, v in totals.items() if k[0] == "dot")
    return float(moved * footprint.SECTOR + flops / 64)


@dataclass(frozen=True, slots=True)
class _Wave:
    """Which lines some neighbouring programs read."""

    programs: int
    footprints: dict[Key, list[Array]]
    """For each load, and each store that is not dense, the lines of its first execution in each
    program that was followed: all of them, or some that have nothing in common."""
    apart: bool
    """Whether they have nothing in common."""
    tensors: Mapping[int, list[Array]]
    """For each tensor that several loads read, the lines of all of them in each program, in order:
    neighbours share more of these than of any load's, as the rows of a stencil."""

    def sharing(self, key: Key) -> tuple[tuple[int, float], ...]:
        """See `footprint.sharing`."""
        lines = self.footprints.get(key, [])
        if self.apart:
            return footprint.sharing_nothing(lines, self.programs)
        return footprint.sharing(lines)

    def of_tensor(self, owner: int) -> tuple[tuple[int, float], ...]:
        """The same for all that several loads read of a tensor; empty if one does."""
        lines = self.tensors.get(owner, [])
        if self.apart and lines:
            return footprint.sharing_nothing(lines, self.programs)
        return footprint.sharing(lines)


def _of_tensors(programs: Sequence[Mapping[Key, Array]]) -> dict[int, list[Array]]:
    """The lines of each program, by the tensor, of those that several loads read."""
    loads = {key for read in programs for key in read if key[2] == "load" and key[3] >= 0}
    several = {key[3] for key in loads if sum(other[3] == key[3] for other in loads) > 1}
    return {
        owner: [
            footprint.distinct(np.concatenate(parts))
            for read in programs
            if (parts := [lines for key, lines in read.items() if key in loads and key[3] == owner])
        ]
        for owner in sorted(several)
    }


def _busiest_class(paths: Paths, chosen: Sequence[int], sample: Sample) -> tuple[int, set[Key]]:
    """The class of programs that loads most, and what it accesses: others share little."""
    loaded: dict[int, float] = defaultdict(float)
    seen: dict[int, set[Key]] = defaultdict(set)
    for number, (counts, weight) in zip(chosen, sample, strict=True):
        kind = int(paths.kind[np.flatnonzero(paths.numbers == number)[0]])
        sectors = (counts.totals[key, "sectors"] for key in counts.lines if key[2] == "load")
        loaded[kind] += weight * sum(sectors)
        seen[kind].update(counts.lines)
    kind = max(loaded, key=lambda kind: (loaded[kind], -kind))
    return kind, seen[kind]


def _wave(follower: Follower, paths: Paths, chosen: Sequence[int], sample: Sample) -> _Wave:
    """What neighbouring programs read, each up to where it has executed every load once.

    A few of them are at every distance from each other that two of the wave can have. If no two of
    these read the same, then none do, as far as what two programs share depends on their distance.
    """
    awaited = {key for counts, _ in sample for key in counts.lines if key[2] == "load"}
    awaited |= _sparse(sample)
    members = paths.numbers
    if paths.classes > 1 and awaited:
        kind, seen = _busiest_class(paths, chosen, sample)
        members, awaited = paths.members(kind), awaited & seen
    size = min(WAVE, members.size) if awaited else 0
    start = (members.size - size) // 2
    read: dict[int, dict[Key, Array]] = {}
    found: dict[Key, list[Array]] = {}
    tensors: dict[int, list[Array]] = {}
    for first_ones in (footprint.ruler(size), range(size)):
        for number in first_ones:
            if number in read or follower.hurried:
                continue
            counts = follower.follow(int(members[start + number]), 1, awaited)
            read[number] = {key: arrays[0] for key, arrays in counts.lines.items() if arrays}
        ordered = [read[number] for number in sorted(read)]
        found = {key: [lines[key] for lines in ordered if key in lines] for key in awaited}
        tensors = _of_tensors(ordered)
        every = (*found.values(), *tensors.values())
        if len(read) < size and all(map(footprint.disjoint, every)):
            return _Wave(size, found, not follower.hurried, tensors)
    return _Wave(size, found, False, tensors)


def _sparse(sample: Sample) -> set[Key]:
    """Stores that use less than half of the sectors they touch, if those are not few: others may
    fill them."""
    found = set()
    for counts, _ in sample:
        moved = sum(counts.totals[key, "sectors"] for key in counts.lines)
        for key in counts.lines:
            sectors = counts.totals[key, "sectors"]
            used = counts.totals[key, "bytes"] / footprint.SECTOR
            if key[2] == "store" and 2 * used < sectors and sectors > _FEW * moved:
                found.add(key)
    return found


_FEW = 0.1
"""Share of what a program moves that is not looked at closer."""


def _summary(launched: Launched, sample: Sample, wave: _Wave, note: str) -> LaunchTrace:
    """The average of the programs sampled, each counted as often as it stands for others."""
    everything = sum(weight for _, weight in sample)
    mean: dict[Any, float] = defaultdict(float)
    passes: dict[int, float] = defaultdict(float)
    for counts, weight in sample:
        for key, value in counts.totals.items():
            mean[key] += value * weight / everything
        for line, value in counts.passes.items():
            passes[line] += value * weight / everything
    sites = []
    for key in sorted({k for counts, _ in sample for k in counts.lines}):
        line, _, kind, owner, bulk, itemsize = key
        sites.append(
            Site(
                line=line, kind=kind, owner=owner, bulk=bulk, itemsize=itemsize,
                count=mean[key, "count"],
                burst=_mean(c.burst[key] for c, _ in sample if key in c.burst),
                lanes=max(c.lanes.get(key, 0) for c, _ in sample),
                bytes=mean[key, "bytes"],
                sectors=mean[key, "sectors"], lines=mean[key, "lines"],
                sharing=wave.sharing(key),
                axes=next((c.axes[key] for c, _ in sample if key in c.axes), ()),
                starts=_starts(key, sample),
            )
        )  # fmt: skip
    dots = tuple(
        Dot(line=key[1], m=key[2], n=key[3], k=key[4], dtype=key[5], precision=key[6], count=value)
        for key, value in sorted(mean.items(), key=str)
        if key[0] == "dot"
    )
    work = [(_work(counts.totals), weight) for counts, weight in sample]
    average = sum(amount * weight for amount, weight in work) / everything
    top = max(amount for amount, _ in work)
    heavy = sum(weight for amount, weight in work if amount >= top / 2)
    return LaunchTrace(
        index=launched.index, kernel=launched.kernel, config=launched.config, grid=launched.grid,
        sampled=len(sample), note=note,
        tensors=tuple(
            _tensor(launched, i, sample, wave) for i in range(len(launched.bounds.ranges))
        ),
        sites=tuple(sites), dots=dots, passes=tuple(sorted(passes.items())), rounds=mean["rounds"],
        gathered=mean["gathered"],
        contended=_contended(sample),
        imbalance=top / average if average else 1.0, heaviest=min(heavy / everything, 1.0),
    )  # fmt: skip


def _starts(key: Key, sample: Sample) -> tuple[int, ...]:
    """Where in a line an access begins: some of the places that were seen."""
    return tuple(sorted({start for c, _ in sample for start in c.starts.get(key, ())})[:STARTS])


def _contended(sample: Sample) -> float:
    """Share of the atomic operations that go to the cache line that most go to.

    Which line that is, is asked of all programs but one, and how much of that one's go there is
    counted: else programs that have a line each would seem to meet there.
    """
    together: dict[int, float] = defaultdict(float)
    for counts, weight in sample:
        for line, lanes in counts.met.items():
            together[line] += lanes * weight
    total = sum(together.values())
    if not total:
        return 0.0
    share = 0.0
    for counts, weight in sample:
        own = {line: lanes * weight for line, lanes in counts.met.items()}
        if len(sample) > 1:
            fullest = max(together, key=lambda line: (together[line] - own.get(line, 0.0), -line))
        else:
            fullest = max(together, key=lambda line: (together[line], -line))
        share += own.get(fullest, 0.0)
    return share / total


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 1.0


def _tensor(launched: Launched, owner: int, sample: Sample, wave: _Wave) -> Tensor:
    """How the sampled programs read one tensor."""
    seen = distinct = 0
    for counts, _ in sample:
        arrays = [a for key, listed in counts.lines.items() if key[2:4] == ("load", owner)
                  for a in listed]  # fmt: skip
        if arrays:
            seen += sum(a.size for a in arrays)
            distinct += footprint.distinct(np.concatenate(arrays)).size
    again = sum(c.again[owner] for c, _ in sample)
    start, end, _ = launched.bounds.ranges[owner]
    distance = sum(c.distance[owner] for c, _ in sample)
    return Tensor(
        bytes=end - start,
        distinct=distinct / seen if seen else 1.0,
        distance=distance / again * footprint.LINE if again else 0.0,
        sharing=wave.of_tensor(owner),
    )
