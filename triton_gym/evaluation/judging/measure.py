"""From timed rounds to a time: how many of them, and whether the claim holds.

An answer is scored by the median that its worker claims. The judge's clock must bear it out twice:
with the cache evicted before every call, as the claims were made, and with calls back to back,
where nothing lies beside the calls that a worker could leave out.

Scratch memory that a call has written lies in the L2 cache when its own clock stops, and is written
back beside the next call. Nobody but the worker knows how much it is; so its word may save it from
an accusation, but what it is then credited is the judge's time.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

from triton_gym.evaluation.judging.rounds import GATE_US, Round, Stage, allowed_us, contradicted
from triton_gym.evaluation.timing import Budget, Timing, summarise
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status

EVIDENCE = 10
"""Rounds of a kind that must contradict a claim before it is a lie, on a GPU that nobody else uses.
A slow round is the machine's: processes that start or end were seen to hold up four of ten."""
FLAGRANT_EVIDENCE = 4
"""The same if every round took more than twice the claim, or if scratch memory may explain it."""
DISTURBED = 6
"""Rounds that others disturb after which nothing can be proved: they use the GPU all the time."""
PAUSE_S = 0.02
"""First pause before another try, doubled each time: so they outlast what disturbs them."""
LONGEST_PAUSE_S = 0.6
LATE = 3
"""Rounds that may run before they were queued, as the first of a process may."""
HOST_US = 1_500.0
"""How much of a rehearsed call may be the host's, beside other workers. A first round that is short
for it makes a second one necessary, and the reference's times in both."""
REFERENCES = 20
"""Times of the reference after which it is not timed in further rounds of an evaluation."""
OWN_ROUNDS = 5
"""Rounds that the judge's clock alone times."""
_SEEDS = 1000  # between rounds, each of whose calls has its own


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the rounds of one evaluation came to."""

    timing: Timing
    baseline_us: tuple[float, ...]
    """The reference's times; empty if it was not timed again."""
    quiet: bool = True
    """Whether others left the GPU alone for as long as it took. Otherwise the time is the least
    that the judge's clock said, and may be many times too long."""


class _Waits(Exception):
    """The answer's host function waits for the device."""


class _NotQuiet(Exception):
    """Others use the GPU.

    Args:
        walls_us: what calls took by the judge's clock.
    """

    def __init__(self, walls_us: list[float]) -> None:
        self.walls_us = walls_us


def measure(stage: Stage, seed: int, writing_us: float) -> Measurement:
    """Run rounds until the interval is narrow or the budget spent, and hold the claim.

    A host function that waits for the device cannot be queued ahead of it. Such an answer is timed
    by the judge's clock, with what its host takes. If a claim can be neither borne out nor refuted,
    because others use the GPU all the time, the least that the judge's clock says is the time. If
    what contradicts it may be scratch memory that is written back, the time lies beyond the claim.

    Args:
        stage: where the worker is.
        seed: of all inputs.
        writing_us: what a call may pay for the results that the one before left in the L2 cache.

    Raises:
        Ended: a result is wrong, the worker failed, or its claim is contradicted.
    """
    run = _Run(stage, seed)
    stage.rehearse(seed)
    quiet = True
    try:
        run.time()
        run.hold(writing_us)
    except _Waits:
        run.take_over()
    except _NotQuiet as unclear:  # no round took less than the calls did
        run.times, quiet = [min(unclear.walls_us)], False
    return Measurement(summarise(run.times), tuple(run.baseline), quiet)


class _Run:
    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._seeds = itertools.count(seed + _SEEDS, _SEEDS)
        self._budget = Budget()
        self._late = 0
        self._flushed: list[tuple[int, float]] = []
        self.times: list[float] = []
        self.baseline: list[float] = []

    def time(self) -> None:
        """Collect the worker's claims."""
        while not self.times or not self._budget.done(self.times, self._stage.busy_s):
            if self.times:
                count = self._stage.fitting(self._claim())
            else:
                count = self._stage.fitting(self._stage.rehearsed_us, HOST_US)
            self._round(count)

    def hold(self, writing_us: float) -> None:
        """Hold the claim against the judge's clock.

        Raises:
            Ended: it is contradicted.
            _NotQuiet: others use the GPU, so that the judge's clock proves nothing.
        """
        for flushed, more_us in ((True, 0.0), (False, writing_us)):
            # Rounds that were short, for what the worker had said by then, prove little.
            enough = self._stage.fitting(self._claim()) / 2
            walls = [wall for count, wall in self._flushed if count >= enough] if flushed else []
            evidence = disturbed = 0
            while not walls or contradicted(walls, self._claim(), more_us):
                flagrant = bool(walls) and contradicted(walls, 2 * self._claim(), more_us)
                scratch = bool(walls) and not contradicted(
                    walls, self._claim(), more_us + self._stage.scratch_us
                )
                if evidence >= (FLAGRANT_EVIDENCE if flagrant or scratch else EVIDENCE):
                    if scratch:
                        self.times = [_settled(self._claim(), min(walls), more_us)]
                        break
                    raise Ended(
                        Status.CHEATING,
                        f"The answer claims {self._claim():.1f} µs a call, but by the judge's "
                        f"clock every call took {min(walls):.1f} µs or more, in each of "
                        f"{len(walls)} rounds {'from memory' if flushed else 'back to back'}. "
                        "Work on other streams or threads, or a changed clock, does not shorten a "
                        "time.",
                    )
                if disturbed >= DISTURBED:
                    raise _NotQuiet(walls)
                if len(walls) > 1:
                    time.sleep(min(LONGEST_PAUSE_S, PAUSE_S * 2 ** (len(walls) - 2)))
                count = self._stage.fitting(self._claim())
                one = self._round(count, flushed=flushed, probed=bool(walls))
                if one.queued:
                    walls.append(one.call_us)
                disturbed += one.disturbed
                evidence += one.queued and len(walls) > 1 and not one.disturbed

    def take_over(self) -> None:
        """Time the answer by the judge's clock alone, back to back."""
        about_us = self._own(1) + GATE_US  # what the worker says of it does not count
        count = self._stage.fitting(about_us)
        self.times = [max(self._own(count), 0.1) for _ in range(OWN_ROUNDS)]

    def _own(self, count: int) -> float:
        return self._stage.round(count, next(self._seeds), flushed=False).call_us

    def _claim(self) -> float:
        return summarise(self.times).median_us

    def _round(self, count: int, *, flushed: bool = True, probed: bool = False) -> Round:
        one = self._stage.round(
            count, next(self._seeds), flushed=flushed, probed=probed,
            referenced=flushed and len(self.baseline) < REFERENCES,
        )  # fmt: skip
        self.baseline += one.baseline_us
        if one.queued:
            self.times += one.times_us
            if flushed:
                self._flushed.append((count, one.call_us))
        else:
            self._late += 1
            if self._late >= LATE:
                raise _Waits
        return one


def _settled(claimed_us: float, wall_us: float, more_us: float) -> float:
    """The time of a call whose scratch memory is written back at another's cost.

    It is the claim where the judge's clock just bears it out, and the judge's time at twice what is
    allowed beyond the claim. So it has no step, and who claims less gains nothing.
    """
    excess_us = wall_us - allowed_us(claimed_us, more_us)
    return min(wall_us - more_us, claimed_us + 2 * excess_us)
