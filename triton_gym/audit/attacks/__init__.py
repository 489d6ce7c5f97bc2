"""Attacks by class, as templates over any task (see `victims.Victim.fill` for their words)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attack:
    """A way to cheat."""

    name: str
    """Short and unique."""
    attempts: str
    """What it would gain under a naive judge."""
    body: str = "y = $make\n$launch\nreturn y"
    """The host function's statements; the honest ones by default."""
    module: str = ""
    """More of the module, before the host function."""
    imports: str = ""
    """Imports at the top."""
    kernel: tuple[tuple[str, str], ...] = ()
    """Replacements in the honest kernel: regular expressions and what takes their place."""
    decorators: str = ""
    """What decorates the honest kernel above `@triton.jit`."""
    harmless: bool = False
    """Whether `correct` is all right, provided that it is no faster than the honest answer."""
    doubtful: bool = False
    """Whether its work is such that a simulated time must be far longer than the honest answer's,
    or its interval so wide that it is measured."""
