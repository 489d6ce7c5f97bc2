"""A launch of a plan, ready to have programs of it run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.bounds import Bounds
from triton_gym.evaluation.simulate.interpreter.effort import Effort
from triton_gym.evaluation.simulate.interpreter.emit import Program
from triton_gym.evaluation.simulate.interpreter.machine import Index, Machine, Observer


def place(number: int, grid: Index) -> Index:
    """The program that the GPU starts as the `number`-th: axis 0 is fastest."""
    return number % grid[0], number // grid[0] % grid[1], number // (grid[0] * grid[1])


@dataclass
class Launched:
    """One launch of a call."""

    index: int
    """Which launch of the call this is. Alternatives of one launch share it."""
    config: str
    """The autotuner's configuration; empty if the kernel is not autotuned."""
    kernel: str
    grid: Index
    program: Program
    arguments: Sequence[Any]
    bounds: Bounds
    warps: int

    @functools.cached_property
    def machine(self) -> Machine:
        """Runs the program."""
        return Machine(self.program, self.bounds, self.grid, self.warps)

    @functools.cached_property
    def sketcher(self) -> Machine:
        """Runs a sketch of it: the same without values that decide nothing."""
        return Machine(self.program.sketch, self.bounds, self.grid, self.warps)

    @property
    def programs(self) -> int:
        """Programs of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    def run(self, number: int) -> None:
        """Run one program, by itself."""
        self._run(self.machine, number)

    def draw(self, number: int) -> None:
        """Run a sketch of one program: it accesses what the program does, without its values."""
        self._run(self.sketcher, number)

    def _run(self, machine: Machine, number: int) -> None:
        machine.start(place(number, self.grid))
        with np.errstate(all="ignore"):
            found = machine.kernel.run(machine, *self.arguments)
            if self.program.waits:
                for _ in found:  # what it waits for is another program's doing
                    pass


@contextlib.contextmanager
def observed(
    machine: Machine, observer: Observer | None, effort: Effort | None = None
) -> Iterator[None]:
    """Programs that a machine runs inside are seen, also in the middle of another one."""
    before = machine.observer, machine.effort, machine.counts, machine.program
    machine.observer, machine.effort = observer, effort
    machine.counts = [0.0] * len(machine.counts)
    try:
        yield
    finally:
        machine.observer, machine.effort, machine.counts, machine.program = before
