"""What a recording is to measure: a task's shapes, and which configurations of its knobs."""

from __future__ import annotations

import itertools
import math
import os
import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triton_gym import knobs
from triton_gym.device import Gpu
from triton_gym.errors import InvalidOptionError, InvalidTaskError
from triton_gym.tables.shapes import drawn_shapes
from triton_gym.task import Case, Task

SHARED = 8
"""Train shapes that have one sample: an answer is recorded for them together."""
_KEYS = ("train", "test", "sample", "seed", "most_us", "space", "family")


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
    """Of samples and order."""
    space: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Values of knobs that are left, where fewer than the task's are to be tried."""
    family: str = ""
    """Of the task, told in the table's card."""

    def __post_init__(self) -> None:
        if not self.task.knobs:
            raise InvalidTaskError(f"Task {self.task.name!r} declares no knobs: nothing to record.")
        for name, values in self.space.items():
            allowed = self.task.knobs.get(name, ())
            if not values or not set(values) <= set(allowed):
                raise InvalidOptionError(
                    f"The space of {self.task.name!r} gives {name} the values {list(values)}; "
                    f"its task allows {list(allowed)}."
                )
        self.own()

    @property
    def cases(self) -> tuple[Case, ...]:
        """All shapes, those first of which every configuration is measured."""
        return (*self.test, *self.train)

    @property
    def knobs(self) -> Mapping[str, tuple[int, ...]]:
        """Every knob and the values that are tried."""
        return {
            name: tuple(v for v in values if v in self.space.get(name, values))
            for name, values in self.task.knobs.items()
        }

    def own(self) -> tuple[int, ...]:
        """The configuration that the expert's source has.

        Raises:
            InvalidTaskError: a knob's value there is not among those that are tried.
        """
        found = knobs.read(self.task.expert)
        try:
            return tuple(values.index(found[name]) for name, values in self.knobs.items())
        except (KeyError, ValueError) as error:
            raise InvalidTaskError(
                f"The expert of {self.task.name!r} does not have one of its knobs' values: {error}."
            ) from None

    def groups(self) -> list[tuple[int, ...]]:
        """Shapes whose configurations are the same, by index into `cases`: those in `test`, then
        `SHARED` of `train` at a time."""
        tests, whole = len(self.test), len(self.cases)
        starts = range(tests, whole, SHARED)
        return [
            *([tuple(range(tests))] if tests else []),
            *(tuple(range(start, min(start + SHARED, whole))) for start in starts),
        ]

    def configurations(self, case: Case) -> list[tuple[int, ...]]:
        """What is measured on a case: all, or its group's sample with the expert's own among it."""
        every = list(itertools.product(*(range(len(v)) for v in self.knobs.values())))
        if case in self.test or len(every) <= self.sample:
            return every
        own = self.own()
        group = self.train.index(case) // SHARED
        rng = random.Random(f"{self.seed} {self.task.name} sample {group}")
        return [own, *rng.sample([one for one in every if one != own], self.sample - 1)]

    def source(self, choice: Sequence[int]) -> str:
        """The expert's source with a configuration."""
        named = {
            name: values[index]
            for (name, values), index in zip(self.knobs.items(), choice, strict=True)
        }
        return knobs.render(self.task.expert, named)

    def told(self) -> str:
        """Which part of the task's space is tried, in words."""
        tried = math.prod(map(len, self.knobs.values()))
        every = math.prod(map(len, self.task.knobs.values()))
        if tried == every:
            return f"all {every} configurations"
        fewer = ", ".join(f"{name} in {list(values)}" for name, values in self.space.items())
        return f"{tried} of {every} configurations: {fewer}"


def read_plans(
    path: str | os.PathLike[str], gpu: Gpu, task_named: Callable[[str], Task]
) -> list[Plan]:
    """The plans of a file: TOML, a table for each task.

    Of a task: `train` and `test` (how many shapes), `sample`, `seed`, `most_us` (the longest shape
    that is drawn, at the speed of light), `family`, and `space.KNOB` (values that are tried).

    Args:
        path: the file.
        gpu: whose speed of light bounds the shapes.
        task_named: finds a task.

    Raises:
        InvalidOptionError: the file cannot be read, or says something unknown.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidOptionError(f"{path} cannot be read as a plan: {error}") from error
    return [_plan(task_named(name), told, gpu) for name, told in found.items()]


def _plan(task: Task, told: Mapping[str, Any], gpu: Gpu) -> Plan:
    unknown = sorted(set(told) - set(_KEYS))
    if unknown:
        raise InvalidOptionError(
            f"The plan of {task.name!r} says {', '.join(unknown)}; known are {', '.join(_KEYS)}."
        )
    test, train, seed = told.get("test", 3), told.get("train", 24), told.get("seed", 0)
    most_us = float(told.get("most_us", math.inf))
    shapes = drawn_shapes(task, train + test, gpu, seed, most_us=most_us)
    return Plan(
        task=task, test=shapes[:test], train=shapes[test:], sample=told.get("sample", 80),
        seed=seed, family=told.get("family", ""),
        space={name: tuple(values) for name, values in told.get("space", {}).items()},
    )  # fmt: skip
