"""What the judge of a GPU keeps of a task between evaluations, and how it is found.

All of it is measured without an answer on the machine's mind: before the worker has anything to do.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.evaluation import check
from triton_gym.evaluation.judging.device_timing import SHORTEST_US, event_us, queue_ahead
from triton_gym.evaluation.judging.sharing import GpuLock
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.trees import Tree, flatten, memory
from triton_gym.evaluation.workers.launch import Flush, Series
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
    arguments: Tree
    """Of a call."""
    results: Tree
    """What it must return."""
    call_bytes: int
    """Device memory that one call of a round takes, in the judge and in the worker."""
    result_bytes: int
    """Of one call."""
    between_us: float
    """Device time from the end of a timed call to the start of the next: its result is copied and
    the cache flushed, of what the call wrote too."""
    keeping_us: float
    """Device time of copying a call's results."""
    queueing_us: float
    """Host time of queueing a timed call of the reference, the last time; infinity if it cannot be
    queued ahead of the device."""
    compiled: Callable[..., Any] | None = None
    """`torch.compile`'s form of the reference, if that is the baseline."""
    baseline_us: list[float] = field(default_factory=list)
    """The reference's latest times."""
    name: object = field(default_factory=object)
    """What the task's blocks are kept under."""


def calibrate(
    task: Task, baseline: str, device: torch.device, flush: Flush, lock: GpuLock
) -> Calibration:
    """Find out what is kept of a task.

    Args:
        task: its first bench case is timed.
        baseline: `eager` or `compile`.
        device: the GPU.
        flush: evicts its L2 cache.
        lock: of the GPU; it is held alone only for what is timed.
    """
    case = task.bench[0]
    compiled = None
    with lock(alone=False):
        task = bind(task, case, secrets.randbits(62), device)
        inputs = check.draw_inputs(task, case, secrets.randbits(62), device)
        found = check.returned(task, inputs, case)
        plain = tuple(tensor.contiguous() for tensor in found.tensors)  # as they are kept
        if baseline == "compile":
            compiled = torch.compile(getattr(task.reference, "module", task.reference))
        function = functools.partial(compiled or task.reference, *inputs)
        _, queueing = _timed([function], flush, SHORTEST_US)
        bounds = _bounds(task, case, inputs, found)
        tensors, arguments = flatten(inputs)
        time_beside = _beside(tensors, plain, flush)
        torch.cuda.synchronize(device)
    with lock(alone=True):
        between, keeping = time_beside()
    return Calibration(
        bounds=bounds,
        arguments=arguments,
        results=found.tree,
        # Inputs as they are drawn and as they are shared; results of the reference and the
        # answer, as they are shared and as they are taken away.
        call_bytes=2 * _bytes(tensors) + 4 * _bytes(plain),
        result_bytes=_bytes(plain),
        between_us=between,
        keeping_us=keeping,
        queueing_us=queueing,
        compiled=compiled,
    )


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
    calls = [functools.partial(function, *inputs) for inputs in sets]
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
        2 * check.floor(p.dtype, task.reduction(case))
        if p.is_floating_point() or p.is_complex()
        else 0.0
        for p in plain.tensors
    )
    return check.Timed(least, (), False)


def _beside(
    inputs: Sequence[torch.Tensor], plain: tuple[torch.Tensor, ...], flush: Flush
) -> Callable[[], tuple[float, float]]:
    """What times `between_us` and `keeping_us`; its memory and kernels are loaded already.

    Work stands in an answer's place that leaves the cache like it. Two kinds: one writes the
    result from as much memory, all of it cached in the end; and one reads the inputs piece by piece
    while it writes, which drives some of the result out. An honest answer may be like either: with
    inputs three times the result it paid 5 µs more.
    """
    made = [torch.empty_like(p) for p in plain]
    kept = [torch.empty_like(p) for p in plain]
    pieces = [_pieces(tensors) for tensors in (inputs, made, plain)]

    def copy() -> None:
        torch._foreach_copy_(made, list(plain))

    def work() -> None:
        for read, written, source in zip(*pieces, strict=True):
            for words in read:
                words.sum()
            if written:
                torch._foreach_copy_(written, source)

    def keep(result: object = None) -> None:
        torch._foreach_copy_(kept, made)

    def keep_all() -> None:
        for _ in range(_CALLS):
            keep()

    def gap_us(function: Callable[[], None]) -> float:
        least, host_us = math.inf, SHORTEST_US
        for _ in range(REHEARSALS):
            series = Series(_CALLS)
            queue = functools.partial(series.queue, [(function, keep)] * _CALLS, flush)
            host_us = _MARGIN * queue_ahead(queue, host_us)
            least = min(least, (series.span_us - sum(series.times_us)) / (_CALLS - 1))
        return least

    def timed() -> tuple[float, float]:
        between = max(gap_us(kind) for kind in (copy, work))
        return between, min(event_us(keep_all) / _CALLS for _ in range(REHEARSALS))

    for function in (copy, work, keep):
        function()
    return timed


def _pieces(tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """The memory of all tensors in `_PIECES` parts, as whole words."""
    flat = [memory(tensor).view(torch.uint8) for tensor in tensors if tensor.numel()]
    whole = [part[: len(part) // 4 * 4] for part in flat]
    # A slice of something else may begin within a word.
    words = [
        (part.clone() if part.storage_offset() % 4 else part).view(torch.int32) for part in whole
    ]
    found: list[list[torch.Tensor]] = [[] for _ in range(_PIECES)]
    for all_words in words:
        size = -(-len(all_words) // _PIECES) or 1
        for index, piece in enumerate(all_words.split(size)):
            found[index].append(piece)
    return found


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(memory(t).nbytes for t in tensors)
