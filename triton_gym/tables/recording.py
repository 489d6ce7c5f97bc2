"""Recording a table: every configuration of a task's knobs on drawn shapes, on a device.

A line of `<task>.jsonl` is written for each evaluation as soon as it is over, so a recording that
is stopped goes on where it was. Evaluations come in a random order, so that what drifts is not
taken for a knob's effect; one configuration, the sentinel, is measured again and again between
them, and says by how much the device drifted. At the end the best 5 % of each case are measured
anew, and a row keeps the median of its measurements: the least of many noisy times is too small.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import itertools
import json
import math
import os
import random
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triton_gym import knobs
from triton_gym.device import GPUS, Gpu, gpu_matching
from triton_gym.errors import InvalidOptionError, InvalidTaskError
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.outcome import Outcome, Status, from_json, to_json
from triton_gym.tables.table import ABSENT, MEASURES, STATUSES, Table
from triton_gym.task import Case, Task

SENTINEL_EVERY = 50
"""Evaluations between two of the sentinel."""
AGAIN = 0.05
"""Share of each case's best that is measured anew."""
REPEATS = 3
"""How often."""
LEAST_US = 10.0
"""Shapes whose speed of light is less are launches, mostly: none is drawn."""
MOST_BYTES = 2 << 30
"""Shapes that move more are not drawn."""
VERSIONS = ("torch", "triton", "triton-gym")
_PHASES = {"compile_s": ("compile",), "verification_s": ("test",), "benchmark_s": ("profile",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is recorded of a task."""

    task: Task
    train: tuple[Case, ...]
    """Shapes of which a sample of configurations is measured."""
    test: tuple[Case, ...]
    """Shapes of which all are."""
    sample: int
    """Configurations of each shape in `train`."""
    seed: int = 0

    def configurations(self, case: Case) -> list[tuple[int, ...]]:
        """What is measured on a case: all, or a sample with the expert's own among it."""
        sizes = [len(values) for values in self.task.knobs.values()]
        every = list(itertools.product(*map(range, sizes)))
        if case in self.test or len(every) <= self.sample:
            return every
        own = own_choice(self.task)
        rng = random.Random(f"{self.seed} {self.task.name} {case}")
        return [own, *rng.sample([one for one in every if one != own], self.sample - 1)]


@dataclass(frozen=True, slots=True)
class Entry:
    """One evaluation: of what, and what for."""

    case: int
    choice: tuple[int, ...]
    turn: int
    """0 for the first measurement, 1 and more for those made anew."""
    kind: str = "row"
    """`row` or `sentinel`."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from others."""
        return (self.kind, self.case, self.choice, self.turn)


def gpu_of(evaluator: Any) -> Gpu:
    """The published limits of an evaluator's device, simulated or not.

    Raises:
        InvalidOptionError: they are not known here.
    """
    found = GPUS.get(evaluator.device.which) or gpu_matching(evaluator.hardware())
    if found is None:
        raise InvalidOptionError(f"The limits of {evaluator.hardware()!r} are not known here.")
    return found


def own_choice(task: Task) -> tuple[int, ...]:
    """The configuration that the expert's source has.

    Raises:
        InvalidTaskError: a knob's value there is not among those that it may take.
    """
    found = knobs.read(task.expert)
    try:
        return tuple(values.index(found[name]) for name, values in task.knobs.items())
    except (KeyError, ValueError) as error:
        raise InvalidTaskError(
            f"The expert of {task.name!r} does not have one of its knobs' values: {error}."
        ) from None


def drawn_shapes(task: Task, count: int, gpu: Gpu, seed: int = 0) -> tuple[Case, ...]:
    """Different shapes over the task's range, sizes log-uniform, dtypes in turn.

    Only such as take `LEAST_US` at the speed of light and move `MOST_BYTES` at most. The timed case
    is the first.

    Raises:
        InvalidOptionError: the task's range does not hold so many.
    """
    rng = random.Random(f"{seed} {task.name} shapes")
    found = {task.bench[0]: None}
    for attempt in range(400 * count):
        if len(found) >= count:
            break
        case = _drawn(task, rng, task.dtypes[attempt % len(task.dtypes)])
        light = speed_of_light(task, case, gpu)
        if light.floor_us >= LEAST_US and light.bytes <= MOST_BYTES:
            found[case] = None
    if len(found) < count:
        raise InvalidOptionError(
            f"The range of {task.name!r} holds {len(found)} shapes of a fitting size, not {count}."
        )
    return tuple(found)


def _drawn(task: Task, rng: random.Random, dtype: str) -> Case:
    """Sizes around the timed ones: hidden shapes are small, so that many can be tested."""
    if task.drawn is not None:
        return task.drawn(rng, False)
    sizes = {}
    for name, span in task.spans.items():
        timed = task.bench[0][name]
        low, high = max(span.low, timed // 16), max(span.high, 2 * timed)
        if timed <= span.high:  # what the range bounds, as the width of a head, stays in it
            high = span.high
        size = round(math.exp(rng.uniform(math.log(low), math.log(max(low, high)))))
        step = math.lcm(span.multiple, 16) if size >= 256 else span.multiple
        size = max(1, round(size / step)) * step
        sizes[name] = min(max(size, -(-low // span.multiple) * span.multiple), high)
    return Case(dtype, sizes)


class Recording:
    """A task's recording in a folder, begun or gone on with.

    Args:
        plan: what is recorded.
        evaluator: on which device.
        folder: where the journal and the table are written.

    Raises:
        InvalidOptionError: the folder holds a recording of another plan.
    """

    def __init__(self, plan: Plan, evaluator: Evaluator, folder: Path) -> None:
        self.plan, self._evaluator = plan, evaluator
        self.cases = (*plan.train, *plan.test)
        self.path = folder / f"{plan.task.name}.jsonl"
        self.table_path = folder / f"{plan.task.name}.npz"
        self._hardware = evaluator.hardware()
        self.gpu = gpu_of(evaluator)
        self._tasks = [dataclasses.replace(plan.task, bench=(case,)) for case in self.cases]
        folder.mkdir(parents=True, exist_ok=True)
        self._done = self._read()

    @property
    def head(self) -> dict[str, Any]:
        """What the journal's first line says: of what this is a recording."""
        plan = self.plan
        return {
            "task": plan.task.name, "gpu": self.gpu.name, "device": self._hardware,
            "knobs": {name: list(values) for name, values in plan.task.knobs.items()},
            "cases": [str(case) for case in self.cases], "sample": plan.sample, "seed": plan.seed,
        }  # fmt: skip

    def run(self, progress: Callable[[int, int], None] = lambda done, whole: None) -> Table:
        """Measure what is missing, and write the table.

        Args:
            progress: called with how many evaluations are over, and of how many.
        """
        rows = self._order()
        again = 2 * math.ceil(AGAIN * len(rows)) * REPEATS
        self._measure(rows, progress, len(rows) + again)
        best = self._best()
        self._measure(best, progress, len(self._done) + len(best))
        table = self.table()
        from triton_gym.tables.files import save

        save(table, self.table_path)
        return table

    # -- what is measured ---------------------------------------------------------------------

    def _order(self) -> list[Entry]:
        rows = [
            Entry(index, choice, 0)
            for index, case in enumerate(self.cases)
            for choice in self.plan.configurations(case)
        ]
        random.Random(f"{self.plan.seed} order").shuffle(rows)
        own = own_choice(self.plan.task)
        mixed: list[Entry] = []
        for number, row in enumerate(rows):
            if number % SENTINEL_EVERY == 0:
                mixed.append(Entry(0, own, number // SENTINEL_EVERY, "sentinel"))
            mixed.append(row)
        return mixed

    def _best(self) -> list[Entry]:
        found: list[Entry] = []
        for index, case in enumerate(self.cases):
            times = [
                (outcome.runtime_us, choice)
                for choice in self.plan.configurations(case)
                if (outcome := self._done.get(Entry(index, choice, 0).key)) and outcome.correct
            ]
            for _, choice in sorted(times)[: math.ceil(AGAIN * len(times))]:
                found += [Entry(index, choice, turn) for turn in range(1, REPEATS + 1)]
        random.Random(f"{self.plan.seed} again").shuffle(found)
        return found

    def _measure(
        self, entries: Iterable[Entry], progress: Callable[[int, int], None], whole: int
    ) -> None:
        left = [entry for entry in entries if entry.key not in self._done]
        sources = (self._source(entry.choice) for entry in left)
        tasks = (self._tasks[entry.case] for entry in left)
        with self.path.open("a", encoding="utf-8") as journal:
            for entry, outcome in zip(
                left, self._evaluator.map(_each(tasks), sources, fresh=True), strict=True
            ):  # fmt: skip
                self._done[entry.key] = outcome
                line = {
                    "kind": entry.kind, "case": entry.case, "choice": list(entry.choice),
                    "turn": entry.turn, "at": _now(), "outcome": to_json(outcome),
                }  # fmt: skip
                journal.write(json.dumps(line) + "\n")
                journal.flush()
                progress(len(self._done), whole)

    def _source(self, choice: tuple[int, ...]) -> str:
        named = {
            name: values[index]
            for (name, values), index in zip(self.plan.task.knobs.items(), choice, strict=True)
        }
        return knobs.render(self.plan.task.expert, named)

    # -- the journal --------------------------------------------------------------------------

    def _read(self) -> dict[tuple[Any, ...], Outcome]:
        if not self.path.exists():
            self.path.write_text(json.dumps(self.head) + "\n", encoding="utf-8")
            return {}
        first, *lines = self.path.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != self.head:
            raise InvalidOptionError(
                f"{self.path} is a recording of something else; give another folder, or move it."
            )
        found = {}
        whole = len(first.encode()) + 1
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:
                break  # the line that was being written when the last one was stopped
            whole += len(text.encode()) + 1
            entry = Entry(line["case"], tuple(line["choice"]), line["turn"], line["kind"])
            found[entry.key] = from_json(line["outcome"])
        with self.path.open("r+b") as file:
            file.truncate(min(whole, file.seek(0, os.SEEK_END)))
        return found

    # -- the table ----------------------------------------------------------------------------

    def table(self) -> Table:
        """What was measured so far."""
        task, names = self.plan.task, tuple(self.plan.task.knobs)
        order = sorted({choice for kind, _, choice, _ in self._done if kind == "row"})
        shape = (len(self.cases), len(order))
        status = np.full(shape, ABSENT, np.int8)
        measures = {name: np.full(shape, np.nan) for name in MEASURES}
        places = {choice: place for place, choice in enumerate(order)}
        grouped: dict[tuple[int, tuple[int, ...]], list[Outcome]] = {}
        for (kind, case, choice, _), outcome in sorted(
            self._done.items(), key=lambda item: item[0][3]
        ):  # fmt: skip
            if kind == "row":
                grouped.setdefault((case, choice), []).append(outcome)
        baselines: list[list[float]] = [[] for _ in self.cases]
        for (case, choice), outcomes in grouped.items():
            at = (case, places[choice])
            status[at] = STATUSES.index(outcomes[0].status)
            for name, value in _measured(outcomes).items():
                measures[name][at] = value
            baselines[case] += [o.baseline_us for o in outcomes if math.isfinite(o.baseline_us)]
        lights = [speed_of_light(task, case, self.gpu) for case in self.cases]
        return Table(
            task=task.name, gpu=self.gpu.name,
            knobs={name: tuple(task.knobs[name]) for name in names},
            choices=np.array(order, np.int64).reshape(len(order), len(names)), cases=self.cases,
            status=status, measures=measures,
            baseline_us=np.array([statistics.median(b) if b else math.nan for b in baselines]),
            floor_us=np.array([light.floor_us for light in lights]),
            flops=np.array([light.flops for light in lights]),
            moved_bytes=np.array([light.bytes for light in lights]), card=self.card(),
        )  # fmt: skip

    def card(self) -> dict[str, Any]:
        """The data card: where the times come from, and how much they drifted."""
        sentinels = [o for (kind, *_), o in self._done.items() if kind == "sentinel" and o.correct]
        times = [outcome.runtime_us for outcome in sentinels]
        middle = statistics.median(times) if times else math.nan
        return {
            "device": self._hardware, "utc": _now(), "command": command(),
            "time_source": str(sentinels[0].time_source) if sentinels else "",
            "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
            "sample": self.plan.sample, "seed": self.plan.seed,
            "test_cases": [str(case) for case in self.plan.test],
            "sentinel_us": times,
            "sentinel_spread": (max(times) - min(times)) / middle if times else None,
            "measured_again": f"the best {AGAIN:.0%} of each case, {REPEATS} times",
        }  # fmt: skip


def _each(tasks: Iterator[Task]) -> Iterator[Task]:
    """An iterator, also of one: `map` tells a task from several."""
    yield from tasks


def _measured(outcomes: list[Outcome]) -> Mapping[str, float]:
    """A row's numbers: of times the median of its measurements."""
    first = outcomes[0]
    found = {
        name: float(getattr(first, name))
        for name in ("max_error", "tolerance", "coverage", "registers", "spills", "shared_bytes")
    }
    if first.status is Status.CORRECT:
        right = [outcome for outcome in outcomes if outcome.correct]
        for name in ("runtime_us", "runtime_low_us", "runtime_high_us"):
            found[name] = statistics.median(getattr(outcome, name) for outcome in right)
    phases = dict(first.phases)
    for name, parts in _PHASES.items():
        found[name] = sum(phases.get(part, 0.0) for part in parts)
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def command() -> str:
    """How this program was called; of absolute paths the last part."""
    return shlex.join(Path(a).name if Path(a).is_absolute() else a for a in sys.argv)
