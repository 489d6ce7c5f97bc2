"""What a tuning environment asks for times: a table of recorded ones, or an evaluator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

import numpy as np

from triton_gym import knobs
from triton_gym.device import GPUS, Device, Gpu
from triton_gym.episode import Known
from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.service.protocol import (
    EvaluationOptions,
    EvaluatorLike,
    EvaluatorWrapper,
)
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import Outcome
from triton_gym.tables.table import Table
from triton_gym.task import Case, Task, Unit
from triton_gym.tuning.choosing import Choice
from triton_gym.tuning.layout import WORST, Layout, Values, context, device_of, scaled

MISSING = ("error", "nearest")
"""What becomes of a configuration that a table lacks: an `InvalidOptionError`, or the nearest one
that was tried (fewest knobs' steps away, the first in the table of several)."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an evaluation of a configuration came to."""

    choice: Choice
    """The configuration that it was."""
    place: int
    """Its number in the world's list; -1 if it has none."""
    head: bytes
    """Float32 that an observation begins with: the case, the device, its knobs from 0 to 1."""
    tail: bytes
    """Float32 that the history holds of it."""
    time_us: float
    """Infinite for a failure."""
    score: float
    """log(floor / time), `WORST` for a failure."""
    seconds: float
    """What finding it out takes on the device: compiling, verifying, timing; 0 if not known."""
    outcome: Outcome
    info: dict[str, Any]
    """The outcome, flat, the value of each knob, and what an episode adds, not filled in yet."""


class World(Protocol):
    """Times of one task's configurations on some cases."""

    task: Task
    name: str
    """Of the task."""
    knobs: Mapping[str, tuple[int, ...]]
    cases: Sequence[Case]
    device: str
    """What the times are of, in a word."""
    evaluator: EvaluatorLike
    """What evaluates a kernel with a configuration's knobs."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each knob has."""

    def count(self, case: int) -> int:
        """Configurations that can be asked for by number."""

    def numbered(self, case: int, number: int) -> Choice:
        """The configuration of a number."""

    def context(self, case: int) -> Values:
        """The observation's part about case and device."""

    def floor_us(self, case: int) -> float:
        """The roofline's time."""

    def optimum_us(self, case: int) -> float:
        """The least time there is; NaN where nobody knows."""

    def row(self, case: int, choice: Choice, seed: int) -> Row:
        """Evaluate a configuration."""

    def source(self, choice: Choice) -> str:
        """The kernel with a configuration's knobs."""

    def forget(self) -> None:
        """Evaluate everything afresh from here on."""


def made_row(
    world: World, case: int, choice: Choice, place: int, width: int, outcome: Outcome,
    seconds: float, values: Mapping[str, int],
) -> Row:  # fmt: skip
    """A row from an outcome."""
    time_us = outcome.runtime_us if outcome.correct else math.inf
    score = math.log(world.floor_us(case) / time_us) if outcome.correct else WORST
    at = scaled(choice, world.sizes, width).tobytes()
    head = world.context(case).tobytes() + at
    tail = at + np.array([score, float(not outcome.correct)], np.float32).tobytes()
    info = {
        **outcome.info(), **values, "turn": 0, "index": place, "evaluations": 0,
        "repeated": False, "simulated_s": 0.0, "case": str(world.cases[case]), "task": world.name,
    }  # fmt: skip
    return Row(choice, place, head, tail, time_us, score, seconds, outcome, info)


class TableWorld:
    """A table of recorded times.

    Args:
        table: the times.
        layout: of the observation.
        task: whose times they are.
        missing: one of `MISSING`.

    Raises:
        InvalidOptionError: `missing` is none of those, or the table is empty.
    """

    def __init__(self, table: Table, layout: Layout, task: Task, *, missing: str = "error") -> None:
        if missing not in MISSING:
            raise unknown("missing", missing, MISSING)
        if not table.rows:
            raise InvalidOptionError(f"The table of {table.task!r} holds no row for these cases.")
        self.table, self.task, self.name, self.knobs = table, task, table.task, table.knobs
        self.cases: Sequence[Case] = table.cases
        self.device = f"recorded:{table.gpu}"
        self.evaluator: EvaluatorLike = TableEvaluator(self)
        self.sizes = tuple(len(values) for values in table.knobs.values())
        self._layout, self._missing = layout, missing
        gpu = device_of(table.gpu, GPUS)
        self._contexts = [
            context(layout, case, float(flops), float(moved), gpu, matrix=task.unit is Unit.MATRIX)
            for case, flops, moved in zip(
                table.cases, table.flops, table.moved_bytes, strict=True
            )
        ]  # fmt: skip
        self._floors = [float(us) for us in table.floor_us]
        self._best = [float(us) for us in table.best_us]
        self._tried = [np.flatnonzero(row) for row in table.present]
        self._rows: list[dict[Choice, Row]] = [{} for _ in table.cases]

    def count(self, case: int) -> int:
        """See `World`."""
        return len(self._tried[case])

    def numbered(self, case: int, number: int) -> Choice:
        """See `World`."""
        return tuple(map(int, self.table.choices[self._tried[case][number]]))

    def context(self, case: int) -> Values:
        """See `World`."""
        return self._contexts[case]

    def floor_us(self, case: int) -> float:
        """See `World`."""
        return self._floors[case]

    def optimum_us(self, case: int) -> float:
        """See `World`."""
        return self._best[case]

    def row(self, case: int, choice: Choice, seed: int = 0) -> Row:
        """See `World`."""
        rows = self._rows[case]
        if choice not in rows:
            rows[choice] = self._made(case, choice)
        return rows[choice]

    def source(self, choice: Choice) -> str:
        """See `World`."""
        return knobs.render(self.task.expert, self.table.named(choice))

    def forget(self) -> None:
        """Nothing: a table says the same always."""

    def known(self, case: int) -> Mapping[Choice, Row]:
        """The rows of a case that were asked for."""
        return self._rows[case]

    def _made(self, case: int, choice: Choice) -> Row:
        table = self.table
        try:
            place = table.place(case, choice)
        except InvalidOptionError:
            if self._missing == "error":
                raise
            apart = np.abs(table.choices[self._tried[case]] - np.array(choice)).sum(1)
            place = int(self._tried[case][int(apart.argmin())])
        found = tuple(map(int, table.choices[place]))
        spent = [float(table.measures[n][case, place]) for n in
                 ("compile_s", "verification_s", "benchmark_s")]  # fmt: skip
        return made_row(
            self, case, found, place, len(self._layout.knobs), table.outcome(case, place),
            sum(s for s in spent if s == s), table.named(found),
        )  # fmt: skip


class TableEvaluator(EvaluatorWrapper):
    """A table as an evaluator: of kernels whose knobs are a configuration that was tried.

    It says what the table says of the first case. Environments look their rows up by themselves;
    this is what a run's folder repeats them from.

    Args:
        world: the table.
    """

    def __init__(self, world: TableWorld) -> None:
        self._world = world

    @property
    def device(self) -> Device:
        """The table's, by its GPU."""
        return Device("recorded", self._world.table.gpu)

    @property
    def deterministic(self) -> bool:
        """A table says the same always."""
        return True

    @property
    def workers(self) -> int:
        """None is needed."""
        return 1

    def describe(self) -> str:
        """The device in a word."""
        return self._world.device

    def submit(
        self, task: Task, source: str, **options: Unpack[EvaluationOptions]
    ) -> Future[Outcome]:
        """A future that is over.

        Raises:
            InvalidOptionError: the source's knobs are none that was tried.
        """
        found = knobs.read(source)
        choice = [values.index(found[name]) for name, values in self._world.knobs.items()]
        future: Future[Outcome] = Future()
        future.set_result(self._world.row(0, tuple(choice), 0).outcome)
        return future

    def evaluate(self, task: Task, source: str, **options: Unpack[EvaluationOptions]) -> Outcome:
        """See `submit`."""
        return self.submit(task, source, **options).result()

    def close(self) -> None:
        """Nothing was started."""


class EvaluatedWorld:
    """A task whose configurations are evaluated on a device.

    Args:
        task: with knobs.
        evaluator: on which.
        layout: of the observation.
        gpu: the device's limits.
        baseline, limits: of `Evaluator.submit`.
    """

    def __init__(
        self, task: Task, evaluator: EvaluatorLike, layout: Layout, gpu: Gpu, *,
        baseline: str = "eager", limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.task, self.name = task, task.name
        self.knobs: Mapping[str, tuple[int, ...]] = {
            name: tuple(values) for name, values in task.knobs.items()
        }
        # The first of several timed cases stands for all: an outcome tells of each of them.
        self.cases: Sequence[Case] = task.bench[:1]
        self.device = evaluator.describe()
        self.sizes = tuple(len(values) for values in self.knobs.values())
        self.evaluator: EvaluatorLike = evaluator
        self._layout, self._gpu = layout, gpu
        self._options: dict[str, Any] = {"baseline": baseline, "limits": limits}
        self._known = Known()

    def count(self, case: int) -> int:
        """See `World`."""
        return math.prod(self.sizes)

    def numbered(self, case: int, number: int) -> Choice:
        """See `World`."""
        return tuple(int(index) for index in np.unravel_index(number, self.sizes))

    def context(self, case: int) -> Values:
        """See `World`."""
        one = self.cases[case]
        flops, moved = float(self.task.flops(one)), float(self.task.min_bytes(one))
        matrix = self.task.unit is Unit.MATRIX
        return context(self._layout, one, flops, moved, self._gpu, matrix=matrix)

    def floor_us(self, case: int) -> float:
        """See `World`."""
        return speed_of_light(self.task, self.cases[case], self._gpu).floor_us

    def optimum_us(self, case: int) -> float:
        """See `World`."""
        return math.nan

    def source(self, choice: Choice) -> str:
        """The expert's source with these knobs."""
        return knobs.render(self.task.expert, self.values(choice))

    def values(self, choice: Choice) -> dict[str, int]:
        """The value of each knob."""
        return {
            name: values[index]
            for (name, values), index in zip(self.knobs.items(), choice, strict=True)
        }

    def submit(self, case: int, choice: Choice, seed: int) -> Future[Outcome]:
        """A future of the outcome. On a GPU the seed is the judge's own."""
        if (outcome := self._known.get(f"{case} {choice}")) is not None:
            known: Future[Outcome] = Future()
            known.set_result(outcome)
            return known
        secret = seed if self.evaluator.deterministic else None
        return self.evaluator.submit(self.task, self.source(choice), seed=secret, **self._options)

    def row(self, case: int, choice: Choice, seed: int) -> Row:
        """See `World`."""
        outcome = self._known.get(f"{case} {choice}")
        if outcome is None:
            outcome = self.evaluate(case, choice, seed)
        return self.settled(case, choice, outcome)

    def evaluate(self, case: int, choice: Choice, seed: int) -> Outcome:
        """Evaluate a configuration and wait."""
        secret = seed if self.evaluator.deterministic else None
        return self.evaluator.evaluate(self.task, self.source(choice), seed=secret, **self._options)

    def forget(self) -> None:
        """See `World`."""
        self._known.forget()

    def settled(self, case: int, choice: Choice, outcome: Outcome) -> Row:
        """The row of an outcome, which is known from now on where it would be the same again."""
        if self.evaluator.deterministic:
            self._known.add(f"{case} {choice}", outcome)
        spent = outcome.evaluation_s if math.isfinite(outcome.evaluation_s) else 0.0
        place = int(np.ravel_multi_index(choice, self.sizes))
        return made_row(
            self, case, choice, place, len(self._layout.knobs), outcome, spent, self.values(choice)
        )
