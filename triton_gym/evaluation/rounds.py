"""Timed rounds: fresh inputs for every launch, every result verified, the judge's clock over all.

A round draws new inputs for every launch, times the PyTorch reference on them (which also gives
the results to hold the answer against), and has the worker time the answer on them. What a launch
took by the judge's clock is reported with the worker's claim.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.errors import DeviceError
from triton_gym.evaluation import check
from triton_gym.evaluation.arena import CudaArena, Layout, Slot
from triton_gym.evaluation.judge import POISON, call_message, state_message
from triton_gym.evaluation.launch import Flush, Series
from triton_gym.evaluation.modules import bind, construction, state_of
from triton_gym.evaluation.session import Ended, Session, number
from triton_gym.outcome import NAN, Status
from triton_gym.task import Task

ROUND_BYTES = 12 << 30
"""Most device memory that the arguments and results of one round take."""
ROUND_LAUNCHES = 80
"""Most launches in one round."""
ROUND_US = 15_000.0
"""Device time that a round aims at: long against the jitter of the judge's clock."""
CLOCK_SLACK_US = 1700.0
"""By how much a round may outlast its claim: two messages and a synchronisation, launches slower
than the median, and the drift of the clock that counts its sleep. Up to 1.6 ms were seen of honest
answers on an H200, all rounds of some evaluations alike."""
CLOCK_SHARE = 0.1
"""The same as a share of a call's time."""
CLOCK_STEP_US = 2.0
"""The same for each launch: the gaps between kernels."""
SLEEP_US = 180.0
"""How long the device sleeps for each launch of a round, so that the host can queue them all."""
LONGEST_SLEEP_US = 4000.0
"""The same for a host function that is slow to launch, before its round counts as contradicted."""
ROUND_SLEEP_US = 80_000.0
"""Longest sleep of a round. It is counted in cycles of a clock that drifts by some thousandths, and
what it took is taken off the judge's clock: a long one would hide or invent time."""
SLEEP_CYCLES_PER_US = 1500
"""Cycles of the sleep for a microsecond, roughly; what it took is measured."""
SPENT_ON_BASELINE_US = 60_000.0
"""A reference slower than this is not timed again on every launch of later evaluations."""


@dataclass(slots=True)
class Round:
    """What one round found."""

    times_us: list[float]
    """What the worker claims of each launch."""
    baseline_us: list[float]
    launch_us: float
    """Time a launch took at least, by the judge's clock."""


@dataclass(slots=True)
class Known:
    """What the judge keeps of a task between evaluations."""

    baseline: list[float] = field(default_factory=list)
    reference_us: float = NAN
    tolerances: tuple[float, ...] = ()
    compiled: Callable[..., Any] | None = None


class Stage:
    """Shared memory for the rounds of one evaluation, grown as they need it."""

    def __init__(
        self, task: Task, device: torch.device, known: Known, worker: Session, seed: int
    ) -> None:
        self._case = task.bench[0]
        self._task = bind(task, self._case, seed, device)
        self._construction = construction(task, self._case, seed)
        self._state: list[Any] = []
        self._device = device
        self._known = known
        self._worker = worker
        self._arena: CudaArena | None = None
        self._slots: list[tuple[tuple[Slot | None, ...], tuple[Slot, ...]]] = []
        self._set_bytes = 0
        self.sleep_us = SLEEP_US
        self.copied_bytes = 0.0

    def close(self) -> None:
        """Give the memory back."""
        if self._arena:
            self._arena.close()
            self._arena = None

    def fitting(self, runtime_us: float) -> int:
        """Launches of a round: enough for the clock, no more than memory allows."""
        free, _ = torch.cuda.mem_get_info(self._device)
        # Results live three times: the reference's, the worker's own, and the shared copy.
        room = int(min(ROUND_BYTES, free // 4) // max(self._set_bytes, 1))
        wanted = int(ROUND_US / runtime_us) + 1
        awake = int(ROUND_SLEEP_US / self.sleep_us)
        return max(2, min(room, wanted, awake, ROUND_LAUNCHES))

    def round(self, count: int, seed: int, flush: Flush, *, warm: bool = False) -> Round:
        """Time reference and answer on `count` fresh sets of inputs, and verify every result.

        Raises:
            Ended: a result is wrong, or the worker failed.
        """
        sets = []
        baseline: list[float] = []
        expected: list[check.Expected] = []
        for index in range(count):
            inputs = check.draw_inputs(self._task, self._case, seed + index, self._device)
            outputs, spent = self._reference(inputs, flush)
            baseline += spent
            expected.append(check.Expected(outputs, self._known.tolerances))
            self._reserve(count, inputs, outputs)
            input_slots, output_slots = self._slots[index]
            for slot, value in zip(input_slots, inputs, strict=True):
                if slot:
                    self._view(slot).copy_(value)
            for slot in output_slots:
                self._view(slot).view(torch.uint8).fill_(POISON)
            call = call_message(self._case, inputs, input_slots, output_slots)
            if self._construction is not None:  # one module serves all calls: see `Worker`
                call["module"] = {**self._construction, "state": [] if index else self._state}
            sets.append(call)
        if warm:  # loads the kernels, and sees what else is computed at full size
            self.copied_bytes = number(self._worker.ask("call", calls=sets), "copied_bytes")
        self._worker.ask("stage", calls=sets)
        times, wall_us = self._timed(count)
        self._verify(expected)
        overhead_us = self._overhead_us(expected, flush)
        return Round(times, baseline, (wall_us - overhead_us - CLOCK_SLACK_US) / count)

    def _overhead_us(self, expected: list[check.Expected], flush: Flush) -> float:
        """What a round takes beside the answer: the final copies, flushes, gaps between kernels.

        Found by doing the same with a copy in the answer's place, which leaves the cache as dirty.
        """
        count = len(expected)
        targets = [self._view(slot) for _, slots in self._slots[:count] for slot in slots]
        results = [tensor for want in expected for tensor in want.outputs]
        copies_us = event_us(lambda: torch._foreach_copy_(targets, results))
        pairs = list(zip(targets, results, strict=True))
        functions = [
            functools.partial(torch.Tensor.copy_, *pairs[i % len(pairs)]) for i in range(8)
        ]
        cycles = int(LONGEST_SLEEP_US * SLEEP_CYCLES_PER_US)
        series = Series(len(functions))
        series.queue(functions, flush, cycles)
        torch.cuda.synchronize(self._device)
        between = series.span_us - sum(series.times_us)
        return copies_us + count * between / (len(functions) - 1)

    def _view(self, slot: Slot) -> torch.Tensor:
        if self._arena is None:
            raise DeviceError("no shared memory on the device")
        return self._arena.view(slot)

    def _timed(self, count: int) -> tuple[list[float], float]:
        """The worker's times, and by this process's clock the time they took beyond the sleep."""
        cycles = int(self.sleep_us * SLEEP_CYCLES_PER_US) * count
        sleep_us = event_us(lambda: torch.cuda._sleep(cycles))
        start = time.perf_counter()
        self._worker.ask("time", sleep_cycles=cycles)
        wall_us = (time.perf_counter() - start) * 1e6
        wall_us -= max(sleep_us, event_us(lambda: torch.cuda._sleep(cycles)))
        reply = self._worker.ask("times")
        times = reply.get("times_us")
        if (
            not isinstance(times, list)
            or len(times) != count
            or not all(isinstance(t, float) and 0 < t < 1e12 for t in times)
        ):
            raise Ended(Status.CHEATING, "The worker sent times that no clock can have measured.")
        self.copied_bytes = max(self.copied_bytes, number(reply, "copied_bytes"))
        return times, wall_us

    def _verify(self, expected: list[check.Expected]) -> None:
        for want, (_, slots) in zip(expected, self._slots, strict=False):
            results = [self._view(slot) for slot in slots]
            verdict = check.compare(results, want, f"{self._case} (timed)")
            if not verdict.ok:
                raise Ended(
                    Status.INCORRECT, verdict.message,
                    max_error=verdict.max_error, tolerance=verdict.tolerance,
                )  # fmt: skip

    def _reference(
        self, inputs: tuple[Any, ...], flush: Flush
    ) -> tuple[tuple[torch.Tensor, ...], list[float]]:
        known = self._known
        if known.compiled is None and known.reference_us > SPENT_ON_BASELINE_US and known.baseline:
            return check.reference(self._task, inputs), []
        function = known.compiled or self._task.reference
        if known.reference_us != known.reference_us:  # first call: warm up, then time
            with torch.no_grad():
                function(*inputs)
        results: list[Any] = []
        flush()
        with torch.no_grad():
            spent = event_us(lambda: results.append(function(*inputs)))
        known.reference_us = spent
        if known.compiled is not None:
            return check.reference(self._task, inputs), [spent]
        result = results[0]
        return (tuple(result) if isinstance(result, (tuple, list)) else (result,)), [spent]

    def _reserve(
        self, count: int, inputs: tuple[Any, ...], outputs: tuple[torch.Tensor, ...]
    ) -> None:
        if len(self._slots) >= count and self._arena:
            return
        layout = Layout()
        self._slots = []
        for _ in range(count):
            input_slots = tuple(
                layout.like(x) if isinstance(x, torch.Tensor) else None for x in inputs
            )
            self._slots.append((input_slots, tuple(layout.like(x) for x in outputs)))
        self._set_bytes = layout.end // count
        names = [name for name, _ in state_of(self._task)]
        slots = [layout.like(value) for _, value in state_of(self._task)]
        self._state = state_message(names, slots)
        self.close()
        self._arena = CudaArena(layout.end, self._device)
        for slot, (_, value) in zip(slots, state_of(self._task), strict=True):
            self._view(slot).copy_(value)
        self._worker.ask("open", size=self._arena.size, handle=self._arena.handle())


def contradicted(walls_us: list[float], claimed_us: float) -> bool:
    """Whether every round took longer by the judge's clock than the claim allows.

    The claim is the median that is scored, not each round's sum: launches that are claimed to be
    short in some places or rounds do not pay for others, and one honest round shows up the rest.
    """
    return min(walls_us) > claimed_us + CLOCK_STEP_US + CLOCK_SHARE * claimed_us


def event_us(function: Callable[[], object]) -> float:
    """Device time of a call in microseconds, on the judge's own clock."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    function()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1000
