"""Recording a table: every configuration of a task's knobs on drawn shapes, on a device.

A line of `<task>.jsonl` is written for each evaluation as soon as it is over, so a recording that
is stopped goes on where it was. Configurations of a shape come in a random order, those of some
shapes in turn, so that what drifts is not taken for a knob's effect; one configuration of each
shape, the sentinel, is measured again and again between them, and says by how much the device
drifted. Then the best 5 % of the shape are measured anew, and a row keeps the median of its
measurements: the least of many noisy times is too small.

A configuration is evaluated whole the first time, with hidden shapes. On further shapes it is
timed only, which compares what every timed call returns.
"""

from __future__ import annotations

import dataclasses
import math
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, Protocol

from triton_gym.device import GPUS, Device, Gpu, gpu_matching
from triton_gym.errors import EvaluatorError, InvalidOptionError, InvalidTaskError
from triton_gym.outcome import Outcome
from triton_gym.tables.assembly import assembled, joined
from triton_gym.tables.files import save
from triton_gym.tables.journal import Entry, Journal, Measured, now
from triton_gym.tables.origin import origin
from triton_gym.tables.plan import Plan
from triton_gym.tables.table import Table
from triton_gym.task import Task

SENTINEL_EVERY = 30
"""Evaluations of a shape between two of its sentinel."""
AGAIN = 0.05
"""Share of each shape's best that is measured anew."""
REPEATS = 2
"""How often: with the first, a median of three."""
TOGETHER = 4
"""Shapes whose configurations come in turn: a judge learns much about each."""
AHEAD = 3
"""Evaluations under way for each worker."""
FAULTS = 25
"""Evaluations that the service may fail before a recording gives up."""


class Records(Protocol):
    """The part of an `Evaluator` that a recording uses."""

    workers: int

    @property
    def device(self) -> Device:
        """See `Evaluator`."""

    def hardware(self) -> str:
        """See `Evaluator`."""

    def submit(self, task: Task, source: str, *, fresh: bool, tested: bool) -> Future[Outcome]:
        """See `Evaluator`."""


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
        earlier: a table of another run; the shapes that it says are complete are not measured
            again, and are in the table that comes of this recording.

    Raises:
        InvalidOptionError: the folder holds a recording of another plan, or `earlier` is of another
            space or GPU.
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
        if earlier and (dict(earlier.knobs) != dict(plan.knobs) or earlier.gpu != self.gpu.name):
            raise InvalidOptionError(
                f"The earlier table of {plan.task.name!r} is of {dict(earlier.knobs)} on "
                f"{earlier.gpu}, the plan of {dict(plan.knobs)} on {self.gpu.name}."
            )
        self._tasks = [dataclasses.replace(plan.task, bench=(case,)) for case in self.cases]
        self._rows = [plan.configurations(case) for case in self.cases]
        self._journal = Journal(folder / f"{plan.task.name}.jsonl", self._head())
        self._tested = {e.choice for e in self._journal.done if e.kind == "row"}
        self._left = Counter(
            {
                index: sum(Entry(index, choice, 0) not in self._journal.done for choice in rows)
                for index, rows in enumerate(self._rows)
            }
        )
        self._dropped: dict[int, str] = {}
        self._faults = 0
        self._begun = now()

    def run(
        self,
        progress: Callable[[int, int], None] = lambda done, whole: None,
        *,
        cases: Sequence[int] | None = None,
        until: float = math.inf,
    ) -> Table | None:
        """Measure what is missing, and write the table.

        Args:
            progress: called with how many evaluations are over, and of about how many.
            cases: indices into `cases` of the shapes to measure; all by default.
            until: when to stop, by `time.monotonic`.

        Returns:
            The table of all that was measured so far; None if that is nothing yet.

        Raises:
            EvaluatorError: the service failed too often.
        """
        given = range(len(self.cases)) if cases is None else cases
        wanted = [i for i in given if i not in self._kept and i not in self._dropped]
        whole = len(self._journal.done) + math.ceil(
            sum(self._left[i] for i in wanted) * (1 + AGAIN * REPEATS + 1 / SENTINEL_EVERY)
        )
        self._measure(wanted, lambda: progress(len(self._journal.done), whole), until)
        table = self.table()
        if table is not None:
            save(table, self.table_path)
        return table

    def complete(self, index: int) -> bool:
        """Whether a shape has all its measurements, those anew too."""
        if index in self._kept:
            return True
        wanted = [*(Entry(index, choice, 0) for choice in self._rows[index])]
        if self._left[index]:
            return False
        return all(entry in self._journal.done for entry in (*wanted, *self._best(index)))

    def table(self) -> Table | None:
        """What was measured so far: complete test shapes, and train shapes with a right row."""
        found = assembled(
            self.plan, self.gpu, self._journal.done,
            [i for i in range(len(self.cases)) if self.complete(i) and i not in self._kept],
            {"utc": now(), "begun": self._begun, "device": self._hardware, **origin()},
        )  # fmt: skip
        if self._earlier is None or found is None:
            return found or self._earlier
        names = {str(self.cases[i]) for i in self._kept}
        at = [i for i, case in enumerate(self._earlier.cases) if str(case) in names]
        return joined(self._earlier.only(at), found) if at else found

    # -- what is measured ---------------------------------------------------------------------

    def _head(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "task": plan.task.name, "gpu": self.gpu.name, "device": self._hardware,
            "knobs": {name: list(values) for name, values in plan.knobs.items()},
            "cases": [str(case) for case in self.cases], "sample": plan.sample, "seed": plan.seed,
        }  # fmt: skip

    def _planned(self, wanted: Sequence[int]) -> Iterator[Entry]:
        """First measurements of shapes, and their sentinels, some shapes in turn."""
        for start in range(0, len(wanted), TOGETHER):
            lines = [list(self._in_order(index)) for index in wanted[start : start + TOGETHER]]
            longest = max(map(len, lines))
            # Each shape's line is spread evenly over the whole, whatever its length.
            placed = [
                (number * longest / len(line), which, entry)
                for which, line in enumerate(lines)
                for number, entry in enumerate(line)
            ]
            yield from (entry for _, _, entry in sorted(placed, key=lambda one: one[:2]))

    def _in_order(self, index: int) -> Iterator[Entry]:
        rows = [Entry(index, choice, 0) for choice in self._rows[index]]
        random.Random(f"{self.plan.seed} order {self.cases[index]}").shuffle(rows)
        own, turns = self.plan.own(), 0
        for number, row in enumerate(rows):
            if number % SENTINEL_EVERY == 0:
                yield Entry(index, own, turns, "sentinel")
                turns += 1
            yield row
        yield Entry(index, own, turns, "sentinel")

    def _best(self, index: int) -> list[Entry]:
        """What is measured anew of a shape."""
        done = self._journal.done
        times = sorted(
            (measured.numbers["runtime_us"], choice)
            for choice in self._rows[index]
            if (measured := done.get(Entry(index, choice, 0))) and measured.correct
        )
        found = [
            Entry(index, choice, turn)
            for _, choice in times[: math.ceil(AGAIN * len(times))]
            for turn in range(1, REPEATS + 1)
        ]
        random.Random(f"{self.plan.seed} again {self.cases[index]}").shuffle(found)
        return found

    def _measure(
        self, wanted: Sequence[int], progress: Callable[[], None], until: float
    ) -> None:  # fmt: skip
        todo = deque(self._undone(self._planned(wanted)))
        for index in wanted:
            if not self._left[index]:  # stopped while its best were measured
                todo.extendleft(self._undone(self._best(index)))
        under_way: dict[Future[Outcome], Entry] = {}
        most = AHEAD * self._evaluator.workers
        try:
            while (todo or under_way) and time.monotonic() < until:
                while todo and len(under_way) < most:
                    entry = todo.popleft()
                    if entry.case not in self._dropped:
                        under_way[self._submitted(entry)] = entry
                left = min(until - time.monotonic(), 3600.0)
                over, _ = wait(under_way, max(left, 0.0), FIRST_COMPLETED)
                for future in over:
                    todo.extendleft(self._noted(under_way.pop(future), future))
                progress()
        finally:
            for future in under_way:
                future.cancel()

    def _undone(self, entries: Iterable[Entry]) -> list[Entry]:
        return [entry for entry in entries if entry not in self._journal.done]

    def _submitted(self, entry: Entry) -> Future[Outcome]:
        # The first of each configuration is evaluated with hidden shapes.
        tested = entry.choice in self._tested
        self._tested.add(entry.choice)
        return self._evaluator.submit(
            self._tasks[entry.case], self.plan.source(entry.choice), fresh=True, tested=tested
        )

    def _noted(self, entry: Entry, future: Future[Outcome]) -> list[Entry]:
        """Note what came of a measurement; what is to be measured because of it."""
        try:
            measured = Measured.of(future.result())
        except InvalidTaskError as error:  # the reference finds no memory at this size, say
            self._dropped[entry.case] = str(error)
            return []
        except EvaluatorError as error:
            self._faults += 1
            print(f"{self.plan.task.name}: {error}", file=sys.stderr, flush=True)
            if self._faults > FAULTS:
                raise
            return []
        self._journal.add(entry, measured)
        if entry.kind != "row" or entry.turn:
            return []
        self._left[entry.case] -= 1
        return [] if self._left[entry.case] else self._undone(self._best(entry.case))
