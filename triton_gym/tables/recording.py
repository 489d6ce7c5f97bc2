"""Recording a table: every configuration of a task's knobs on drawn shapes, on a device.

Shapes whose sample is the same form blocks, and a job is a configuration on a block's shapes: an
evaluator records the answer once for all of them, and compiles a kernel once for all that launch it
with the same specialisation. The first time a configuration is evaluated whole, with hidden shapes.
Everywhere else it is timed, which compares what every timed call returns.

A line of `<task>.jsonl` is written for each measurement as soon as its job is over, so a recording
that is stopped goes on where it was. A block's configurations come in a random order, so that what
drifts is not taken for a knob's effect; one configuration, the sentinel, is measured again and
again between them, and says by how much the device drifted. Then the best 5 % of each shape are
measured anew, and a row keeps the median of its measurements: the least of many noisy times is too
small.
"""

from __future__ import annotations

import dataclasses
import math
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from triton_gym.device import GPUS, Device, Gpu, gpu_matching
from triton_gym.errors import EvaluatorError, InvalidOptionError, InvalidTaskError
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.outcome import Outcome
from triton_gym.tables.assembly import assembled, joined
from triton_gym.tables.files import save
from triton_gym.tables.journal import Entry, Journal, Measured, now
from triton_gym.tables.origin import origin, source_digest
from triton_gym.tables.plan import Plan
from triton_gym.tables.table import Table
from triton_gym.task import Case, Task

SENTINEL_EVERY = 30
"""Configurations of a block between two measurements of its sentinel."""
AGAIN = 0.05
"""Share of each shape's best that is measured anew."""
REPEATS = 2
"""How often: with the first, a median of three."""
BLOCK_BYTES = 900e6
"""Most bytes that the shapes of a block move: a judge keeps nine sets of inputs of each."""
FAULTS = 25
"""Evaluations that the service may fail before a recording gives up."""

Block = tuple[int, ...]
"""Shapes that are measured together, by index into the plan's cases."""


class Records(Protocol):
    """The part of an `Evaluator` that a recording uses."""

    workers: int

    @property
    def device(self) -> Device:
        """See `Evaluator`."""

    def hardware(self) -> str:
        """See `Evaluator`."""

    def submit_each(self, task: Task, source: str, *, tested: bool) -> Future[tuple[Outcome, ...]]:
        """See `Evaluator`."""


@dataclass(frozen=True, slots=True)
class Job:
    """A configuration on some shapes of a block."""

    block: Block
    entries: tuple[Entry, ...]
    """One for each shape."""

    @property
    def cases(self) -> Block:
        """The shapes."""
        return tuple(entry.case for entry in self.entries)


def gpu_of(evaluator: Records) -> Gpu:
    """The published limits of an evaluator's device, simulated or not.

    Raises:
        InvalidOptionError: they are not known here.
    """
    found = GPUS.get(evaluator.device.which) or gpu_matching(evaluator.hardware())
    if found is None:
        raise InvalidOptionError(f"The limits of {evaluator.hardware()!r} are not known here.")
    return found


class Recording:
    """A task's recording in a folder, begun or gone on with.

    Args:
        plan: what is recorded.
        evaluator: on which device.
        folder: where the journal and the table are written.
        earlier: a table of another run, which is part of the table that comes of this recording.
            Shapes that it says are complete are not measured again; of others what it holds stays
            until there is more.

    Raises:
        InvalidOptionError: the folder holds a recording of another plan, or `earlier` is of another
            space, GPU or source.
    """

    def __init__(
        self, plan: Plan, evaluator: Records, folder: Path, *, earlier: Table | None = None
    ) -> None:
        self.plan, self._evaluator = plan, evaluator
        self.cases = plan.cases
        self.table_path = folder / f"{plan.task.name}.npz"
        self.gpu = gpu_of(evaluator)
        self._hardware = evaluator.hardware()
        self._earlier = earlier
        told = set(earlier.card.get("complete_cases", ())) if earlier else set()
        self._kept = frozenset(i for i, case in enumerate(self.cases) if str(case) in told)
        if earlier:
            self._hold(earlier)
        self._rows = [plan.configurations(case) for case in self.cases]
        self._journal = Journal(folder / f"{plan.task.name}.jsonl", self._head())
        self._given = set(self._journal.done)  # entries that are measured, or under way
        self._tested = {e.choice for e in self._journal.done if e.kind == "row"}
        if earlier:
            right = earlier.correct[[str(case) in told for case in earlier.cases]].any(0)
            self._tested |= {tuple(map(int, choice)) for choice in earlier.choices[right]}
        self._left = Counter(
            {
                index: sum(Entry(index, choice, 0) not in self._journal.done for choice in rows)
                for index, rows in enumerate(self._rows)
            }
        )
        self._tasks: dict[Block, Task] = {}
        self._dropped: dict[int, str] = {}
        self._faults = 0
        self._begun = now()

    def blocks(self, *, test: bool) -> list[Block]:
        """Shapes that are to be measured, those together that share what they can."""
        found: list[Block] = []
        for group in self.plan.groups():
            left = [index for index in group if index not in self._kept]
            if left and (left[0] < len(self.plan.test)) == test:
                found += self._fitting(left)
        return found

    def jobs(self, block: Block, most: int | None = None) -> Iterator[Job]:
        """What is left to measure of a block, as far as it is known yet.

        Args:
            block: one of `blocks`.
            most: how many configurations at most; all by default.
        """
        if not any(self._left[index] for index in block):  # stopped while its best were measured
            yield from self._again(block)
            return
        rows = list(self._rows[block[0]])
        random.Random(f"{self.plan.seed} order {self.cases[block[0]]}").shuffle(rows)
        own, turns, given = self.plan.own(), 0, 0
        for number, choice in enumerate(rows):
            if number % SENTINEL_EVERY == 0:
                yield from self._job(block, [Entry(i, own, turns, "sentinel") for i in block])
                turns += 1
            if most is not None and given >= most:
                return
            for job in self._job(block, [Entry(index, choice, 0) for index in block]):
                given += 1
                yield job
        yield from self._job(block, [Entry(i, own, turns, "sentinel") for i in block])

    def submit(self, job: Job) -> Future[tuple[Outcome, ...]]:
        """Have a job done. The first of each configuration is evaluated with hidden shapes."""
        choice = job.entries[0].choice
        tested = choice in self._tested
        self._tested.add(choice)
        cases = job.cases
        if cases not in self._tasks:
            bench = tuple(self.cases[index] for index in cases)
            self._tasks[cases] = dataclasses.replace(self.plan.task, bench=bench)
        return self._evaluator.submit_each(
            self._tasks[cases], self.plan.source(choice), tested=tested
        )

    def noted(self, job: Job, future: Future[tuple[Outcome, ...]]) -> list[Job]:
        """Note what came of a job; what is to be done because of it.

        Raises:
            EvaluatorError: the service failed too often.
        """
        try:
            outcomes = future.result()
        except (InvalidTaskError, EvaluatorError) as error:
            choice = job.entries[0].choice
            if not any(entry.choice == choice for entry in self._journal.done):
                self._tested.discard(choice)  # its test came to nothing
            if len(job.entries) > 1:  # it may be one shape's fault
                return [Job(job.block, (entry,)) for entry in job.entries]
            return self._failed(job, error)
        for entry, outcome in zip(job.entries, outcomes, strict=True):
            self._journal.add(entry, Measured.of(outcome))
        rows = [e.case for e in job.entries if e.kind == "row" and not e.turn]
        self._left.subtract(rows)
        return list(self._again(job.block)) if rows else []

    @property
    def progress(self) -> tuple[int, int]:
        """How many measurements are over, and of about how many."""
        left = sum(self._left[index] for index in self._left if index not in self._kept)
        done = len(self._journal.done)
        return done, done + math.ceil(left * (1 + AGAIN * REPEATS + 1 / SENTINEL_EVERY))

    @property
    def trained(self) -> int:
        """Train shapes that an earlier table holds complete."""
        return sum(index >= len(self.plan.test) for index in self._kept)

    def complete(self, index: int) -> bool:
        """Whether a shape has all its measurements, those anew too."""
        if index in self._kept:
            return True
        if self._left[index]:
            return False
        return all(
            entry in self._journal.done
            for entry in (*(Entry(index, c, 0) for c in self._rows[index]), *self._best(index))
        )

    def write(self) -> Table | None:
        """Write the table of all that was measured so far, and return it; None if that is nothing
        yet."""
        table = self.table()
        if table is not None:
            save(table, self.table_path)
        return table

    def table(self) -> Table | None:
        """What was measured so far: complete test shapes, and train shapes with a right row."""
        found = assembled(
            self.plan, self.gpu, self._journal.done,
            [i for i in range(len(self.cases)) if self.complete(i) and i not in self._kept],
            {"utc": now(), "begun": self._begun, "device": self._hardware, **origin()},
        )  # fmt: skip
        earlier = self._earlier
        if earlier is None or found is None:
            return found or earlier
        before, complete = _rows(earlier), set(found.card["complete_cases"])
        more = [
            i for i, (case, rows) in enumerate(_rows(found).items())
            if str(case) in complete or rows >= before.get(case, 0)
        ]  # fmt: skip
        return joined(earlier, found.only(more)) if more else earlier

    # -- what is measured ---------------------------------------------------------------------

    def _hold(self, earlier: Table) -> None:
        plan, card = self.plan, earlier.card
        if dict(earlier.knobs) != dict(plan.knobs) or earlier.gpu != self.gpu.name:
            raise InvalidOptionError(
                f"The earlier table of {plan.task.name!r} is of {dict(earlier.knobs)} on "
                f"{earlier.gpu}, the plan of {dict(plan.knobs)} on {self.gpu.name}."
            )
        if card.get("expert") not in (None, source_digest(plan.task.expert)):
            raise InvalidOptionError(
                f"The earlier table of {plan.task.name!r} is of another source than its expert's "
                "of today: leave it out, and record all of it."
            )

    def _head(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "task": plan.task.name, "gpu": self.gpu.name, "device": self._hardware,
            "knobs": {name: list(values) for name, values in plan.knobs.items()},
            "cases": [str(case) for case in self.cases], "sample": plan.sample, "seed": plan.seed,
            "expert": source_digest(plan.task.expert),
        }  # fmt: skip

    def _fitting(self, indices: Sequence[int]) -> list[Block]:
        """Shapes in blocks that move about as much, in as few as `BLOCK_BYTES` allows."""
        moved = {
            index: speed_of_light(self.plan.task, self.cases[index], self.gpu).bytes
            for index in indices
        }
        count = min(len(indices), math.ceil(sum(moved.values()) / BLOCK_BYTES))
        blocks: list[list[int]] = [[] for _ in range(count)]
        for index in sorted(indices, key=lambda one: -moved[one]):
            least = min(blocks, key=lambda block: sum(moved[one] for one in block))
            least.append(index)
        return [tuple(sorted(block)) for block in sorted(blocks, key=min)]

    def _job(self, block: Block, entries: Iterable[Entry]) -> Iterator[Job]:
        """A job of those entries that nobody has measured or is about to."""
        new = [e for e in entries if e not in self._given and e.case not in self._dropped]
        self._given.update(new)
        if new:
            yield Job(block, tuple(new))

    def _again(self, block: Block) -> Iterator[Job]:
        """What is measured anew of a block, once all of it was measured."""
        if any(self._left[index] for index in block if index not in self._dropped):
            return
        wanted: dict[tuple[tuple[int, ...], int], list[Entry]] = {}
        for index in block:
            for entry in self._best(index):
                wanted.setdefault((entry.choice, entry.turn), []).append(entry)
        order = sorted(wanted)
        random.Random(f"{self.plan.seed} again {self.cases[block[0]]}").shuffle(order)
        for key in order:
            yield from self._job(block, wanted[key])

    def _best(self, index: int) -> list[Entry]:
        """What is measured anew of a shape."""
        done = self._journal.done
        times = sorted(
            (measured.numbers["runtime_us"], choice)
            for choice in self._rows[index]
            if (measured := done.get(Entry(index, choice, 0))) and measured.correct
        )
        return [
            Entry(index, choice, turn)
            for _, choice in times[: math.ceil(AGAIN * len(times))]
            for turn in range(1, REPEATS + 1)
        ]

    def _failed(self, job: Job, error: InvalidTaskError | EvaluatorError) -> list[Job]:
        """A shape that nothing can be judged on is left out; the service's fault costs a row."""
        (entry,) = job.entries
        if isinstance(error, InvalidTaskError):  # the reference finds no memory at this size, say
            self._dropped[entry.case] = str(error)
            return list(self._again(job.block))
        self._faults += 1
        print(f"{self.plan.task.name}: {error}", file=sys.stderr, flush=True)
        if self._faults > FAULTS:
            raise error
        return []


def _rows(table: Table) -> dict[Case, int]:
    """How many configurations of each shape a table holds."""
    return dict(zip(table.cases, map(int, table.present.sum(1)), strict=True))
