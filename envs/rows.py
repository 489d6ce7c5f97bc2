"""What tasks on the rows of matrices share: sizes, hidden shapes, parts, counts.

Such a task has the sizes `rows` and `cols`; each row of its results depends on the same row of its
arguments, and on vectors that all rows share. Elementwise tasks are of this kind too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from triton_gym.task import Case, Entry, Span, Task

from .answers import answers

SHORT = ((7, 149), (1, 1000), (33, 31), (1, 17), (9, 711))
"""Tiny cases of elementwise tasks. The last has several blocks along every axis, whatever the
blocks."""
LONG = ((3, 781), (1, 130), (5, 16), (2, 5003))
"""Tiny cases of reductions. The last row is longer than the blocks that rows are usually taken
in."""
FLOATS = ("float32", "float16", "bfloat16")
"""The dtypes in use."""


def sizes(rows: int, cols: int) -> dict[str, int]:
    """The named sizes of a case."""
    return {"rows": rows, "cols": cols}


def part_of(reference: Callable[..., Any], shared: Sequence[int]) -> Callable[..., Any]:
    """`Task.part` of a row task: some rows of the result.

    Args:
        reference: the task's.
        shared: positions of the arguments that all rows share.
    """

    def part(ranges: Any, cast: Any, *arguments: Any) -> Any:
        cut = [
            cast(x) if index in shared else cast(x[ranges[0]])
            for index, x in enumerate(arguments)
        ]  # fmt: skip
        return reference(*cut)

    return part


def row_task(
    task_file: str,
    *,
    title: str,
    statement: str,
    parameters: tuple[str, ...],
    reference: Callable[..., Any],
    inputs: Callable[..., Any],
    bench: tuple[Case, ...],
    untimed: tuple[Case, ...] = (),
    operations: float,
    matrices: float,
    knobs: Mapping[str, tuple[int, ...]],
    tags: tuple[str, ...],
    per_row: float = 0.0,
    per_col: float = 0.0,
    shared: tuple[str, ...] = (),
    summed: bool = False,
    exact: bool = False,
    tiny: tuple[Case, ...] | None = None,
    spans: Mapping[str, Span] | None = None,
    dtypes: tuple[str, ...] = FLOATS,
    min_bytes: Callable[[Case], float] | None = None,
    part: Callable[..., Any] | None = None,
) -> Task:
    """A task on rows, named after its folder; see `Task` for what is not told here.

    Args:
        task_file: `__file__` of the task's module.
        operations: floating point operations an element.
        matrices: matrices of the case's dtype that are read or written.
        per_row: the same of vectors of `rows` values.
        per_col: the same of vectors of `cols` values.
        shared: parameters that all rows share.
        summed: whether rows are summed: then the tolerance grows with them.
        exact: see `Task`.
        dtypes: of the tiny cases, in turn.
        min_bytes: where the counts above do not say it.
    """
    name = Path(task_file).parent.name
    shapes = LONG if summed else SHORT
    common = tuple(
        Case(dtypes[index % len(dtypes)], sizes(*shape)) for index, shape in enumerate(shapes)
    )
    whole = [index for index, one in enumerate(parameters) if one in shared]

    def counted(case: Case) -> float:
        rows, cols = case["rows"], case["cols"]
        elements = matrices * rows * cols + per_row * rows + per_col * cols
        return case.torch_dtype.itemsize * elements

    return Task(
        name=name,
        title=title,
        statement=statement,
        entry=Entry(name, parameters),
        reference=reference,
        part=part or part_of(reference, whole),
        inputs=inputs,
        tiny=tiny or common,
        bench=bench,
        untimed=untimed,
        spans=spans
        or {
            "rows": Span(low=1, high=2000, tiny=6 if summed else 16),
            "cols": Span(low=16, high=5000, tiny=400 if summed else 200),
        },
        flops=lambda case: operations * case["rows"] * case["cols"],
        min_bytes=min_bytes or counted,
        reduction=lambda case: case["cols"] if summed else 1,
        exact=exact,
        knobs=knobs,
        tags=tags,
        **answers(task_file),
    )
