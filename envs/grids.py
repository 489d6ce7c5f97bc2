"""What tasks on regular grids share: parts with their neighbourhood, and hidden shapes.

A part of a stencil's result needs a border of neighbours more. Where the grid ends, the reference
itself says what lies beyond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from triton_gym.task import Case, Entry, Span, Task

from .answers import answers

AXES = {2: ("ny", "nx"), 3: ("nz", "ny", "nx")}
"""Names of the axes; the last is contiguous."""


def sizes(*lengths: int) -> dict[str, int]:
    """The named sizes of a grid, from the outermost axis to the contiguous one."""
    return dict(zip(AXES[len(lengths)], lengths, strict=True))


def points(case: Case) -> int:
    """Points of a case's grid."""
    return math.prod(case.sizes.values())


def bordered(
    reference: Callable[..., Any], ranges: Sequence[slice], cast: Any, arguments: Sequence[Any],
    border: int,
) -> Any:  # fmt: skip
    """The part of a stencil's result, for grids that end: computed with a border, then cropped.

    Args:
        reference: the task's.
        ranges: of the grid's axes.
        cast: to be applied to what was cut.
        arguments: grids of one shape, and numbers.
        border: neighbours on each side that a point depends on.
    """
    import torch

    shape = next(x.shape for x in arguments if isinstance(x, torch.Tensor))
    wide = tuple(
        slice(max(r.start - border, 0), min(r.stop + border, n))
        for r, n in zip(ranges, shape, strict=True)
    )
    cut = [cast(x[wide]) if isinstance(x, torch.Tensor) else x for x in arguments]
    inner = tuple(
        slice(r.start - w.start, r.stop - w.start) for r, w in zip(ranges, wide, strict=True)
    )
    found = reference(*cut)
    return tuple(x[inner] for x in found) if isinstance(found, tuple) else found[inner]


def wrapped(x: Any, ranges: Sequence[slice], border: int) -> Any:
    """A block of a periodic grid with a border around it; leading axes stay whole."""
    import torch

    first = x.dim() - len(ranges)
    for axis, r in enumerate(ranges, first):
        index = torch.arange(r.start - border, r.stop + border, device=x.device) % x.shape[axis]
        x = x.index_select(axis, index)
    return x


def grid_task(
    task_file: str,
    *,
    title: str,
    statement: str,
    parameters: tuple[str, ...],
    reference: Callable[..., Any],
    inputs: Callable[..., Any],
    tiny: tuple[tuple[int, ...], ...],
    bench: tuple[tuple[int, ...], ...],
    untimed: tuple[tuple[int, ...], ...] = (),
    operations: float,
    grids: int,
    border: int,
    knobs: dict[str, tuple[int, ...]],
    category: str = "stencil",
    part: Callable[..., Any] | None = None,
    min_bytes: Callable[[Case], float] | None = None,
    low: int = 3,
    high: int = 0,
    small: int = 0,
) -> Task:
    """A task on a grid in float32, named after its folder; see `Task` for what is not told here.

    Args:
        task_file: `__file__` of the task's module.
        operations: floating point operations a point.
        grids: grids that are read or written.
        border: see `bordered`; a task whose grid does not end brings its own `part`.
        min_bytes: where whole grids do not say it.
        low: least length of an axis.
        high: greatest length of an axis in hidden shapes; 0 for a usual one.
        small: the same for the interpreter.
    """
    name = Path(task_file).parent.name
    dims = len(bench[0])
    span = Span(
        low=low, high=high or (700 if dims == 2 else 90), tiny=small or (40 if dims == 2 else 12)
    )
    return Task(
        name=name,
        title=title,
        statement=statement,
        entry=Entry(name, parameters),
        reference=reference,
        part=part
        or (lambda ranges, cast, *arguments: bordered(reference, ranges, cast, arguments, border)),
        inputs=inputs,
        tiny=tuple(Case("float32", sizes(*shape)) for shape in tiny),
        bench=tuple(Case("float32", sizes(*shape)) for shape in bench),
        untimed=tuple(Case("float32", sizes(*shape)) for shape in untimed),
        spans=dict.fromkeys(AXES[dims], span),
        flops=lambda case: operations * points(case),
        min_bytes=min_bytes or (lambda case: 4.0 * grids * points(case)),
        reduction=lambda case: int(operations),
        knobs=knobs,
        tags=("spec", category),
        **answers(task_file),
    )
