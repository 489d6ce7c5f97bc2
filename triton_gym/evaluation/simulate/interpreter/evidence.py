"""What replayed programs stored in a call's results, for the judge to compare."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from triton_gym.evaluation.exchange.arena import Arena, Layout
from triton_gym.evaluation.simulate.interpreter.effort import Exhausted
from triton_gym.evaluation.simulate.interpreter.footprint import distinct
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import read
from triton_gym.evaluation.simulate.interpreter.replay import (
    BUDGET_US,
    Event,
    Launched,
    Played,
    Replay,
    Undecided,
)

GLANCES = 8
"""Programs drawn at random of which at least the places where they store are looked at."""
GLANCE_US = 50e3
"""Effort for that."""
SURVEY_US = 2e6
"""Effort for looking at all programs of a launch, where it seems that they leave something out."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call at full size that was traced."""

    launches: list[Launched]
    results: list[torch.Tensor]
    copies: list[tuple[torch.Tensor, torch.Tensor]]
    """Copies that the host made: source and target."""
    given: set[int]
    """Start addresses of the arguments' storages."""


class Evidence:
    """Replays some programs of a call.

    Args:
        call: what was traced.
        configs: for each launch, the configuration that counts.
        seed: decides which programs are replayed.
    """

    def __init__(self, call: Call, configs: Sequence[Sequence[Any]], seed: int) -> None:
        wanted = {(int(index), str(config)) for index, config in configs}
        chosen = [x for x in call.launches if (x.index, x.config) in wanted]
        self._replay = Replay(sorted(chosen, key=lambda x: x.index), call.given)
        self._rng = random.Random(seed)
        self._sources = [
            _source(result, call.copies, {s for x in chosen for s in x.writes})
            for result in call.results
        ]
        self._results = call.results
        self._copies = call.copies
        self._loops: dict[int, int] = {}

    def reply(self, arena: Arena, size: int) -> dict[str, Any]:
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
            writers = self._replay.writers(_start(source)) if source is not None else []
            programs: list[Played] = []
            if writers:
                reason = self._play(writers[-1], programs) or reason
            played += [p for p in programs if p not in played]
            outputs.append(self._output(number, writers, programs, arena, layout, size))
        self._replay.spoil()
        moved, flops = (float(sum(getattr(p, name) for p in played)) for name in ("moved", "flops"))
        try:
            work = [moved, flops, *self._replay.followed(played)]
        except Exhausted:
            work = [moved, flops, moved, flops]
        return {
            "reason": reason, "outputs": outputs, "work": work,
            "changed": self._replay.changed_arguments,
        }  # fmt: skip

    def survey(self, output: int) -> dict[str, Any]:
        """Bytes that programs of the last launch store in a result, `stored`, one by one, and
        how many of them store where another one does, `alike`."""
        source = self._sources[output]
        if source is None:
            return {"stored": [], "alike": 0.0}
        position = self._replay.writers(_start(source))[-1]
        numbers = list(range(self._replay.launches[position].programs))
        self._rng.shuffle(numbers)
        loops = self._loops.get(output)
        found = self._replay.survey(position, _start(source), numbers, loops, SURVEY_US)
        return {"stored": found.stored, "alike": found.alike}

    def _glance(
        self, output: int, position: int, start: int, played: Played
    ) -> tuple[list[int], float]:
        """See where some other programs store, if that is quick to see.

        It is if a replayed program stores the same with its loops left out, or nearly so.

        Returns:
            Bytes that each program stores, and how many store where another one does.
        """
        stored = sum(e.addresses.size * e.itemsize for e in played.events if e.start == start)
        for loops in (0, 2):
            try:
                one = self._replay.survey(position, start, [played.number], loops, GLANCE_US)
            except Exception:  # variables of a loop that is left out are not there
                continue
            if one.stored == [stored]:
                break
        else:
            return [], 0.0
        self._loops[output] = loops
        total = self._replay.launches[position].programs
        first = self._rng.randrange(total)
        # Neighbours at all distances: programs that are mistaken for one another are often near.
        numbers = [played.number, first]
        numbers += [(first + (1 << j)) % total for j in range(total.bit_length() - 1)]
        numbers += [self._rng.randrange(total) for _ in range(GLANCES)]
        found = self._replay.survey(position, start, dict.fromkeys(numbers), loops, GLANCE_US)
        return found.stored[1:], found.alike

    def _play(self, position: int, programs: list[Played]) -> str:
        """Replay programs of a launch as long as the budget lasts; why not all, or nothing."""
        began = self._replay.effort.us
        try:
            for number in self._replay.choose(position, self._rng):
                programs.append(self._replay.play(position, number))
                # Where programs differ, the lightest one does not speak for the others.
                enough = len(programs) > 1 or self._replay.launches[position].alike
                if enough and self._replay.effort.us - began > BUDGET_US:
                    break
        except Undecided as undecided:
            return str(undecided)
        except Exhausted:
            return "the programs take too long to replay"
        return ""

    def _output(
        self, number: int, writers: list[int], programs: list[Played], arena: Arena,
        layout: Layout, size: int,
    ) -> dict[str, Any]:  # fmt: skip
        """What programs stored in one result.

        Returns:
            JSON values: `launches` that may write the result, `index` of the last of them and its
            number of `programs`, for each replayed one the bytes that it `stored` there and in all
            `moved` and its `flops`, how many of those looked at store where another one does
            (`alike`), whether the host `copied` into the result, and `pieces`:
            slots of the positions and of the values that each store has left there.
        """
        source, result = self._sources[number], self._results[number]
        stored, pieces = [], []
        for program in programs if source is not None else ():
            places = []
            for event in program.events:
                if source is None or event.start != _start(source):
                    continue
                positions, addresses = _positions(event, source)
                places.append(positions)
                found = _values(addresses, source).to(result.dtype)
                if not positions.size or layout.end + positions.size * 16 + 2048 > size:
                    continue
                slots = layout.place((positions.size,), "int64"), layout.like(found)
                arena.view(slots[0]).copy_(torch.from_numpy(positions))
                arena.view(slots[1]).copy_(found)
                pieces.append([slot.message() for slot in slots])
            count = distinct(np.concatenate(places)).size if places else 0
            stored.append(int(count) * result.element_size())
        alike = 0.0
        if stored and source is not None:
            others, alike = self._glance(number, writers[-1], _start(source), programs[0])
            # In the result's bytes, which the source's are not if the host has cast it.
            stored += [n * result.element_size() // source.element_size() for n in others]
        last = self._replay.launches[writers[-1]] if writers else None
        return {
            "launches": len(writers), "index": last.index if last else -1,
            "programs": last.programs if last else 0, "stored": stored, "pieces": pieces,
            "alike": alike,
            "moved": [float(p.moved) for p in programs], "flops": [p.flops for p in programs],
            "copied": any(_start(target) == _start(result) for _, target in self._copies),
        }  # fmt: skip


def _start(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _source(
    result: torch.Tensor, copies: list[tuple[torch.Tensor, torch.Tensor]], written: set[int]
) -> torch.Tensor | None:
    """The tensor that launches write and a result is, or is a copy of."""
    for _ in range(len(copies) + 1):
        if _start(result) in written:
            return result
        same = [
            source
            for source, target in copies
            if (target.data_ptr(), target.shape, target.stride())
            == (result.data_ptr(), result.shape, result.stride())
            and source.shape == target.shape
        ]
        if not same:
            return None
        result = same[-1]
    return None


def _positions(event: Event, source: torch.Tensor) -> tuple[Array, Array]:
    """Flat positions in a tensor of what a store wrote, and their addresses."""
    width = source.element_size()
    steps = np.arange(0, event.itemsize, width, dtype=np.uint64)
    addresses = distinct((event.addresses.ravel()[:, None] + steps).ravel())
    left = (addresses.astype(np.int64) - source.data_ptr()) // width
    inside = left >= 0
    flat = np.zeros_like(left)
    counts = [int(np.prod(source.shape[d + 1 :])) for d in range(source.dim())]
    for axis in sorted(range(source.dim()), key=source.stride().__getitem__, reverse=True):
        if source.shape[axis] > 1 and source.stride(axis):  # what is expanded lies at index 0
            along = left // source.stride(axis)
            inside &= along < source.shape[axis]
            flat += along * counts[axis]
            left = left % source.stride(axis)
    inside &= left == 0
    return flat[inside], addresses[inside]


def _values(addresses: Array, source: torch.Tensor) -> torch.Tensor:
    raw = read(addresses // np.uint64(source.element_size()) * np.uint64(source.element_size()),
               source.element_size())  # fmt: skip
    return torch.from_numpy(raw.view(np.uint8)).view(source.dtype)
