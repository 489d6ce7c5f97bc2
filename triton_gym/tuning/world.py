"""What a tuning environment asks for times: a table of recorded ones, or an evaluator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from triton_gym import knobs
from triton_gym.device import GPUS, Gpu
from triton_gym.episode import Known
from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.service.protocol import EvaluatorLike
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
    knobs: Values
    """Its knobs from 0 to 1, padded."""
    entry: Values
    """What the history holds of it."""
    time_us: float
    """Infinite for a failure."""
    score: float
    """log(floor / time), `WORST` for a failure."""
    seconds: float
    """What finding it out takes on the device: compiling, verifying, timing; 0 if not known."""
    outcome: Outcome
    info: Mapping[str, Any]
    """The outcome, flat, and the value of each knob."""


class World(Protocol):
    """Times of one task's configurations on some cases."""

    name: str
    """Of the task."""
    knobs: Mapping[str, tuple[int, ...]]
    cases: Sequence[Case]
    device: str
    """What the times are of, in a word."""

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
    choice: Choice, place: int, sizes: Sequence[int], width: int, floor_us: float,
    outcome: Outcome, seconds: float, values: Mapping[str, int],
) -> Row:  # fmt: skip
    """A row from an outcome."""
    time_us = outcome.runtime_us if outcome.correct else math.inf
    score = math.log(floor_us / time_us) if outcome.correct else WORST
    at = scaled(choice, sizes, width)
    entry = np.concatenate([at, np.array([score, float(not outcome.correct)], np.float32)])
    info = {**outcome.info(), **values}
    return Row(choice, place, at, entry, time_us, score, seconds, outcome, info)


class TableWorld:
    """A table of recorded times.

    Args:
        table: the times.
        layout: of the observation.
        matrix: whether the task's FLOPs run on the matrix units.
        missing: one of `MISSING`.

    Raises:
        InvalidOptionError: `missing` is none of those, or the table is empty.
    """

    def __init__(
        self, table: Table, layout: Layout, *, matrix: bool = False, missing: str = "error"
    ) -> None:
        if missing not in MISSING:
            raise unknown("missing", missing, MISSING)
        if not table.rows:
            raise InvalidOptionError(f"The table of {table.task!r} holds no row for these cases.")
        self.table, self.name, self.knobs = table, table.task, table.knobs
        self.cases: Sequence[Case] = table.cases
        self.device = f"recorded:{table.gpu}"
        self.sizes = tuple(len(values) for values in table.knobs.values())
        self._layout, self._missing = layout, missing
        gpu = device_of(table.gpu, GPUS)
        self._contexts = [
            context(layout, case, float(flops), float(moved), gpu, matrix=matrix)
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
        """None: a table holds times."""
        raise InvalidOptionError("A table of recorded times holds no kernels; see the task's expert.")

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
            found, place, self.sizes, len(self._layout.knobs), self._floors[case],
            table.outcome(case, place), sum(s for s in spent if s == s), table.named(found),
        )  # fmt: skip


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
        self.cases: Sequence[Case] = task.bench
        self.device = evaluator.describe()
        self.sizes = tuple(len(values) for values in self.knobs.values())
        self.evaluator = evaluator
        self._layout, self._gpu = layout, gpu
        self._options: dict[str, Any] = {"baseline": baseline, "limits": limits}
        self._tasks = [dataclasses.replace(task, bench=(case,)) for case in task.bench]
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

    def submit(self, case: int, choice: Choice, seed: int) -> Any:
        """A future of the outcome. On a GPU the seed is the judge's own."""
        secret = seed if self.evaluator.deterministic else None
        return self.evaluator.submit(
            self._tasks[case], self.source(choice), seed=secret, **self._options
        )

    def row(self, case: int, choice: Choice, seed: int) -> Row:
        """See `World`."""
        key = f"{case} {choice}"
        outcome = self._known.get(key)
        if outcome is None:
            outcome = self.evaluate(case, choice, seed)
            if self.evaluator.deterministic:
                self._known.add(key, outcome)
        return self.settled(case, choice, outcome)

    def evaluate(self, case: int, choice: Choice, seed: int) -> Outcome:
        """Evaluate a configuration and wait."""
        secret = seed if self.evaluator.deterministic else None
        return self.evaluator.evaluate(
            self._tasks[case], self.source(choice), seed=secret, **self._options
        )

    def forget(self) -> None:
        """See `World`."""
        self._known.forget()

    def settled(self, case: int, choice: Choice, outcome: Outcome) -> Row:
        """The row of an outcome."""
        spent = outcome.evaluation_s if math.isfinite(outcome.evaluation_s) else 0.0
        place = int(np.ravel_multi_index(choice, self.sizes))
        return made_row(
            choice, place, self.sizes, len(self._layout.knobs), self.floor_us(case), outcome,
            spent, self.values(choice),
        )  # fmt: skip
