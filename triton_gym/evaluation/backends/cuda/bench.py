"""The timed case of an evaluation: rounds of calls on inputs that are used once, all verified."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch

from triton_gym.evaluation import check
from triton_gym.evaluation.backends.cuda.blocks import Block, BlockPool
from triton_gym.evaluation.backends.cuda.calibration import Calibration, time_references
from triton_gym.evaluation.backends.cuda.device_timing import Flush
from triton_gym.evaluation.backends.cuda.inputs import InputPool, InputSet, draw_set, fill
from triton_gym.evaluation.backends.cuda.margins import NEAR
from triton_gym.evaluation.backends.cuda.measurement import Measurement, coverage
from triton_gym.evaluation.backends.cuda.operations import is_movement
from triton_gym.evaluation.backends.cuda.orders import Part
from triton_gym.evaluation.backends.cuda.programs import Prepared
from triton_gym.evaluation.backends.cuda.stage import Stage, Watch, results
from triton_gym.evaluation.judging.sharing import GpuLock
from triton_gym.evaluation.modules import bind, state_of
from triton_gym.evaluation.timing import Budget
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status
from triton_gym.task import Task

ROUND_CALLS = 24
"""Most calls that are timed in a row."""
ROUND_BYTES = 12 << 30
"""Most device memory that these take, inputs and results included, unless a single one needs
more."""
ROUND_REFERENCE_US = 100_000.0
"""What the reference may take for the inputs of a round."""
LEAST_CALLS = 3
SLOW_US, SLOW_CALLS = 2_000.0, 5
"""What a slow reference takes, and how many calls of an answer to its task are enough: they differ
by less than a hundredth."""
TOGETHER_BYTES = 2 << 30
"""Inputs that are drawn in one go while the GPU is shared: some milliseconds."""
CONTROL_EVERY = 3
"""After every so many calls one of ours that lasts as long is timed."""
REFERENCES, FURTHER_REFERENCES = 8, 2
"""Times of the reference that an evaluation adds to those that are known, and once enough are: they
are taken with the GPU alone."""
KNOWN_REFERENCES = 48
READING_CALLS = 6
"""Calls that are timed of an answer whose host reads values: each is recorded on its own inputs."""
BRIEF_CALLS = 8
"""Calls of a round of a brief evaluation. It is over after one, if half the median's interval is
below a hundredth of it."""
BRIEF = Budget(least=BRIEF_CALLS, launches=64, seconds=0.2)
BRIEF_REFERENCES = 24
"""Times of the reference that are enough for brief evaluations."""
_STEP_SEEDS = 1000


def references_wanted(known: int, *, first: bool, brief: bool) -> int:
    """How many times of the reference a round adds.

    Args:
        known: how many there are.
        first: whether it is the evaluation's first round.
        brief: whether the evaluation is brief.
    """
    if brief:
        return REFERENCES if known < BRIEF_REFERENCES else 0
    if known < KNOWN_REFERENCES:
        return REFERENCES
    return FURTHER_REFERENCES if first else 0


class Bench:
    """The timed case of one evaluation.

    Args:
        task: of the evaluation.
        seed: of the evaluation; None if nobody may know one.
        parameters_seed: of a module's parameters.
        calibration: what is known of the task.
        device: the GPU.
        blocks: its memory.
        pool: sets that are kept between evaluations.
        lock: of the GPU.
        ends: gives back what is taken, in the end.
        brief: whether rounds are short, and take sets that the answer had in earlier ones. Nothing
            of an answer that is recorded once can tell: between calls its memory is gone.
    """

    def __init__(
        self, task: Task, seed: int | None, parameters_seed: int, calibration: Calibration,
        device: torch.device, blocks: BlockPool, pool: InputPool, lock: GpuLock, ends: ExitStack,
        *, brief: bool = False,
    ) -> None:  # fmt: skip
        self.case = task.bench[0]
        self._brief = brief
        with lock(alone=False):
            self._task = bind(task, self.case, parameters_seed, device)
        self._calibration, self._device, self._blocks = calibration, device, blocks
        self._lock = lock
        # A module's results depend on its parameters, which are this evaluation's own.
        self._pool = pool if seed is None and not state_of(self._task) else None
        self._seeds = itertools.count(parameters_seed + _STEP_SEEDS)
        self._seen: set[int] = set()
        self._set_bytes = TOGETHER_BYTES + 1  # not known yet
        self._together = False
        (self.first,) = ends.enter_context(self.inputs(1))
        """What the answer is recorded on, and called on first."""
        self._measured = Measurement()
        self._coverage = 1.0

    @contextmanager
    def inputs(self, count: int) -> Iterator[list[InputSet]]:
        """Sets that the answer has not seen."""
        # Who waits for the GPU alone never waits long: a large set is drawn on its own.
        self._together = not self._brief and count * self._set_bytes <= TOGETHER_BYTES
        with self._lock(alone=False) if self._together else nullcontext():
            if self._pool and self._brief:
                seen = {self.first.number} if self._seen else set()
                sets = self._pool.share(self._calibration.name, count, seen, self._draw)
                self._seen.update(one.number for one in sets)
            elif self._pool:
                sets = self._pool.take(self._calibration.name, count, self._seen, self._draw)
            else:
                sets = []
                fill(sets, count, self._draw)
        self._set_bytes = sets[0].nbytes
        try:
            yield sets
        finally:
            for one in sets:
                one.release()

    def measure(
        self, prepared: Prepared, parameters: Block | None, stage: Stage, flush: Flush
    ) -> tuple[Measurement, float]:
        """Time calls until their median is known well enough, and verify every one.

        Returns:
            The times, and the share of them in the answer's own kernels.

        Raises:
            Ended: a result is wrong, or a call failed.
        """
        each = prepared.scratch_bytes + self.first.nbytes
        while True:
            if self._measured.done(self._budget()):
                break
            room = max(1, min(self._few(), ROUND_BYTES // each))
            with self.inputs(room) as sets:
                self._round(prepared, parameters, stage, flush, [self.first, *sets])
        return self._measured, self._coverage

    def measure_one_by_one(
        self, prepared: Prepared, record: Callable[[InputSet], Prepared],
        parameters: Block | None, stage: Stage, flush: Flush,
    ) -> tuple[Measurement, float, Prepared]:  # fmt: skip
        """The same for an answer whose host reads values: its plan is good for one set."""
        self._round(prepared, parameters, stage, flush, [self.first, self.first])
        for _ in range(READING_CALLS - 1):
            with self.inputs(1) as (one,):
                prepared = record(one)
                self._round(prepared, parameters, stage, flush, [one, one])
        return self._measured, self._coverage, prepared

    def _round(
        self, prepared: Prepared, parameters: Block | None, stage: Stage, flush: Flush,
        sets: list[InputSet],
    ) -> None:  # fmt: skip
        """A first call on the first set, and timed ones on the others."""
        moves = [is_movement(step) for step in prepared.program.call]
        begins = not self._measured.rounds
        apart = any(moves) and begins
        called = begins or not prepared.steady  # what was verified once, and prepares nothing
        with ExitStack() as held:
            with stage.lease(prepared.program, parameters, str(self.case)) as lease:
                # Only who has the runner takes memory, so that few have any.
                scratch = held.enter_context(
                    stage.scratch(prepared.scratch_bytes, len(sets), same=prepared.reads)
                )
                with self._lock(alone=True):
                    if called:
                        lease.execute(Part.FIRST, sets[0], scratch[0])
                    begun = time.perf_counter()
                    every = 1 if self._brief else CONTROL_EVERY  # few calls need as many controls
                    times = lease.time(sets[1:], scratch[1:], every, apart)
                    spent = time.perf_counter() - begun
                    self._time_reference(sets[1:], flush)
            if apart:
                self._coverage = coverage(times.step_us, moves)
            self._measured.add(
                times.device_us, times.wall_us, times.beside_us, spent, waits=prepared.waits
            )
            timed = slice(1, 1 + len(times.device_us))
            with self._lock(alone=False):
                runs = zip(sets[timed], scratch[timed], strict=True)
                first = [(Part.FIRST, sets[0], scratch[0])] if called else []
                again = [(Part.CALL, one, block) for one, block in runs]
                self._verify([*first, *again], prepared, parameters)

    def _budget(self) -> Budget:
        if self._calibration.about_us > SLOW_US:
            return dataclasses.replace(BRIEF if self._brief else Budget(), least=SLOW_CALLS)
        return BRIEF if self._brief else Budget()

    def _few(self) -> int:
        """Most calls of a round: inputs are drawn for each, and the reference computed."""
        most = BRIEF_CALLS if self._brief else ROUND_CALLS
        return max(LEAST_CALLS, min(most, int(ROUND_REFERENCE_US / self._calibration.about_us)))

    def _time_reference(self, sets: list[InputSet], flush: Flush) -> None:
        known = self._calibration
        first = not self._measured.rounds
        chosen = sets[: references_wanted(len(known.baseline_us), first=first, brief=self._brief)]
        arguments = [one.arguments for one in chosen]
        fresh = time_references(self._task, known, arguments, flush) if arguments else []
        known.baseline_us = [*known.baseline_us, *fresh][-KNOWN_REFERENCES:]

    def _verify(
        self, runs: list[tuple[Part, InputSet, Block]], prepared: Prepared,
        parameters: Block | None,
    ) -> None:  # fmt: skip
        """Compare all results, and what lies around them; first by a quick look at all together."""
        returned = {Part.FIRST: prepared.first, Part.CALL: prepared.call}
        calls = [
            (results(returned[part], prepared, one, block, parameters, self._device), one)
            for part, one, block in runs
        ]
        watch, used = Watch(prepared, parameters, NEAR), [(part, block) for part, _, block in runs]
        untouched = watch.untouched(used)
        plain = [check.plainly_right(found, one.expected) for found, one in calls]
        if bool(torch.stack([untouched, *plain]).all()):
            return
        if not untouched:
            message = f"On {self.case} (timed): {watch.complaint(used)}"
            raise Ended(Status.RUNTIME_ERROR, message)
        for found, one in calls:
            where = f"{self.case} (timed)"
            verdict = one.reconsidered(check.compare(found, one.expected, where), found, where)
            if not verdict.ok:
                raise Ended(
                    Status.INCORRECT, verdict.message,
                    max_error=verdict.max_error, tolerance=verdict.tolerance,
                )  # fmt: skip

    def _draw(self) -> InputSet:
        seed = secrets.randbits(62) if self._pool else next(self._seeds)
        with nullcontext() if self._together else self._lock(alone=False):
            one = draw_set(
                self._task, self.case, seed, self._device, self._blocks,
                self._calibration.bounds,
            )  # fmt: skip
            torch.cuda.current_stream().synchronize()
        return one
