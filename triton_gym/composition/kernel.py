"""A graph as the body of a Triton kernel: loads, steps and the store, for any way of addressing.

Everything here returns lines of source without indentation. A value is called `t`, parameters are
loaded into variables of their own names and their pointers are called `<name>_ptr`; the result is
`out`. So those names, `row`, `col`, `rows`, `cols` and `mask` are taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from triton_gym.composition.graph import Graph, Layout, Step, number
from triton_gym.composition.operators import BINARY, SCALAR, UNARY
from triton_gym.composition.reference import bracketed


@dataclass(frozen=True, slots=True)
class Place:
    """How a kernel addresses the block of values that it holds."""

    full: str
    """Offsets into a (rows, cols) matrix."""
    vector: str
    """Offsets into a (cols,) operand."""
    column: str
    """Offsets into a (rows,) operand."""
    mask: str
    """Mask of the block."""
    vector_mask: str = ""
    column_mask: str = ""
    tile: bool = False
    """Whether a block has two dimensions, rows and columns."""


FLAT = Place("i", "i % cols", "i // cols", "mask", "mask", "mask")
"""A stretch `i` of the matrix as it lies in memory."""
ROW = Place("row * cols + col", "col", "row", "mask", "mask")
"""Columns `col` of one `row`."""
TILE = Place(
    "row[:, None] * cols + col[None, :]", "col", "row", "mask", "col < cols", "row < rows", True
)
"""Rows `row` by columns `col`."""


def used(graph: Graph, steps: Sequence[Step], first: str) -> tuple[str, ...]:
    """Parameters that the steps join, in the graph's order; not `first`, which they start from."""
    names = {step.operand for step in steps if step.operand}
    order = ("x", *(operand.name for operand in graph.operands))
    return tuple(name for name in order if name in names and name != first)


def load(name: str, target: str, place: Place, layout: Layout, wide: bool, other: str = "") -> str:
    """The load of a parameter's part of the block; `wide` if it is in float32 already."""
    offsets, mask = {
        Layout.FULL: (place.full, place.mask),
        Layout.VECTOR: (place.vector, place.vector_mask),
        Layout.COLUMN: (place.column, place.column_mask),
    }[layout]
    masked = f", mask={mask}" if mask else ""
    if mask and other:
        masked += f", other={other}"
    return f"{target} = tl.load({name}_ptr + {offsets}{masked}){'' if wide else '.to(tl.float32)'}"


def loads(
    graph: Graph, steps: Sequence[Step], place: Place, dtype: str, first: str = "x", other: str = ""
) -> list[str]:
    """Loads of all that the steps need; `first` becomes the value `t`, unless it is empty.

    A `first` that no graph has (a workspace) holds float32.
    """
    lines: list[str] = []
    if first:
        kept = any(step.operand == first for step in steps)
        target = first if kept else "t"
        wide = dtype == "float32" or first not in graph.parameters
        lines.append(load(first, target, place, Layout.FULL, wide, other))
    for name in used(graph, steps, first):
        wide = dtype == "float32"
        lines.append(load(name, name, place, graph.layout(name), wide, other))
    return lines


def chain(
    graph: Graph, steps: Sequence[Step], place: Place, first: str = "x", reduced: bool = False
) -> list[str]:
    """The steps, as assignments to `t`; `first` as in `loads`."""
    lines: list[str] = []
    t = first if first and any(step.operand == first for step in steps) else "t"
    for step in steps:
        if step.row:
            if t != "t":
                lines.append(f"t = {t}")
            lines += whole(step, place)
            reduced = reduced or not step.row.keeps
        else:
            lines.append(f"t = {expression(graph, step, t, place, reduced)}")
        t = "t"
    return lines if t == "t" else [f"t = {t}"]


def expression(graph: Graph, step: Step, t: str, place: Place, reduced: bool) -> str:
    """The Triton text of an elementwise step."""
    if step.operator in UNARY:
        return UNARY[step.operator].triton.format(t=t)
    if step.operator in SCALAR:
        return SCALAR[step.operator].triton.format(t=t, u=number(step.value))
    operand = step.operand
    if step.inner:
        operand = bracketed(UNARY[step.inner].triton.format(t=operand))
    if place.tile and not reduced:
        view = {Layout.FULL: "", Layout.VECTOR: "[None, :]", Layout.COLUMN: "[:, None]"}
        operand += view[graph.layout(step.operand)]
    return BINARY[step.operator].triton.format(t=t, u=operand)


def whole(step: Step, place: Place) -> list[str]:
    """A row operator on whole rows."""
    if step.row is None:
        raise ValueError(f"{step} is no row operator")
    axis = "axis=1" if place.tile else "axis=0"
    keeps = ", keep_dims=True" if place.tile and step.row.keeps else ""
    texts = {
        **{name: _Reduction(f"tl.{name}({{}}, {axis}{keeps})") for name in ("sum", "max", "min")},
        "whole": _Reduction("{}[:, None]" if place.tile else "{}"),
    }
    return [line.format(mask=place.mask, cols="cols", **texts) for line in step.row.whole]


class _Reduction:
    """`{sum:t}` in a row operator's statements."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __format__(self, value: str) -> str:
        return self._text.format(value)


def store(place: Place, reduced: bool, out: str = "out") -> str:
    """The store of `t`."""
    offsets, mask = (place.column, place.column_mask) if reduced else (place.full, place.mask)
    return f"tl.store({out}_ptr + {offsets}, t{f', mask={mask}' if mask else ''})"


def function(
    name: str, parameters: Sequence[str], body: Sequence[str], *, doc: str = "", above: str = ""
) -> str:
    """A function from its lines, with decorators `above` it."""
    head = f"def {name}({', '.join(parameters)}):"
    lines = [f'"""{doc}"""', *body] if doc else list(body)
    return "\n".join(
        [*above.splitlines(), head, *(f"    {line}" if line else "" for line in lines)]
    )


def pointers(names: Sequence[str]) -> list[str]:
    """Names of pointer parameters."""
    return [f"{name}_ptr" for name in names]


def module(*functions: str) -> str:
    """An answer from its functions."""
    head = "import torch\nimport triton\nimport triton.language as tl\n"
    return head + "".join(f"\n\n{text}\n" for text in functions)


def mentions(lines: Sequence[str], name: str) -> bool:
    """Whether a variable occurs in some lines."""
    return any(re.search(rf"\b{name}\b", line) for line in lines)
