"""The books of a scheduler: an evaluation that is not over, and a place for a judge."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from triton_gym.evaluation.service.future import Evaluation
from triton_gym.evaluation.service.transport import Transport, Work
from triton_gym.outcome import Outcome

TRIES = 3
"""How often an evaluation is started before the deaths of its judge are its own doing."""
STRIKES = 3
"""Deaths in a row, without an answer between them, at which a judge is given up."""
KNOWN_TASKS = 64
"""Tasks of which a judge is taken to keep something."""


@dataclass(slots=True, eq=False)
class Entry:
    """An evaluation in the books."""

    evaluation: Evaluation
    work: Work
    record: Callable[[Outcome, str], None] | None
    """Called with a fresh outcome and the hardware that it was found on."""
    order: tuple[int, int]
    """The smaller is done first: the priority, negated, then the number."""
    passed: int = 0
    """Evaluations that came later and went first, to judges that know their tasks."""
    deaths: int = 0
    """Judges that died while they had it."""
    died_at: list[Slot] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Slot:
    """A place for a judge. Its `Transport` is replaced when the judge dies."""

    device: str
    capacity: int
    """Evaluations that its judge is given at once: its workers and the look-ahead."""
    make: Callable[[], Transport]
    transport: Transport | None = None
    hardware: str = ""
    """What the judge runs on, once it is up."""
    running: dict[int, Entry] = field(default_factory=dict)
    alone: bool = False
    """Whether it takes no further work until it is empty, for a suspect's sake."""
    strikes: int = 0
    deaths: int = 0
    done: int = 0
    drained: str = ""
    """Why it was given up; empty if it was not."""
    _known: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def knows(self, entry: Entry) -> bool:
        """Whether its judge had the task lately, and so has inputs and results of it."""
        return entry.work.task in self._known

    def take(self, entry: Entry) -> None:
        """Note an evaluation that its judge is given."""
        self.running[entry.evaluation.id] = entry
        self._known[entry.work.task] = None
        self._known.move_to_end(entry.work.task)
        if len(self._known) > KNOWN_TASKS:
            self._known.popitem(last=False)

    def vacate(self) -> list[int]:
        """Forget the judge, which is gone; returns the numbers of what it had."""
        had = list(self.running)
        self.running.clear()
        self._known.clear()
        self.transport, self.hardware, self.alone = None, "", False
        return had

    @property
    def state(self) -> str:
        """See `JudgeState`."""
        if self.drained:
            return "drained"
        return "idle" if self.transport is None else "ready" if self.hardware else "starting"


def capacity_for(workers: int) -> int:
    """How many evaluations a judge is given at once: a look-ahead keeps its workers busy."""
    return workers + max(1, workers // 4)
