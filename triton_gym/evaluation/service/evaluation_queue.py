"""What is done next, and by which judge: the evaluations that wait, in line.

The first in line goes first, to the judge that has least to do, and within bounds to one that had
its task: a judge keeps inputs and results of the tasks that it has, and has much to find out about
one that is new to it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from triton_gym.evaluation.service.slot import Entry, Slot

AT_HOME = 1
"""By how many evaluations a judge may be busier than others and still get one whose task it knows:
it would take another judge longer."""
AHEAD = 32
"""How far in line a judge that becomes free looks for a task that it knows."""
PASSED = 8
"""How often an evaluation is passed over for that."""


class EvaluationQueue:
    """The evaluations that wait.

    Args:
        entries: all that are not over, by number. Who leaves them has left the line.
    """

    def __init__(self, entries: Mapping[int, Entry]) -> None:
        self._entries = entries
        self._heap: list[tuple[tuple[int, int], int]] = []

    def __len__(self) -> int:
        return sum(self._waiting(number) is not None for _, number in self._heap)

    def join(self, entry: Entry) -> None:
        """Wait, at the place that priority and number give."""
        heapq.heappush(self._heap, (entry.order, entry.evaluation.id))

    def next(self, free: Sequence[Slot], working: Sequence[Slot]) -> Entry | None:
        """Who goes next: the first in line, or one soon after it whose task a free judge knows, if
        only judges that are busy know the first one's.

        Args:
            free: judges that can take one.
            working: all that are up.
        """
        while self._heap and self._waiting(self._heap[0][1]) is None:
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        first = self._entries[self._heap[0][1]]
        chosen = first
        at_home = any(slot.knows(first) for slot in free)
        if not at_home and any(slot.knows(first) for slot in working):
            # `submit` keeps the line short, and an evaluation takes far longer than a look at it.
            ahead = (self._waiting(number) for _, number in heapq.nsmallest(AHEAD, self._heap))
            better = (
                entry for entry in ahead
                if entry and entry.order[0] == first.order[0] and any(s.knows(entry) for s in free)
            )  # fmt: skip
            chosen = next(better, first) if first.passed < PASSED else first
            first.passed += chosen is not first
        if chosen is first:
            heapq.heappop(self._heap)
        return chosen

    def _waiting(self, number: int) -> Entry | None:
        """An evaluation in line; None if it was cancelled, or has been sent."""
        entry = self._entries.get(number)
        return None if entry is None or entry.evaluation.sent else entry


def best(slots: Sequence[Slot], entry: Entry) -> Slot:
    """The judge that an evaluation goes to."""

    def burden(slot: Slot) -> tuple[bool, float, bool]:
        knows = slot.knows(entry)
        return (
            bool(entry.died_at) and slot is entry.died_at[-1],
            (len(slot.running) - AT_HOME * knows) / slot.capacity,
            not knows,
        )

    return min(slots, key=burden)
