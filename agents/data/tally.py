"""Counts of what was tried, beside what was kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_gym.outcome import Outcome

from .examples import Row, holds
from .plan import Plan


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of some tasks."""

    meant: Counter[str] = field(default_factory=Counter)
    """Tasks, and answers, repairs and speedups that were written; these two also by their cause."""
    held: Counter[str] = field(default_factory=Counter)
    """Those that turned out so."""
    ends: Counter[str] = field(default_factory=Counter)
    """Statuses of the modules with a fault."""

    def add(self, plan: Plan, outcomes: Mapping[str, Outcome] | None, least_gain: float) -> None:
        """Count a task; one without outcomes was at fault itself."""
        self.meant["task"] += 1
        if outcomes is None:
            return
        self.held["task"] += 1
        for answer in plan.answers:
            self.meant["answer"] += 1
            self.held["answer"] += outcomes[answer.source].correct
        for pair in plan.pairs:
            worse, better = outcomes[pair.before], outcomes[pair.after.source]
            held = holds(pair, worse, better, least_gain)
            for name in (pair.kind, f"{pair.kind}: {pair.cause}"):
                self.meant[name] += 1
                self.held[name] += held
            if pair.kind == "repair":
                self.ends[str(worse.status)] += 1

    def join(self, other: Tally) -> None:
        """Count all that another counted."""
        self.meant.update(other.meant)
        self.held.update(other.held)
        self.ends.update(other.ends)

    def to_json(self) -> dict[str, Any]:
        """As a file holds it."""
        return {"meant": self.meant, "held": self.held, "ends": self.ends}

    @classmethod
    def from_json(cls, fields: Mapping[str, Mapping[str, int]]) -> Tally:
        """From what a file holds."""
        return cls(**{name: Counter(counts) for name, counts in fields.items()})


def statistics(tasks: int, read: int, kept: Sequence[Row], tally: Tally) -> dict[str, Any]:
    """What a split holds.

    Args:
        tasks: that were drawn for it.
        read: examples, duplicates included.
        kept: the examples without duplicates.
        tally: of all its tasks.
    """

    def counted(name: str) -> dict[str, int]:
        return dict(sorted(Counter(str(row[name]) for row in kept).items()))

    return {
        "tasks": tasks,
        "graphs": len({row["graph"] for row in kept}),
        "examples": len(kept),
        "duplicates": (read - len(kept)) / read if read else 0.0,
        "kinds": counted("kind"),
        "styles": counted("style"),
        "dtypes": counted("dtype"),
        "steps": counted("steps"),
        "verified": {name: tally.held[name] / n for name, n in sorted(tally.meant.items())},
        "faults_end_in": dict(sorted(tally.ends.items())),
    }
