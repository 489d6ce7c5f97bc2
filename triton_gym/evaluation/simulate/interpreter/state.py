"""What the repaired interpreter is doing at present, and who watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from triton_gym.evaluation.simulate.interpreter.bounds import Bounds
from triton_gym.evaluation.simulate.interpreter.formats import Array

Program = tuple[int, int, int]
Executor = Callable[[str, Program, Callable[[Program], None]], None]
"""Runs programs of a launch, given the kernel's name, its grid, and what runs one program."""


def place(number: int, grid: Program) -> Program:
    """The program that the GPU starts as the `number`-th: axis 0 is fastest."""
    return number % grid[0], number // grid[0] % grid[1], number // (grid[0] * grid[1])


def run_whole_grid(kernel: str, grid: Program, run: Callable[[Program], None]) -> None:
    """Run every program, axis 0 fastest, as a GPU starts them."""
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                run((x, y, z))


class Observer(Protocol):
    """Sees what a program does, and decides how far its loops run."""

    def access(self, kind: str, pointers: Array, active: Array, itemsize: int) -> bool:
        """A `load`, `store` or `atomic`; `active` holds the addresses not masked off.

        Returns:
            Whether a store is carried out; loads and atomics always are.
        """
        ...

    def dot(self, a: Any, b: Any, c: Any, precision: str) -> bool:
        """A matrix product.

        Returns:
            Whether it is computed; otherwise the accumulator comes back as it is.
        """
        ...

    def reduction(self, inputs: tuple[Any, ...], scan: bool) -> None:
        """A reduction or a scan."""

    def operation(self, name: str, size: int) -> None:
        """An elementwise operation by the builder's name, on `size` elements."""

    def loop(self, steps: range) -> Iterable[int]:
        """The iterations of a loop that are run."""


class State:
    """What the patched interpreter is doing at present."""

    bounds: Bounds = Bounds(())
    execute: Executor = staticmethod(run_whole_grid)
    observer: Observer | None = None
    bulk: bool = False
    """Whether the present access goes through a tensor descriptor."""
    resources: ClassVar[dict[str, dict[str, int]]] = {}
    """What the compiler says that kernels use, by name, where it was asked before."""
    asked: bool = False
    """Whether host code wanted to know what a kernel uses."""
    language: ClassVar[dict[int, tuple[str, Any]]] = {}
    """The language's functions before they were made interpretable, with their names, by id."""
    patched: ClassVar[set[int]] = set()
    """Modules whose language functions were made interpretable, by id."""
    scopes: ClassVar[set[tuple[int, int]]] = set()
    """Globals of functions that were looked through, by id and number of names."""
