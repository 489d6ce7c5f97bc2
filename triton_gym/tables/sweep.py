"""Several tasks recorded within a time: a few rows of each first, then test shapes, then train."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from triton_gym.outcome import Outcome
from triton_gym.tables.plan import Plan
from triton_gym.tables.recording import Block, Job, Recording, Records
from triton_gym.tables.table import Table

FIRST = 6
"""Configurations of each task's test shapes that are measured before any task is finished."""
FEW = 24
"""Train shapes of a family below which it goes before others."""
AHEAD = 0.5
"""Jobs under way beyond one for each worker, as a share of the workers."""
LAST = 1.5
"""How many times a job's usual duration must be left for another one to be begun."""
LONGEST_WAIT_S = 3600.0
LATELY = 48
"""Jobs whose duration is the usual one."""

Told = Callable[[str, str, int, int], None]
"""Called with a task, `first`, `test` or `train`, how many evaluations are over, and of about how
many."""


@dataclass(slots=True, eq=False)
class Part:
    """Blocks of a task that come one after the other."""

    recording: Recording
    name: str
    blocks: Sequence[Block]
    most: int | None = None
    """Configurations of each block; None for all."""
    open: int = field(default=0, init=False)
    """Jobs that are not over."""
    fed: bool = field(default=False, init=False)
    """Whether all its jobs were given out."""

    def jobs(self) -> Iterator[Job]:
        """What is left to measure. Looks at a block only when those before it were given out."""
        for block in self.blocks:
            yield from self.recording.jobs(block, self.most)

    def finish(self) -> None:
        """Write the table if all is over."""
        if self.fed and not self.open:
            self.recording.write()


def record_all(
    plans: Sequence[Plan], evaluator: Records, folder: Path, *,
    earlier: Mapping[str, Table] | None = None, until: float = math.inf,
    told: Told = lambda task, part, done, whole: None,
) -> dict[str, Table]:  # fmt: skip
    """Record tasks: some rows of each, then the complete tables of all, then samples of train
    shapes, block by block where there are fewest; see `parts_of`.

    Args:
        plans: what is recorded.
        evaluator: on which device.
        folder: of journals and tables. A table is written when a part of it is over, and whatever
            ends the recording, an interrupt too.
        earlier: tables of other runs; see `Recording`.
        until: when to stop, by `time.monotonic`.
        told: hears of the progress.

    Returns:
        The tables, by task, of which anything was measured.

    Raises:
        InvalidOptionError: see `Recording`.
        EvaluatorError: the service failed too often.
    """
    known = earlier or {}
    recordings = [
        Recording(plan, evaluator, folder, earlier=known.get(plan.task.name)) for plan in plans
    ]
    try:
        measure(parts_of(recordings), evaluator, until, told)
    finally:
        written = {one.plan.task.name: one.write() for one in recordings}
    return {name: table for name, table in written.items() if table is not None}


def parts_of(recordings: Sequence[Recording]) -> list[Part]:
    """What is recorded, in order.

    Of train shapes the next block is that of a family with fewer than `FEW`, if there is one, and
    of the task with fewest; the first of `recordings` where these are equal. Shapes of earlier
    tables count, so that whatever a recording is stopped by, tasks and families have about as much.
    """
    tests = [(one, one.blocks(test=True)) for one in recordings]
    return [
        *(Part(one, "first", blocks[:1], FIRST) for one, blocks in tests if blocks),
        *(Part(one, "test", blocks) for one, blocks in tests if blocks),
        *_fewest_first(recordings),
    ]


def _fewest_first(recordings: Sequence[Recording]) -> Iterator[Part]:
    """Blocks of train shapes, each where there are fewest by then."""
    left = [deque(one.blocks(test=False)) for one in recordings]
    own = [one.trained for one in recordings]
    families: Counter[str] = Counter()
    for one, count in zip(recordings, own, strict=True):
        families[_family(one)] += count
    while any(left):
        at = min(
            (i for i, blocks in enumerate(left) if blocks),
            key=lambda i: (min(FEW, families[_family(recordings[i])]), own[i]),
        )
        block = left[at].popleft()
        own[at] += len(block)
        families[_family(recordings[at])] += len(block)
        yield Part(recordings[at], "train", [block])


def _family(recording: Recording) -> str:
    """A task whose plan names no family is one by itself."""
    return recording.plan.family or recording.plan.task.name


def measure(
    parts: Sequence[Part], evaluator: Records, until: float = math.inf,
    told: Told = lambda task, part, done, whole: None,
) -> None:  # fmt: skip
    """Have parts measured in their order, without a pause between them.

    Args:
        parts: of one recording or several.
        evaluator: on which device.
        until: when to stop, by `time.monotonic`.
        told: hears of the progress.

    Raises:
        EvaluatorError: the service failed too often.
    """
    fed = _fed(parts)
    urgent: deque[tuple[Part, Job]] = deque()
    under_way: dict[Future[tuple[Outcome, ...]], tuple[Part, Job, float]] = {}
    took: deque[float] = deque(maxlen=LATELY)
    most = evaluator.workers + math.ceil(AHEAD * evaluator.workers)
    try:
        while (left := until - time.monotonic()) > 0:
            begins = not took or left > LAST * statistics.median(took)
            while begins and len(under_way) < most:
                part, job = urgent.popleft() if urgent else next(fed, (None, None))
                if part is None or job is None:
                    break
                under_way[part.recording.submit(job)] = part, job, time.monotonic()
            if not under_way:
                break
            over, _ = wait(under_way, min(left, LONGEST_WAIT_S), FIRST_COMPLETED)
            for future in over:
                part, job, begun = under_way.pop(future)
                took.append(time.monotonic() - begun)
                more = part.recording.noted(job, future)
                part.open += len(more) - 1
                urgent.extend((part, job) for job in more)
                part.finish()
                told(part.recording.plan.task.name, part.name, *part.recording.progress)
    finally:
        for future in under_way:
            future.cancel()


def _fed(parts: Sequence[Part]) -> Iterator[tuple[Part, Job]]:
    for part in parts:
        for job in part.jobs():
            part.open += 1
            yield part, job
        part.fed = True
        part.finish()
