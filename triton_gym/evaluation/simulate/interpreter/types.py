"""Types and operations of Triton's intermediate representation (TTIR)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Type:
    """A scalar, a block of them, or a tensor descriptor."""

    element: str
    """As MLIR writes it: `i32`, `bf16`, `f8E5M2`, …; `ptr` for pointers, `desc` for descriptors."""
    shape: tuple[int, ...] | None = None
    """Sizes of a block; None for a scalar. A descriptor has those of the blocks that it moves."""
    pointee: str = ""
    """Element that a pointer or a descriptor leads to."""

    @cached_property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape) if self.shape is not None else 1


@dataclass(slots=True)
class Block:
    """Operations that run one after the other."""

    name: str
    arguments: list[tuple[str, Type]] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)


@dataclass(slots=True)
class Operation:
    """One operation."""

    name: str
    """As `tt.load`."""
    results: list[tuple[str, Type]]
    operands: list[str]
    """Names of values."""
    attributes: dict[str, str]
    """By name, as MLIR writes them."""
    text: str
    """The operation without its results, regions and place; strings stand in `strings`."""
    strings: list[str]
    line: int
    """Of the answer; 0 if it has none."""
    regions: list[list[Block]] = field(default_factory=list)
    targets: list[tuple[str, list[str]]] = field(default_factory=list)
    """Blocks that a branch leads to, with the values that it hands on."""


@dataclass(slots=True)
class Function:
    """A kernel, or a function that it calls."""

    name: str
    arguments: list[tuple[str, Type]]
    hints: list[dict[str, str]]
    """Attributes of each argument."""
    public: bool
    blocks: list[Block]
    line: int

    def operations(self) -> Iterator[Operation]:
        """All operations, those of regions after the one that holds them."""
        for block in self.blocks:
            for operation in block.operations:
                yield operation
                yield from inside(operation)


def inside(operation: Operation) -> Iterator[Operation]:
    """All operations in the regions of one."""
    for region in operation.regions:
        for block in region:
            for inner in block.operations:
                yield inner
                yield from inside(inner)


@dataclass(slots=True)
class Module:
    """What one launch runs."""

    functions: dict[str, Function]

    @property
    def kernel(self) -> Function:
        """The function that is launched."""
        return next(f for f in self.functions.values() if f.public)


def callee(operation: Operation) -> str:
    """Name of the function that an operation calls; empty if it names none."""
    found = re.search(r"@([\w.$]+)|@\"(\d+)\"", operation.text)
    if not found:
        return ""
    return found[1] or operation.strings[int(found[2])]
