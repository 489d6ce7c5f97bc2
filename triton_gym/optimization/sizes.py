"""Sizes that may vary: their names, their ranges, and cases drawn inside them."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.printers import PythonPrinter

from triton_gym.task import Case

TINY_ELEMENTS = 1 << 13
"""Most elements of the arguments in tests that are interpreted, where the fixed sizes allow it."""
TESTED_ELEMENTS = 1 << 27
"""Most elements of the arguments in tests that are larger than the examples."""
_TRIES = 400
_BUILTINS = {"max": max, "min": min, "abs": abs}


def evaluated(expression: int | str, sizes: Mapping[str, int]) -> int:
    """An expression over named sizes, of this module's making."""
    if isinstance(expression, int):
        return expression
    return int(eval(expression, {"__builtins__": _BUILTINS}, dict(sizes)))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The named sizes of a traced graph."""

    where: Mapping[str, tuple[str, int]]
    """A tensor (by expression) and an axis of it for each name."""
    ranges: Mapping[str, tuple[int, int | None]]
    conditions: tuple[str, ...]
    names: Mapping[sympy.Symbol, sympy.Symbol] = field(repr=False)
    """Of the graph's symbols."""

    def text(self, size: Any) -> int | str:
        """A size or stride of the graph: a number, or an expression over names."""
        expression = size.node.expr if isinstance(size, torch.SymInt) else sympy.sympify(size)
        if expression.is_number:
            return int(expression)
        return str(PythonPrinter().doprint(expression.xreplace(dict(self.names))))


def sizes_of(program: ExportedProgram, arguments: Mapping[str, str]) -> Sizes:
    """The sizes of a graph that may vary.

    Args:
        program: in core operators, whose trace knows all conditions.
        arguments: expressions over the function's parameters, by placeholder.
    """
    where: dict[str, tuple[str, int]] = {}
    names: dict[sympy.Symbol, sympy.Symbol] = {}
    env = None
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op != "placeholder" or not isinstance(value, torch.Tensor):
            continue
        env = env or getattr(getattr(value, "fake_mode", None), "shape_env", None)
        for axis, size in enumerate(value.shape):
            symbol = _symbol(size)
            argument = arguments.get(node.name)
            if isinstance(symbol, sympy.Symbol) and symbol not in names and argument is not None:
                name = _named(argument, axis, where)
                where[name] = (argument, axis)
                names[symbol] = sympy.Symbol(name, positive=True, integer=True)
    ranges = {
        str(names[symbol]): (int(bounds.lower), _upper(bounds.upper))
        for symbol, bounds in program.range_constraints.items()
        if symbol in names
    }
    ranges |= {name: (2, None) for name in where if name not in ranges}
    return Sizes(where, ranges, _conditions(env, names), names)


def _symbol(size: Any) -> Any:
    return size.node.expr if isinstance(size, torch.SymInt) else None


def _named(argument: str, axis: int, taken: Iterable[str]) -> str:
    base = "".join(letter if letter.isalnum() else "_" for letter in argument).strip("_")
    name = f"{base}_{axis}"
    while name in taken:
        name += "_"
    return name


def _upper(bound: Any) -> int | None:
    return int(bound) if isinstance(bound, (int, sympy.Integer)) and bound < 1 << 48 else None


def _conditions(env: Any, names: Mapping[sympy.Symbol, sympy.Symbol]) -> tuple[str, ...]:
    """What the trace relied on and the ranges do not say, as expressions over names."""
    found: dict[str, None] = {}
    for guard in env.guards if env is not None else ():
        expression = guard.expr
        while expression.free_symbols & set(env.replacements):
            expression = expression.xreplace(env.replacements)
        if not expression.free_symbols or _certain(env, expression):
            continue
        if expression.free_symbols <= set(names):
            text = PythonPrinter().doprint(expression.xreplace(dict(names)))
            found[str(text)] = None
    return tuple(found)


def _certain(env: Any, expression: Any) -> bool:
    """Whether a condition follows from the ranges alone; other conditions are no evidence."""
    return env._maybe_evaluate_static(expression, axioms=()) in (True, sympy.true)


@dataclass(frozen=True, slots=True)
class CaseDrawer:
    """Draws hidden cases inside a guard: what `Task.drawn` asks for."""

    case: Case
    """With the dtypes of every case."""
    ranges: Mapping[str, tuple[int, int]]
    """Smallest and largest size that tests have."""
    conditions: tuple[str, ...]
    shapes: tuple[tuple[int | str, ...], ...]
    """Of the arguments, to know how large a case is."""
    fallback: tuple[Mapping[str, int], ...]
    """Sizes inside the guard, for where drawing finds none."""

    def __call__(self, rng: random.Random, tiny: bool) -> Case:
        """A case; a tiny one has few elements."""
        for attempt in range(_TRIES):
            sizes = self._sizes(rng, tiny, attempt)
            if self.inside(sizes) and (not tiny or self.elements(sizes) <= self._room(attempt)):
                return self.case.resized(sizes)
        smallest = min(self.fallback, key=self.elements)
        return self.case.resized(smallest if tiny else rng.choice(self.fallback))

    def _sizes(self, rng: random.Random, tiny: bool, attempt: int) -> dict[str, int]:
        found = {}
        for name, (low, high) in self.ranges.items():
            most = min(
                high, max(low + 1, (64 if tiny else high) >> (attempt // 100 if tiny else 0))
            )
            size = rng.randint(low, max(low, most))
            found[name] = size - size % 8 if attempt % 2 and size - size % 8 >= low else size
        return found

    def _room(self, attempt: int) -> int:
        """Elements that a tiny case may have: more where fixed sizes leave no choice."""
        return max(TINY_ELEMENTS, 2 * self.elements({k: v[0] for k, v in self.ranges.items()}))

    def inside(self, sizes: Mapping[str, int]) -> bool:
        """Whether sizes are ones that the graph holds for."""
        scope = {"__builtins__": _BUILTINS}
        return all(eval(condition, scope, dict(sizes)) for condition in self.conditions)

    def elements(self, sizes: Mapping[str, int]) -> int:
        """Elements of all arguments."""
        return elements_of(self.shapes, sizes)


def bounded(
    sizes: Sizes, examples: Sequence[Mapping[str, int]], shapes: Sequence[tuple[int | str, ...]]
) -> Sizes:
    """The sizes, none larger than what tests reach.

    That is twice the largest example's, or the example's own where that would be too large: a
    kernel that is right on all sizes up to one may be wrong above it.
    """
    largest = {name: max(example[name] for example in examples) for name in sizes.ranges}
    doubled = {name: 2 * size for name, size in largest.items()}
    fits = elements_of(shapes, doubled) <= TESTED_ELEMENTS
    reached = doubled if fits else largest
    ranges: dict[str, tuple[int, int | None]] = {}
    for name, (low, high) in sizes.ranges.items():
        most = reached[name] if high is None else min(high, reached[name])
        ranges[name] = (low, max(low, most))
    return dataclasses.replace(sizes, ranges=ranges)


def elements_of(shapes: Iterable[tuple[int | str, ...]], sizes: Mapping[str, int]) -> int:
    """Elements of tensors of these shapes."""
    return sum(math.prod(evaluated(size, sizes) for size in shape) for shape in shapes)
