"""Writes the Python that a kernel becomes: its lines, and the names of its values."""

from __future__ import annotations

import abc
from typing import Any

from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.simulate.interpreter.types import Block, Module, Operation, Type


class Writer(abc.ABC):
    """What all that writes shares.

    Args:
        module: the kernel.
        needed: the values that are computed; None for all.
    """

    def __init__(self, module: Module, needed: set[str] | None) -> None:
        self._module = module
        self._needed = needed
        self._lines: list[str] = []
        self._indent = 0
        self._names: dict[str, str] = {}
        self._types: dict[str, Type] = {}
        self._defined = 0
        self._vector = False
        self._function = ""
        self.scope: dict[str, Any] = {}
        """Constants that the Python refers to."""
        self.operations: list[Operation] = []
        """Those that a machine is told of, by number."""
        self.waiting: set[str] = set()
        """Functions whose programs may wait for one another."""

    @abc.abstractmethod
    def _emit(self, operation: Operation) -> None:
        """Write one operation."""

    @abc.abstractmethod
    def _emit_block(self, block: Block) -> None:
        """Write those of a block."""

    @abc.abstractmethod
    def name_of(self, function: str) -> str:
        """What a function of the kernel's is called in Python."""

    def _write(self, text: str) -> None:
        self._lines.append("    " * self._indent + text)

    def _define(self, name: str, kind: Type) -> str:
        self._defined += 1  # regions beside each other use the same names
        self._names[name] = f"v{self._defined}"
        self._types[name] = kind
        return self._names[name]

    def _value(self, name: str) -> str:
        if self._needed is not None and name not in self._needed:
            return "None"
        if name not in self._names:
            raise UnknownText(f"a value {name[:40]!r} that is not defined")
        return self._names[name]

    def _constant(self, value: Any) -> str:
        name = f"c{len(self.scope)}"
        self.scope[name] = value
        return name

    def _number(self, operation: Operation) -> int:
        self.operations.append(operation)
        return len(self.operations) - 1

    def _give(self, operation: Operation, expression: str) -> None:
        name, kind = operation.results[0]
        self._write(f"{self._define(name, kind)} = {expression}")

    def _block(self, kind: Type) -> bool:
        """Whether a value is an array here: within a reduction single values are."""
        return self._vector or kind.shape is not None

    def _full(self, name: str) -> str:
        if self._needed is not None and name not in self._needed:
            return "None"
        shape = self._types[name].shape
        return f"full({self._value(name)}, {shape!r})" if shape is not None else self._value(name)

    def _move(self, targets: list[tuple[str, Type]], values: list[str]) -> None:
        """Hand values on to names that were defined before, all at once."""
        if len(targets) != len(values):
            raise UnknownText("another number of values than is handed on")
        if targets:
            names = ", ".join(self._names[name] for name, _ in targets)
            self._write(f"{names} = {', '.join(values)}")
