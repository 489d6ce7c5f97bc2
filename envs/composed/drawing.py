"""Random graphs: what kind, how many steps, which operators."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from triton_gym.composition.graph import Graph, Kind, Layout, Operand, Step
from triton_gym.composition.operators import BINARY, SCALAR, UNARY
from triton_gym.composition.rowwise import ROWS

from .problem import Problem

DIFFICULTIES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"easy": (1, 2), "medium": (3, 4), "hard": (5, 7), "mixed": (1, 7)}
)
"""Fewest and most steps of a graph."""
KINDS: Mapping[Kind, float] = MappingProxyType(
    {Kind.ELEMENTWISE: 0.35, Kind.ROWS: 0.4, Kind.MATMUL: 0.25}
)
"""How often each kind is drawn."""
DTYPES: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.ELEMENTWISE: ("float32", "float32", "float16", "bfloat16"),
        Kind.ROWS: ("float32", "float32", "float16", "bfloat16"),
        Kind.MATMUL: ("float16", "bfloat16"),
    }
)
"""Dtypes of each kind, the likelier ones repeated."""
BENCH = ((4096, 2048), (8192, 1024), (16384, 512), (2048, 4096), (4096, 3000), (10000, 1000))
"""Sizes that elementwise and row problems are timed at."""
BENCH_MATMUL = ((2048, 2048, 1024), (4096, 1024, 1024), (1024, 4096, 2048), (2048, 1536, 1536))
"""Sizes that matrix products are timed at."""

_NAMES = {Layout.FULL: ("y", "z"), Layout.VECTOR: ("b", "g"), Layout.COLUMN: ("c", "d")}
_SCALARS = {
    "scale": (0.25, 0.5, 0.7, 1.5, 2.0, 3.0),
    "shift": (0.1, 0.5, 1.0, 1.5, 2.0),
    "rsub": (0.5, 1.0, 2.0),
}
_INNER = ("sigmoid", "tanh", "relu", "silu", "gelu", "abs", "exp", "square")


def draw(rng: random.Random, kind: Kind | None, difficulty: str) -> Problem:
    """A problem that nobody has looked at yet: it may be dull or badly conditioned.

    Args:
        rng: decides everything.
        kind: of graph; None for one of `KINDS`.
        difficulty: a key of `DIFFICULTIES`.
    """
    chosen = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
    count = rng.randint(*DIFFICULTIES[difficulty])
    pen = _Pen(rng, chosen)
    rows = sorted(rng.sample(range(count), _row_operators(rng, count))) if pen.rowwise else []
    for index in range(count):
        pen.add(row=index in rows, last=not rows or index >= rows[-1])
    bench = rng.choice(BENCH_MATMUL if chosen is Kind.MATMUL else BENCH)
    return Problem(pen.graph(), rng.choice(DTYPES[chosen]), bench)


def _row_operators(rng: random.Random, count: int) -> int:
    return 2 if count >= 4 and rng.random() < 0.3 else 1


class _Pen:
    """Adds steps one by one."""

    def __init__(self, rng: random.Random, kind: Kind) -> None:
        self._rng = rng
        self._kind = kind
        self._steps: list[Step] = []
        self._operands: list[Operand] = []
        self._reduced = False

    @property
    def rowwise(self) -> bool:
        """Whether the graph has row operators."""
        return self._kind is Kind.ROWS

    def graph(self) -> Graph:
        """What was written. A step that was drawn again may have left its operand behind."""
        joined = {step.operand for step in self._steps}
        operands = tuple(operand for operand in self._operands if operand.name in joined)
        return Graph(self._kind, tuple(self._steps), operands)

    def add(self, *, row: bool, last: bool) -> None:
        """Add a step, a row operator if `row`; only the `last` of those may reduce."""
        before = self._steps[-1].operator if self._steps else ""
        while True:
            step = self._row(last) if row else self._elementwise()
            if step.operator != before:
                break
        self._reduced = self._reduced or bool(step.row and not step.row.keeps)
        self._steps.append(step)

    def _row(self, last: bool) -> Step:
        names = [
            n for n, operator in ROWS.items() if operator.keeps or (last and not self._reduced)
        ]
        return Step(self._rng.choice(names))

    def _elementwise(self) -> Step:
        sort = self._rng.choices(("unary", "binary", "scalar"), (0.45, 0.37, 0.18))[0]
        if sort == "scalar":
            name = self._rng.choice(list(SCALAR))
            return Step(name, value=self._rng.choice(_SCALARS[name]))
        operand = self._operand() if sort == "binary" else ""
        if not operand:
            return Step(self._rng.choice(list(UNARY)))
        name = self._rng.choices(list(BINARY), (3, 1, 3, 1, 1))[0]
        inner = self._rng.choice(_INNER) if self._rng.random() < 0.2 else ""
        return Step(name, operand, inner)

    def _operand(self) -> str:
        """The name of a parameter to join: a new one, or one that is there; "" for none."""
        names = [o.name for o in self._operands if not self._reduced or o.layout is Layout.COLUMN]
        if self._steps and not self._reduced and self._kind is not Kind.MATMUL:
            names.append("x")
        if names and self._rng.random() < 0.25:
            return self._rng.choice(names)
        fresh = list(self._fresh())
        if not fresh:
            return ""
        operand = self._rng.choice(fresh)
        self._operands.append(operand)
        return operand.name

    def _fresh(self) -> Iterator[Operand]:
        """Parameters that could be added; a matrix product's epilogue has mostly vectors."""
        taken = {operand.name for operand in self._operands}
        for layout, names in _NAMES.items():
            if self._reduced and layout is not Layout.COLUMN:
                continue
            free = [name for name in names if name not in taken]
            weight = 2 if self._kind is Kind.MATMUL and layout is Layout.VECTOR else 1
            if free:
                yield from [Operand(free[0], layout)] * weight
