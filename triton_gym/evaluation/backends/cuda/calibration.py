"""What the judge of a GPU keeps of a task between evaluations, and how it is found.

All of it is measured without an answer on the machine's mind: before the worker has anything to do.
"""

from __future__ import annotations

import functools
import math
import secrets
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.evaluation import check
from triton_gym.evaluation.backends.cuda.device_timing import (
    SHORTEST_US,
    Flush,
    Series,
    queue_ahead,
)
from triton_gym.evaluation.judging.sharing import GpuLock
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.writing import unwritten
from triton_gym.task import Case, Task

SPENT_ON_BASELINE_US = 60_000.0
"""A reference slower than this is not timed again on every call of later evaluations."""
REHEARSALS = 3
"""How often what lies beside the calls is measured; the least counts."""
_CALLS = 8
_PIECES = 8
_MARGIN = 1.5  # the host may be slower than the last time


@dataclass(slots=True)
class Calibration:
    """What is known of a task's timed case."""

    bounds: check.Timed
    """How results are held against the reference's at full size."""
    first_us: float
    """The reference's first time, which may be far too long: what it loads, it loaded then."""
    queueing_us: float
    """Host time of queueing a timed call of the reference, the last time; infinity if it cannot be
    queued ahead of the device."""
    compiled: Callable[..., Any] | None = None
    """`torch.compile`'s form of the reference, if that is the baseline."""
    baseline_us: list[float] = field(default_factory=list)
    """The reference's latest times."""
    name: object = field(default_factory=object)
    """What the task's inputs are kept under."""

    @property
    def about_us(self) -> float:
        """About what the reference takes."""
        return statistics.median(self.baseline_us or [self.first_us])


def calibrate(
    task: Task, baseline: str, device: torch.device, flush: Flush, lock: GpuLock
) -> Calibration:
    """Find out what is kept of a task.

    Args:
        task: its first bench case is timed.
        baseline: `eager` or `compile`.
        device: the GPU.
        flush: evicts its L2 cache.
        lock: of the GPU.
    """
    case = task.bench[0]
    compiled = None
    with lock(alone=False):
        task = bind(task, case, secrets.randbits(62), device)
        inputs = check.draw_inputs(task, case, secrets.randbits(62), device)
        plain = check.returned(task, inputs, case)
        if baseline == "compile":
            compiled = torch.compile(getattr(task.reference, "module", task.reference))
        function = functools.partial(compiled or task.reference, *inputs)
        (first,), queueing = _timed([function], flush, SHORTEST_US)
        bounds = _bounds(task, case, inputs, plain)
        torch.cuda.synchronize(device)
    return Calibration(bounds, first, queueing, compiled)


def time_references(
    task: Task, calibration: Calibration, sets: list[tuple[Any, ...]], flush: Flush
) -> list[float]:
    """The reference's device times in µs on each set of inputs; none if it is known and slow, or
    waits for the device, so that how fast its host is would show.

    Args:
        task: bound to the judge's parameters.
        calibration: of the task.
        sets: arguments of each call.
        flush: evicts the L2 cache before every call.
    """
    spent = sum(calibration.baseline_us) > SPENT_ON_BASELINE_US * len(calibration.baseline_us)
    if spent or (calibration.baseline_us and math.isinf(calibration.queueing_us)):
        return []
    function = calibration.compiled or task.reference
    given = [unwritten(task.reference, inputs) for inputs in sets]
    calls = [functools.partial(function, *inputs) for inputs in given]
    times_us, calibration.queueing_us = _timed(calls, flush, calibration.queueing_us)
    return [] if calibration.baseline_us and math.isinf(calibration.queueing_us) else times_us


def _timed(
    calls: Sequence[Callable[[], object]], flush: Flush, queueing_us: float
) -> tuple[list[float], float]:
    """Device times of calls, and the host time of queueing one; the latter is expected as given."""
    series = Series(len(calls))
    queue = functools.partial(series.queue, [(call, _forget) for call in calls], flush)
    with torch.no_grad():
        spent_us = queue_ahead(queue, _MARGIN * queueing_us * len(calls))
    return series.times_us, spent_us / len(calls)


def _forget(result: Any) -> None:
    """What becomes of a result that nobody needs."""


def _bounds(
    task: Task, case: Case, inputs: tuple[Any, ...], plain: check.Returned
) -> check.Timed:  # fmt: skip
    """See `check.timed`; the least that is sure where there is no memory for an oracle."""
    try:
        return check.timed(task, case, inputs, plain)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
    least = tuple(
        2 * check.floor(p, task.reduction(case)) if p.is_floating_point() or p.is_complex() else 0.0
        for p in plain.tensors
    )
    return check.Timed(least, (), False)
