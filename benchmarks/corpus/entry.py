"""What a kernel of the corpus is: a task, a source with knobs, and some of its configurations."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.task import Case, Entry, Task, Unit

HEADER = "import torch\nimport triton\nimport triton.language as tl\n"
CONFIGURATIONS = 5
"""Configurations of a kernel that are measured, unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An answer to a task, with knobs.

    In its source a knob `BLOCK` is an integer for host code and `_BLOCK` a constexpr for kernels;
    torch, triton and `tl` are imported.
    """

    name: str
    task: Task
    body: str
    """Kernels and the host function, which is named after the task."""
    knobs: Mapping[str, tuple[int, ...]]
    """Values of each knob; the first ones together are what is always measured."""
    limit: int = CONFIGURATIONS
    """How many of their combinations are measured."""

    def configurations(self) -> list[dict[str, int]]:
        """The first values of all knobs, and a seeded sample of the other combinations."""
        grid = itertools.product(*self.knobs.values())
        first, *others = [dict(zip(self.knobs, values, strict=True)) for values in grid]
        random.Random(self.name).shuffle(others)
        return [first, *others[: self.limit - 1]]

    def source(self, config: Mapping[str, int]) -> str:
        """The answer in one configuration."""
        knobs = "".join(f"{k} = {v}\n_{k} = tl.constexpr({k})\n" for k, v in config.items())
        return f"{HEADER}\n{knobs}\n{self.body.strip()}\n"


@dataclass(frozen=True, slots=True)
class Family:
    """Kernels of one kind."""

    name: str
    fitted: bool
    """Whether constants of the time model may be fitted to it."""
    kernels: tuple[Kernel, ...]


def problem(
    name: str,
    parameters: str,
    reference: Callable[..., Any],
    inputs: Callable[[Case, torch.Generator], Any],
    *,
    tiny: Sequence[Mapping[str, int]],
    bench: Mapping[str, int],
    moved: Callable[[Case], float],
    dtype: str = "float32",
    dtypes: Mapping[str, str] | None = None,
    flops: Callable[[Case], float] = lambda case: 1.0,
    reduction: Callable[[Case], int] = lambda case: 1,
    part: Callable[..., Any] | None = None,
    matrix: bool = False,
) -> Task:
    """A task of the corpus, tested on the tiny sizes alone; see `Task` for what each is.

    Args:
        parameters: names of the arguments, with spaces between.
        dtypes: of arguments of another dtype than `dtype`, by name.
        moved: bytes that are read and written at least.
        matrix: whether the matrix units bound it.
    """
    cases = tuple(Case(dtype, sizes, dtypes or {}) for sizes in tiny)

    def drawn(rng: random.Random, small: bool) -> Case:
        return rng.choice(cases)

    return Task(
        name=name, title=name, statement=reference.__doc__ or name,
        entry=Entry(name, tuple(parameters.split())), reference=reference, inputs=inputs,
        tiny=cases, bench=(Case(dtype, bench, dtypes or {}),), spans={}, drawn=drawn,
        flops=flops, min_bytes=moved, reduction=reduction, starter="", expert="", part=part,
        unit=Unit.MATRIX if matrix else Unit.VECTOR, tags=("corpus",),
    )  # fmt: skip


def normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> torch.Tensor:
    """Normal float32 values on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device) * scale


def integers(generator: torch.Generator, low: int, high: int, *shape: int) -> torch.Tensor:
    """Integers from `low` up to, but not including, `high`, as int64."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device)


def rows_of(reference: Callable[..., Any], *whole: int) -> Callable[..., Any]:
    """`Task.part` where a slice of the first axis needs the same one of every argument.

    Args:
        reference: of the task.
        whole: arguments that every part needs all of.
    """

    def part(ranges: Any, cast: Any, *arguments: Any) -> Any:
        cut = [a if i in whole or not hasattr(a, "shape") else a[ranges[0]]
               for i, a in enumerate(arguments)]  # fmt: skip
        return reference(*(cast(a) if hasattr(a, "shape") else a for a in cut))

    return part
