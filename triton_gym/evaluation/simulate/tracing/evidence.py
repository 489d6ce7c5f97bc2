"""What replayed programs stored in a call's results, for the judge to compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym.evaluation.exchange.block import Block, Layout
from triton_gym.evaluation.plan.view import RAW, View
from triton_gym.evaluation.simulate.interpreter.conversion import converted
from triton_gym.evaluation.simulate.interpreter.effort import Effort, Exhausted
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import read
from triton_gym.evaluation.simulate.tracing.follow import Counts, Follower
from triton_gym.evaluation.simulate.tracing.footprint import distinct
from triton_gym.evaluation.simulate.tracing.paths import Paths
from triton_gym.evaluation.simulate.tracing.replay import Event, Played, Replay, Undecided
from triton_gym.evaluation.simulate.tracing.store_finder import Scout, Stores
from triton_gym.evaluation.simulate.tracing.stored import apart
from triton_gym.evaluation.simulate.tracing.trace import Traced

PROGRAMS = 12
"""Programs of a launch that are replayed, more if there are more classes of them."""
MOST_PROGRAMS = 24
BUDGET_US = 60e3
"""Effort after which no further program is begun, once each class has one or a few have run."""
LOOKED_AT = 3
"""Programs of a class of which the places where they store are looked at…"""
LOOKED_AT_UNLIKE = 16
"""…and the same where they store unequal shares, or might."""
NEIGHBOURS = 8
"""Further programs, near one another, of which that is done."""
LOOK_US = 2.5e6
"""Effort for that."""
IN_EARNEST = 128
"""Programs that run to their end where it depends on other kernels which of them store."""
CLEAR = 0.98
"""Largest share of a result that is stored, of which it is clear that it is not all."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call at full size that was traced."""

    launches: Sequence[Traced]
    """One for each index, with the configuration that counts."""
    results: Sequence[View]
    copies: Sequence[tuple[View, View]]
    """Copies that the host made: source and target."""
    gathered: Sequence[View]
    """What the host put together in the order of an index."""
    given: set[int]
    """Start addresses of the arguments' buffers."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a result a launch stores."""

    share: float
    """Bytes that its programs store over those of the result; 1 if each byte is stored once."""
    exact: bool
    """Whether programs of each class were found to store alike."""
    twice: float
    """Share of the programs looked at that store where another one of them does."""
    known: bool
    """Whether where programs store is decided by what was there when they were looked at."""


class Evidence:
    """Replays some programs of a call.

    Args:
        call: what was traced.
        seed: decides which programs are replayed.
    """

    def __init__(self, call: Call, seed: int) -> None:
        self._call = call
        self._replay = Replay(call.launches, call.given)
        self._seed = seed
        self._moved = {target.address for _, target in call.copies}
        self._moved.update(target.address for target in call.gathered)
        written = {start for traced in call.launches for start in traced.writes}
        self._sources = [
            _source(result, call.copies, written, self._buffer) for result in call.results
        ]

    def _buffer(self, view: View) -> int:
        """Start of the buffer that a view lies in, as launches know it."""
        for traced in self._call.launches:
            bounds = traced.launched.bounds
            owner = bounds.owner(view.address)
            if owner >= 0:
                return bounds.ranges[owner][0]
        return view.address

    def reply(self, block: Block) -> dict[str, Any]:
        """Replay programs of the launches that write the results, and put what they stored
        into shared memory.

        Returns:
            JSON values: `reason` (why something could not be replayed, or empty), `outputs` (for
            each result what was stored where, see `_output`), `changed` (whether an argument
            was), and `work`: bytes and FLOPs of the replayed programs, then what a trace counts.
        """
        reason = ""
        outputs, played = [], []
        layout = Layout()
        for number, source in enumerate(self._sources):
            writers = self._replay.writers(self._buffer(source)) if source is not None else []
            programs: list[Played] = []
            if writers:
                reason = self._play(writers[-1], programs) or reason
            played += [p for p in programs if p not in played]
            outputs.append(self._output(number, writers, programs, block, layout))
        self._replay.spoil()
        moved, flops = (float(sum(getattr(p, name) for p in played)) for name in ("moved", "flops"))
        return {
            "reason": reason, "outputs": outputs, "work": [moved, flops, *self._traced(played)],
            "changed": self._replay.changed_arguments,
        }  # fmt: skip

    def _play(self, position: int, programs: list[Played]) -> str:
        """Replay programs of a launch as long as the budget lasts; why not all, or nothing."""
        began = self._replay.effort.us
        paths = self._call.launches[position].paths
        rng = np.random.default_rng(self._seed)
        most = min(MOST_PROGRAMS, max(PROGRAMS, paths.classes + PROGRAMS // 2))
        strata = paths.strata(most, rng)
        few = min(3, len(strata))
        try:
            for number, _ in [strata[i] for i in rng.permutation(len(strata))]:
                programs.append(self._replay.play(position, number))
                spent = self._replay.effort.us - began
                if spent > BUDGET_US * (1 if len(programs) >= few else 8):
                    break
        except Undecided as undecided:
            return str(undecided)
        except Exhausted:
            return "the programs take too long to replay"
        return ""

    def _traced(self, played: list[Played]) -> tuple[float, float]:
        """Bytes and FLOPs that a trace counts for programs that ran in earnest."""
        moved = flops = 0.0
        for program in played:
            launched = self._call.launches[program.launch].launched
            follower = Follower(launched, float("inf"))
            counts: Counts = follower.follow(program.number)
            follower.undo.restore()
            moved += sum(v for k, v in counts.totals.items() if k[-1] == "bytes")
            flops += sum(
                2.0 * k[2] * k[3] * k[4] * v for k, v in counts.totals.items() if k[0] == "dot"
            )
        return moved, flops

    def _coverage(self, output: int, position: int, programs: list[Played]) -> Coverage | None:
        """How much of a result its launch stores; None if it takes too long to tell."""
        source = self._sources[output]
        if source is None:
            return None
        traced = self._call.launches[position]
        start, effort = self._buffer(source), Effort(LOOK_US)
        played = programs[0]
        stored = _stored(played, start)
        try:
            loops: int | None = None
            if Scout(traced.launched, effort, start, 0).look(played.number).bytes == stored:
                loops = 0
            scout = Scout(traced.launched, effort, start, loops)
            found = self._counted(traced, scout, source)
            mean = sum(_stored(p, start) for p in programs) / len(programs)
            share = mean * traced.paths.total / max(_written_bytes(source), 1)
            if found.known or abs(share - found.share) <= 1 - CLEAR:
                return found
        except Exhausted:
            return None
        return self._in_earnest(position, start, source, found)

    def _in_earnest(self, position: int, start: int, source: View, found: Coverage) -> Coverage:
        """The same from programs that ran to their end: others store than were seen to."""
        paths = self._call.launches[position].paths
        rng = np.random.default_rng(self._seed + 2)
        began = self._replay.effort.us
        stored = []
        try:
            for number in rng.permutation(paths.numbers)[:IN_EARNEST]:
                stored.append(_stored(self._replay.play(position, int(number)), start))
                if self._replay.effort.us - began > LOOK_US:
                    break
        except (Undecided, Exhausted):
            return Coverage(0.0, False, found.twice, False)
        shares = np.array(stored) * (paths.total / max(_written_bytes(source), 1))
        most = float(shares.mean() + 4 * shares.std() / math.sqrt(shares.size))
        if most < CLEAR and shares.size == min(IN_EARNEST, paths.numbers.size):
            return Coverage(most, False, found.twice, True)
        return Coverage(float(shares.mean()), False, found.twice, False)

    def _counted(self, traced: Traced, scout: Scout, source: View) -> Coverage:
        rng = np.random.default_rng(self._seed + 1)
        paths = traced.paths
        total, exact = 0.0, True
        seen: list[Stores] = []
        count = LOOKED_AT
        if not paths.decided:
            count = max(LOOKED_AT, LOOKED_AT_UNLIKE // paths.classes)
        for name in range(paths.classes):
            members = paths.kind == name
            numbers, work = paths.numbers[members], paths.work[members]
            chosen = _spread(work, count, rng)
            looks = [scout.look(int(numbers[i])) for i in chosen]
            seen += looks
            found = np.array([look.bytes for look in looks], dtype=float)
            passes = np.maximum(work - 1, 0.0)
            if _equal(found):
                stored = float(found[0]) * numbers.size
                exact &= paths.decided
            elif _equal(found / np.maximum(passes[chosen], 1e-9)):  # a loop stores
                stored = float(found.sum() / passes[chosen].sum() * passes.sum())
            else:
                more = rng.permutation(numbers.size)[:LOOKED_AT_UNLIKE]
                found = np.array([scout.look(int(numbers[i])).bytes for i in more], dtype=float)
                # Four standard errors: a grid whose programs differ is not refused by bad luck.
                slack = 4 * float(found.std()) / math.sqrt(found.size)
                stored = (float(found.mean()) + slack) * numbers.size
                exact = False
            # Programs that store at the same places store a part of the result only once.
            total += stored * self._apart(paths, source, np.flatnonzero(members))
        total *= paths.total / max(paths.numbers.size, 1)
        # Neighbours at all distances: programs that are mistaken for one another are often near.
        first = int(rng.integers(paths.total))
        near = {first, *((first + (1 << j)) % paths.total for j in range(NEIGHBOURS))}
        seen += [scout.look(number) for number in sorted(near)]
        places = [look.places[0].ravel()[:1] for look in seen if look.places]
        twice = 0.0
        if places:
            firsts = np.concatenate(places)
            known = len(seen) - len({tuple(p) for p in places if p.size})
            twice = max(0.0, (firsts.size - distinct(firsts).size) / firsts.size) if known else 0.0
        share = total / max(_written_bytes(source), 1)
        return Coverage(share, exact, float(twice), paths.decided or not self._reads_made(traced))

    def _apart(self, paths: Paths, source: View, members: Array) -> float:
        """Share of some programs that is left if no two store at the same places of a result."""
        if paths.stores is None:
            return 1.0
        return apart(paths.stores, *source.extent, members)

    def _reads_made(self, traced: Traced) -> bool:
        """Whether a launch reads what others of the call compute, which was not computed yet."""
        made = {
            start for other in self._call.launches if other is not traced and not other.whole
            for start, kinds in other.uses.items() if kinds & {"store", "atomic"}
        }  # fmt: skip
        return any("load" in kinds and start in made for start, kinds in traced.uses.items())

    def _output(
        self, number: int, writers: list[int], programs: list[Played], block: Block, layout: Layout
    ) -> dict[str, Any]:  # fmt: skip
        """What programs stored in one result.

        Returns:
            JSON values: `launches` that may write the result, `index` of the last of them and its
            number of `programs`, of each replayed one the bytes `moved` and its `flops`, the
            `share` of the result that all programs store, whether that is `exact`, and whether it
            is `known`, the share of programs that store where others do (`twice`), whether the
            host `copied` into the result, and `pieces`: slots of the positions and of the values
            that each store has left there.
        """
        source, result = self._sources[number], self._call.results[number]
        pieces = []
        for program in programs if source is not None else ():
            for event in program.events:
                if source is None or event.start != self._buffer(source):
                    continue
                positions, addresses = _positions(event, source)
                if not positions.size or layout.end + positions.size * 16 + 2048 > block.size:
                    continue
                count = (positions.size,)
                slots = layout.place(count, "int64"), layout.place(count, result.dtype)
                block.array(slots[0])[...] = positions.view(np.uint64)
                values = _values(addresses, source)
                block.array(slots[1])[...] = converted(values, source.dtype, result.dtype)
                pieces.append([slot.message() for slot in slots])
        covered = self._coverage(number, writers[-1], programs) if programs else None
        last = self._call.launches[writers[-1]].launched if writers else None
        return {
            "launches": len(writers), "index": last.index if last else -1,
            "programs": last.programs if last else 0, "pieces": pieces,
            "share": covered.share if covered else -1.0,
            "exact": bool(covered and covered.exact), "known": bool(covered and covered.known),
            "twice": covered.twice if covered else 0.0,
            "moved": [float(p.moved) for p in programs], "flops": [p.flops for p in programs],
            "copied": result.address in self._moved,
        }  # fmt: skip


def _spread(work: Array, count: int, rng: np.random.Generator) -> Array:
    """Some programs of a class, among them those that work least and most."""
    mixed = rng.permutation(work.size)
    if np.ptp(work) > 0:
        order = np.argsort(work[mixed], kind="stable")
        ends = mixed[order[[0, -1]]]
        mixed = np.concatenate([ends, mixed[~np.isin(mixed, ends)]])
    return np.asarray(mixed[:count])


def _equal(numbers: Array) -> bool:
    """Whether programs store alike."""
    return bool(np.ptp(numbers) <= 1e-6 * (np.abs(numbers).max() + 1e-9))


def _stored(played: Played, start: int) -> int:
    events = [e for e in played.events if e.start == start]
    if not events:
        return 0
    places = distinct(np.concatenate([e.addresses.ravel() for e in events]))
    return int(places.size) * events[0].itemsize


def _source(
    result: View, copies: Sequence[tuple[View, View]], written: set[int], buffer: Any
) -> View | None:
    """The memory that launches write and a result is, or is a copy of."""
    for _ in range(len(copies) + 1):
        if buffer(result) in written:
            return result
        same = [
            source
            for source, target in copies
            if (target.address, target.shape, target.strides)
            == (result.address, result.shape, result.strides)
        ]
        if not same:
            return None
        result = same[-1]
    return None


def _written_bytes(view: View) -> int:
    """Bytes that a view has in memory: what is expanded lies there once."""
    sizes = (size for size, step in zip(view.shape, view.strides, strict=True) if step)
    return int(np.prod([*sizes], dtype=np.int64)) * view.itemsize


def _positions(event: Event, source: View) -> tuple[Array, Array]:
    """Flat positions in a tensor of what a store wrote, and their addresses."""
    width = source.itemsize
    steps = np.arange(0, event.itemsize, width, dtype=np.uint64)
    addresses = distinct((event.addresses.ravel()[:, None] + steps).ravel())
    left = (addresses.astype(np.int64) - source.address) // width
    inside = left >= 0
    flat = np.zeros_like(left)
    rank = len(source.shape)
    counts = [int(np.prod(source.shape[d + 1 :])) for d in range(rank)]
    for axis in sorted(range(rank), key=source.strides.__getitem__, reverse=True):
        if source.shape[axis] > 1 and source.strides[axis]:  # what is expanded lies at index 0
            along = left // source.strides[axis]
            inside &= along < source.shape[axis]
            flat += along * counts[axis]
            left = left % source.strides[axis]
    inside &= left == 0
    return flat[inside], addresses[inside]


def _values(addresses: Array, source: View) -> Array:
    """The raw bits of elements of a tensor."""
    width = np.uint64(source.itemsize)
    return read(addresses // width * width, source.itemsize).view(RAW[source.itemsize])
