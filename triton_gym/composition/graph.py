"""An operator graph: a value that starts as a parameter and is transformed step by step.

`elementwise` and `rows` graphs start from `x` of shape (rows, cols), `matmul` graphs from `x @ w`
of shapes (m, k) and (k, n). Steps may join further parameters, `x` itself among them. A row
operator that does not keep the shape leaves one value a row, on which later steps work.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from triton_gym.composition.operators import BINARY, SCALAR, UNARY
from triton_gym.composition.rowwise import ROWS, RowOperator
from triton_gym.errors import InvalidTaskError, unknown


class Kind(enum.StrEnum):
    """What a graph is built around."""

    ELEMENTWISE = "elementwise"
    """Elementwise operators alone."""
    ROWS = "rows"
    """One or more row operators among elementwise ones."""
    MATMUL = "matmul"
    """A matrix product with an elementwise epilogue."""


class Layout(enum.StrEnum):
    """How an operand lies against the (rows, cols) of the value it joins."""

    FULL = "full"
    """(rows, cols)"""
    VECTOR = "vector"
    """(cols,): one number a column, broadcast over rows."""
    COLUMN = "column"
    """(rows,): one number a row, broadcast over columns."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A parameter beside the first."""

    name: str
    layout: Layout


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of a graph."""

    operator: str
    """Name in one of the tables."""
    operand: str = ""
    """Parameter that a binary operator joins."""
    inner: str = ""
    """Unary operator that is applied to the operand first."""
    value: float = 0.0
    """Number that a scalar operator takes."""

    @property
    def row(self) -> RowOperator | None:
        """The row operator, if it is one."""
        return ROWS.get(self.operator)


@dataclass(frozen=True, slots=True)
class Graph:
    """What a composed task computes."""

    kind: Kind
    steps: tuple[Step, ...]
    operands: tuple[Operand, ...] = ()

    def __post_init__(self) -> None:
        names = {operand.name for operand in self.operands} | {"x"}
        reduced = False
        for step in self.steps:
            if step.operator not in _ALL:
                raise unknown("operator", step.operator, _ALL)
            if step.inner and step.inner not in UNARY:
                raise unknown("operator of an operand", step.inner, UNARY)
            if (step.operator in BINARY) != bool(step.operand):
                raise InvalidTaskError(f"{step} must name an operand exactly if it is binary.")
            if step.operand and step.operand not in names:
                raise unknown("operand", step.operand, names)
            if step.row and (self.kind is not Kind.ROWS or reduced):
                raise InvalidTaskError(f"{step.operator} cannot stand here in {self.steps}.")
            wide = step.operand and self.layout(step.operand) is not Layout.COLUMN
            if wide and reduced:
                raise InvalidTaskError(f"{step} joins a matrix to one value a row.")
            reduced = reduced or bool(step.row and not step.row.keeps)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters in order."""
        first = ("x", "w") if self.kind is Kind.MATMUL else ("x",)
        return (*first, *(operand.name for operand in self.operands))

    @property
    def reduced(self) -> bool:
        """Whether the result holds one value a row."""
        return any(step.row and not step.row.keeps for step in self.steps)

    def layout(self, name: str) -> Layout:
        """The layout of an operand."""
        return next((o.layout for o in self.operands if o.name == name), Layout.FULL)

    def without(self, index: int) -> Graph:
        """The graph without one step."""
        return Graph(self.kind, (*self.steps[:index], *self.steps[index + 1 :]), self.operands)

    def positions(self) -> Iterator[tuple[Step, bool]]:
        """Each step, and whether its value has been reduced to one a row before it."""
        reduced = False
        for step in self.steps:
            yield step, reduced
            reduced = reduced or bool(step.row and not step.row.keeps)

    def canonical(self) -> str:
        """The same text for graphs that differ in nothing but numbers and names.

        Dtypes and shapes are not part of a graph, and neither values of scalars nor names of
        parameters are part of this text: what it does not tell apart is one problem to a learner.
        """
        order: dict[str, str] = {"x": "x"}
        parts: list[str] = [str(self.kind)]
        for step in self.steps:
            text = step.operator
            if step.operand:
                known = sum(self.layout(n) is self.layout(step.operand) for n in order if n != "x")
                name = order.setdefault(step.operand, f"{self.layout(step.operand)}{known}")
                text += f"({step.inner}:{name})" if step.inner else f"({name})"
            parts.append(text)
        return " ".join(parts)

    def name(self) -> str:
        """A function name that says what is computed."""
        words = ["matmul"] if self.kind is Kind.MATMUL else []
        for step in self.steps:
            words.append(f"{step.operator}_{step.inner}" if step.inner else step.operator)
        if len(words) == 1:  # alone it may be the name of a builtin: sum, abs
            words.append(str(self.kind))
        return "_".join(words) or "copy"

    def flops(self, rows: int, cols: int, inner: int = 1) -> float:
        """Floating point operations; `inner` is the length of a matrix product's sums.

        Those of a matrix product alone, as is usual, if there is one.
        """
        if self.kind is Kind.MATMUL:
            return 2.0 * rows * cols * inner
        total = 0.0
        for step, reduced in self.positions():
            width = 1 if reduced else cols
            total += rows * width * (step.row.flops if step.row else _elementwise_flops(step))
        return total

    @property
    def operations(self) -> int:
        """Elementwise operations on the way of one value."""
        return sum(_elementwise_flops(step) for step in self.steps if not step.row)

    def read(self, rows: int, cols: int) -> int:
        """Elements of all operands beside `x` and `w`."""
        size = {Layout.FULL: rows * cols, Layout.VECTOR: cols, Layout.COLUMN: rows}
        return sum(size[operand.layout] for operand in self.operands)


def number(value: float) -> str:
    """A scalar as it is written in all texts."""
    if not math.isfinite(value):
        raise InvalidTaskError(f"A scalar must be finite; got {value}.")
    return repr(float(value))


def _elementwise_flops(step: Step) -> int:
    inner = UNARY[step.inner].flops if step.inner else 0
    return inner + (UNARY[step.operator].flops if step.operator in UNARY else 1)


_ALL: Mapping[str, object] = {**UNARY, **BINARY, **SCALAR, **ROWS}
