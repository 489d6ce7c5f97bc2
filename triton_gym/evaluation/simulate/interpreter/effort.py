"""A deterministic measure of how long the interpreter takes: budgets must not depend on a clock."""

from __future__ import annotations


class Exhausted(Exception):
    """More effort than there is a budget for."""


class Effort:
    """Adds up what programs cost the interpreter, in microseconds of a usual machine.

    The weights were fitted by eye to a profile of the catalogue's answers; only their order of
    magnitude matters.
    """

    def __init__(self, limit_us: float) -> None:
        self.us = 0.0
        self.limit_us = limit_us

    @property
    def left_us(self) -> float:
        """What is left of the budget."""
        return self.limit_us - self.us

    def access(self, size: int) -> None:
        """A load, store or atomic of so many elements."""
        self.add(220.0 + size * 0.03)

    def dot(self, m: int, n: int, k: int) -> None:
        """A matrix product that is computed."""
        self.add(150.0 + m * n * k * 4e-5 + (m * k + k * n) * 6e-3)

    def operation(self, size: int) -> None:
        """An elementwise operation."""
        self.add(38.0 + size * 0.005)

    def add(self, us: float) -> None:
        """So many microseconds."""
        self.us += us
        if self.us > self.limit_us:
            raise Exhausted
