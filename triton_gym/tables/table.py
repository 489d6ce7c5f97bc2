"""One task's table: times of its knobs' configurations over shapes and dtypes, on one GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from triton_gym.errors import InvalidOptionError
from triton_gym.outcome import Outcome, Status, TimeSource
from triton_gym.task import Case

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

STATUSES: tuple[Status, ...] = tuple(Status)
"""What a row's `status` counts into, -1 where nothing was measured."""
ABSENT = -1
_KEPT = ("max_error", "tolerance", "coverage", "registers", "spills", "shared_bytes")
MEASURES: tuple[str, ...] = (
    "runtime_us", "runtime_low_us", "runtime_high_us", "compile_s", "verification_s",
    "benchmark_s", "max_error", "tolerance", "coverage", "registers", "spills", "shared_bytes",
    "repeats", "run",
)  # fmt: skip
"""What is known of a row, NaN where it is not. Times of the kernel in µs, of the work in s;
`repeats` is how many measurements its time is the median of, `run` which of the card's runs it
comes from."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What was measured of one task on one GPU.

    Shapes below: S cases, C configurations, K knobs. A configuration is a row of `choices`; not
    every one need have been measured on every case.
    """

    task: str
    """Name of the task."""
    gpu: str
    """Key of the GPU in `triton_gym.device.GPUS`."""
    knobs: Mapping[str, tuple[int, ...]]
    """Knobs and the values that each may take, in order."""
    choices: Integers
    """(C, K): for each configuration the index of every knob's value."""
    cases: tuple[Case, ...]
    """S shapes and dtypes."""
    status: npt.NDArray[np.int8]
    """(S, C): index into `STATUSES`, or `ABSENT`."""
    measures: Mapping[str, Floats]
    """(S, C) for each of `MEASURES`."""
    baseline_us: Floats
    """(S,): median time of the PyTorch reference."""
    floor_us: Floats
    """(S,): the roofline's time, which no kernel beats."""
    flops: Floats
    """(S,)"""
    moved_bytes: Floats
    """(S,): minimal bytes."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Data card: driver, versions, date, commit, command, noise, what was left out and why."""

    def __post_init__(self) -> None:
        rows, columns = len(self.cases), len(self.choices)
        shapes: dict[str, tuple[int, ...]]
        shapes = dict.fromkeys(("status", *MEASURES), (rows, columns))
        shapes |= dict.fromkeys(("baseline_us", "floor_us", "flops", "moved_bytes"), (rows,))
        for name, shape in shapes.items():
            found = self.measures.get(name) if name in MEASURES else getattr(self, name)
            if found is None or found.shape != shape:
                raise InvalidOptionError(
                    f"A table of {self.task!r} needs {name} of shape {shape}; it has "
                    f"{None if found is None else found.shape}."
                )
        sizes = [len(values) for values in self.knobs.values()]
        if self.choices.shape != (columns, len(sizes)) or (
            columns and not ((self.choices >= 0) & (self.choices < sizes)).all()
        ):
            raise InvalidOptionError(
                f"A table of {self.task!r} holds configurations outside its knobs {self.knobs}."
            )

    @cached_property
    def present(self) -> Flags:
        """(S, C): what was tried."""
        found: Flags = self.status != ABSENT
        return found

    @cached_property
    def correct(self) -> Flags:
        """(S, C): what ended as `correct`."""
        found: Flags = self.status == STATUSES.index(Status.CORRECT)
        return found

    @cached_property
    def runtime_us(self) -> Floats:
        """(S, C): median times, infinite where there is none."""
        return np.where(self.correct, self.measures["runtime_us"], np.inf)

    @cached_property
    def best_us(self) -> Floats:
        """(S,): the least time of each case."""
        found: Floats = self.runtime_us.min(1, initial=np.inf)
        return found

    @cached_property
    def rows(self) -> int:
        """How many measurements there are, failures too."""
        return int(self.present.sum())

    @cached_property
    def places(self) -> Mapping[tuple[int, ...], int]:
        """From a configuration's indices to its place in `choices`."""
        return {tuple(map(int, row)): place for place, row in enumerate(self.choices)}

    def complete(self, case: int) -> bool:
        """Whether every configuration of the table was tried on a case."""
        return bool(self.present[case].all())

    def place(self, case: int, choice: Sequence[int]) -> int:
        """Where a configuration stands.

        Raises:
            InvalidOptionError: it was not tried on the case, or is none; the table's space is told.
        """
        found = self.places.get(tuple(map(int, choice)))
        if found is None or not self.present[case, found]:
            tried = int(self.present[case].sum())
            raise InvalidOptionError(
                f"{self.named(choice)} is not in the table of {self.task} on {self.cases[case]}: "
                f"{tried} configurations of {dict(self.knobs)} were tried there."
            )
        return found

    def named(self, choice: Sequence[int]) -> dict[str, int]:
        """The values that a configuration gives to the knobs."""
        return {
            name: values[int(index)] if 0 <= int(index) < len(values) else int(index)
            for (name, values), index in zip(self.knobs.items(), choice, strict=True)
        }

    def outcome(self, case: int, place: int) -> Outcome:
        """A row as the outcome that it was."""
        status = STATUSES[int(self.status[case, place])]
        found = {name: float(self.measures[name][case, place]) for name in MEASURES}
        known: dict[str, Any] = {name: found[name] for name in _KEPT}
        if status is not Status.CORRECT:
            message = f"{status} on {self.cases[case]}, as recorded on {self.gpu}."
            return Outcome(status=status, message=message, time_source=TimeSource.RECORDED, **known)
        us = found["runtime_us"]
        return Outcome(
            status=status,
            message=f"Correct. {us:.1f} µs on {self.cases[case]}, as recorded on {self.gpu}.",
            compiled=True,
            runtime_us=us,
            runtime_low_us=found["runtime_low_us"],
            runtime_high_us=found["runtime_high_us"],
            baseline_us=float(self.baseline_us[case]),
            speedup=float(self.baseline_us[case]) / us,
            roofline=float(self.floor_us[case]) / us,
            gbps=float(self.moved_bytes[case]) / us / 1e3,
            tflops=float(self.flops[case]) / us / 1e6,
            time_source=TimeSource.RECORDED,
            **known,
        )

    def only(self, cases: Sequence[int]) -> Table:
        """The same table with some of its cases."""
        at = list(cases)
        return Table(
            task=self.task, gpu=self.gpu, knobs=self.knobs, choices=self.choices,
            cases=tuple(self.cases[i] for i in at), status=self.status[at],
            measures={name: values[at] for name, values in self.measures.items()},
            baseline_us=self.baseline_us[at], floor_us=self.floor_us[at], flops=self.flops[at],
            moved_bytes=self.moved_bytes[at], card=self.card,
        )  # fmt: skip
