"""What is to be said of an optimised function: what runs, since when, how fast, what was tried."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_gym.optimization.pairs import Ratio


class Runs(enum.StrEnum):
    """What answers calls."""

    ORIGINAL = "original"
    KERNEL = "kernel"


class Search(enum.StrEnum):
    """How the search stands."""

    IDLE = "not begun"
    RUNNING = "running"
    FINISHED = "finished"
    REFUSED = "refused"
    """The function cannot be optimised, or not here; `reason` says why."""
    FAILED = "failed"
    """The process of the search died; what was verified stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an optimised function stands; `str(report)` is for people."""

    name: str
    runs: Runs
    """What answers calls inside the guard now."""
    since: str = ""
    """When that began, in ISO 8601; empty if it has always been so."""
    reason: str = ""
    """Why the original runs, where something else could."""
    device: Ratio | None = None
    """Device time of the original over the kernel's, with the 95 % interval."""
    wall: Ratio | None = None
    """The same of a caller's time."""
    compiled: Ratio | None = None
    """Device time of `torch.compile` over the kernel's, where that was measured."""
    against: str = ""
    """What the kernel was compared with."""
    evalue: float = 0.0
    """What its pairs came to, see `decision`."""
    route: str = ""
    """Where the kernel comes from."""
    search: Search = Search.IDLE
    search_says: str = ""
    """The last word of the search."""
    tried: Mapping[str, int] = field(default_factory=dict)
    """Evaluations of the search by what became of them."""
    routes: Mapping[str, str] = field(default_factory=dict)
    """Each route to a kernel to start from, and what became of it."""
    guard: Mapping[str, Any] = field(default_factory=dict)
    """Which calls the kernel takes."""
    outside: int = 0
    """Calls that were outside the guard, as far as they were counted."""
    outside_because: tuple[str, ...] = ()
    """What kept the first of them outside."""
    checked: int = 0
    """Calls that were computed twice and agreed."""
    not_compiled: int = 0
    """Calls that the original answered since the kernel was not compiled for them yet."""
    run_folder: str = ""
    """Everything that the search did."""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.name}: the {self.runs} runs" + (f" since {self.since}" * bool(self.since))]
        if self.reason:
            lines.append(f"  because: {self.reason}")
        if self.device is not None and self.wall is not None:
            lines.append(
                f"  speedup over {self.against.partition('-')[0]}: {self.device} on the device, "
                f"{self.wall} of the caller's time (e-value {self.evalue:.0f}; {self.route})"
            )
        if self.compiled is not None:
            lines.append(f"  speedup over torch.compile: {self.compiled} on the device")
        lines.append(
            f"  search: {self.search}" + (f"; {self.search_says}" * bool(self.search_says))
        )
        if self.tried:
            tried = ", ".join(f"{count} {status}" for status, count in self.tried.items())
            lines.append(f"  tried: {tried}")
        lines += [f"  start {route}: {what}" for route, what in self.routes.items()]
        lines.append(
            f"  calls: {self.checked} computed twice and equal, {self.outside} outside the guard, "
            f"{self.not_compiled} before a kernel was compiled for them"
        )
        lines += [f"  outside: {why}" for why in self.outside_because]
        if self.run_folder:
            lines.append(f"  run folder: {self.run_folder}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)
