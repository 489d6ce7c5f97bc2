"""The journal of a recording: a line for each measurement, written as soon as it is over."""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_gym.errors import InvalidOptionError
from triton_gym.outcome import Outcome, Status

OF_OUTCOME = (
    "runtime_us", "runtime_low_us", "runtime_high_us", "baseline_us", "max_error", "tolerance",
    "coverage", "registers", "spills", "shared_bytes",
)  # fmt: skip
"""Numbers of an outcome that are kept."""
_PHASES = {"compile_s": "compile", "verification_s": "test", "benchmark_s": "profile"}
_WORDS = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One measurement: of what, and what for."""

    case: int
    choice: tuple[int, ...]
    turn: int
    """0 for the first measurement, 1 and more for those made anew."""
    kind: str = "row"
    """`row` or `sentinel`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it."""

    status: Status
    numbers: Mapping[str, float]
    """By name: those of the outcome, and the seconds of its phases."""
    time_source: str = ""
    message: str = ""
    """Of a failure."""

    @classmethod
    def of(cls, outcome: Outcome) -> Measured:
        """What is kept of an outcome."""
        numbers = {name: float(getattr(outcome, name)) for name in OF_OUTCOME}
        phases = dict(outcome.phases)
        numbers |= {name: phases.get(phase, 0.0) for name, phase in _PHASES.items()}
        message = "" if outcome.correct else outcome.message[:_WORDS]
        return cls(outcome.status, numbers, str(outcome.time_source), message)

    @property
    def correct(self) -> bool:
        """Whether there is a time."""
        return self.status is Status.CORRECT


class Journal:
    """A recording's file, begun or gone on with.

    Args:
        path: of the file.
        head: of what it is a recording; its first line.

    Raises:
        InvalidOptionError: the file is of another recording.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path = path
        self.done: dict[Entry, Measured] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(head) + "\n", encoding="utf-8")
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != head:
            raise InvalidOptionError(
                f"{path} is a recording of something else; give another folder, or move it."
            )
        whole = len(first.encode()) + 1
        for entry, measured, size in _read(lines):
            self.done[entry] = measured
            whole += size
        with path.open("r+b") as file:
            file.truncate(min(whole, file.seek(0, os.SEEK_END)))

    def add(self, entry: Entry, measured: Measured) -> None:
        """Note a measurement."""
        self.done[entry] = measured
        numbers = {k: float(f"{v:.7g}") for k, v in measured.numbers.items() if math.isfinite(v)}
        line = {
            "kind": entry.kind, "case": entry.case, "choice": list(entry.choice),
            "turn": entry.turn, "at": now(), "status": str(measured.status), "numbers": numbers,
            "source": measured.time_source, "message": measured.message,
        }  # fmt: skip
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _read(lines: list[str]) -> Iterator[tuple[Entry, Measured, int]]:
    """Measurements with the bytes of their lines, up to a line that was not written whole."""
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            return
        entry = Entry(line["case"], tuple(line["choice"]), line["turn"], line["kind"])
        numbers = {
            name: float(line["numbers"].get(name, math.nan)) for name in (*OF_OUTCOME, *_PHASES)
        }
        measured = Measured(Status(line["status"]), numbers, line["source"], line["message"])
        yield entry, measured, len(text.encode()) + 1


def now() -> str:
    """The time, in words that sort."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
