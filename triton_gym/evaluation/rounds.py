"""Timed rounds: fresh inputs for every call, every result verified, the judge's clock over all.

In a round the worker first queues a call of the answer for each set of inputs, behind a gate
(`gate.py`). Then the judge's GPU copies the inputs to where the calls look for them, lets the
worker in, waits until it has left, and copies the results away. That span is what the answer's
work took, whatever the worker claims: earlier there was nothing to work on, and what comes later
is missing from the results, all of which are compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.errors import DeviceError
from triton_gym.evaluation import check
from triton_gym.evaluation.arena import CudaArena, Layout, Slot, rows_of, view
from triton_gym.evaluation.gate import Gate
from triton_gym.evaluation.judge import POISON, call_message, state_message
from triton_gym.evaluation.known import Known, time_references
from triton_gym.evaluation.launch import Flush
from triton_gym.evaluation.modules import bind, construction, state_of
from triton_gym.evaluation.session import Ended, Session, number
from triton_gym.evaluation.sharing import GpuLock
from triton_gym.outcome import Status
from triton_gym.task import Task

ROUND_BYTES = 12 << 30
"""Most device memory that one round takes, unless a single call needs more."""
PART_BYTES = 2 << 30
"""What is worked on at once while the GPU is shared: some milliseconds."""
ROUND_CALLS = 24
"""Most calls in one round."""
ROUND_LAUNCHES = 400
"""Most kernels in one round: a stream that waits takes about a thousand launches."""
ROUND_US = 15_000.0
"""Device time that a round aims at: long against what passing the gate takes."""
GATE_US = 350.0
"""What passing the gate takes: the GPU changes between two processes and back. 270 to 300 µs were
seen on an H200."""
CLAIM_SHARE = 0.1
"""By how much a call may outlast its claim, as a share of it: calls slower than the median."""
CLAIM_STEP_US = 2.0
"""The same for each call: the gaps between kernels."""
QUEUE_S = 0.5
"""How long a worker may take to queue a round before it is let in as it is."""
LEAVE_S = 2.0
"""How long a stream may take from what the worker reports to what the judge's stream sees."""


@dataclass(slots=True)
class Round:
    """What one round found."""

    times_us: list[float]
    """What the worker claims of each call; none of calls back to back."""
    baseline_us: list[float]
    call_us: float
    """Time that a call took at least, by the judge's clock."""
    queued: bool
    """Whether all calls were queued before the first one ran, so that launching did not show."""


class Stage:
    """Shared memory for the rounds of one evaluation, grown as they need it.

    Args:
        task: what is evaluated; the first bench case is timed.
        device: the GPU.
        known: what the judge keeps of the task.
        worker: has loaded the answer and started CUDA.
        seed: of a module's parameters.
        lock: of the GPU.
        flush: evicts its L2 cache.
        copy_gbps: what a large copy on the device reaches, read and written.
    """

    def __init__(
        self, task: Task, device: torch.device, known: Known, worker: Session, seed: int,
        lock: GpuLock, flush: Flush, copy_gbps: float,
    ) -> None:  # fmt: skip
        self._case = task.bench[0]
        self._task = bind(task, self._case, seed, device)
        self._construction = construction(task, self._case, seed)
        self._device, self._known, self._worker = device, known, worker
        self._lock, self._flush, self._copy_gbps = lock, flush, copy_gbps
        self._arena: CudaArena | None = None
        self._staging = torch.empty(0)
        self._inputs: list[tuple[Slot | None, ...]] = []
        self._outputs: list[tuple[Slot, ...]] = []
        self._state: list[Any] = []
        self._launches = 1.0
        self._turn = 0
        torch.cuda.current_stream().synchronize()
        self._gate = Gate()
        self.copied_bytes = 0.0
        self.rehearsed_us = 0.0
        """About what a call takes, as the worker says."""
        self.busy_s = 0.0
        """Time spent, without waiting for the GPU."""

    def close(self) -> None:
        """Give the memory back."""
        self._gate.release()
        torch.cuda.current_stream().synchronize()
        self._gate.close()
        if self._arena:
            with self._lock(alone=False):
                self._arena.close()
            self._arena = None

    def fitting(self, runtime_us: float) -> int:
        """Calls of a round: enough for the clock, no more than memory and a stream's queue hold."""
        free = torch.cuda.mem_get_info(self._device)[0]
        free += torch.cuda.memory_reserved(self._device)
        free -= torch.cuda.memory_allocated(self._device)
        room = min(ROUND_BYTES, free // 2) // self._known.call_bytes
        wanted = int(ROUND_US / max(runtime_us, 1.0)) + 1
        queue = int(ROUND_LAUNCHES / (self._launches + 4))
        return max(1, min(room, wanted, queue, ROUND_CALLS))

    def rehearse(self, seed: int) -> None:
        """Call the answer twice, which loads its kernels, and see what else is computed.

        Raises:
            Ended: the worker failed.
        """
        self._worker.ask("gate", fds=(self._gate.fd,))
        calls, _ = self._draw(1, seed)
        with self._busy(alone=False):
            self._reveal(1)
            torch.cuda.current_stream().synchronize()
            reply = self._worker.ask("call", calls=2 * calls)
        self.copied_bytes = number(reply, "copied_bytes")
        self.rehearsed_us = number(reply, "took_us")
        self._launches = max(1.0, number(self._worker.ask("resources"), "launches", least=-1))

    def round(self, count: int, seed: int, *, flushed: bool = True) -> Round:
        """Have the answer called on `count` fresh sets of inputs, and verify every result.

        Args:
            count: calls.
            seed: of the inputs.
            flushed: whether the L2 cache is evicted before every call, and the answer and the
                reference are timed; otherwise calls run back to back.

        Raises:
            Ended: a result is wrong, or the worker failed.
        """
        calls, sets = self._draw(count, seed)
        expected = [] if flushed else self._references(sets)
        self._worker.ask("stage", calls=calls)
        queued = self._queue(flushed)
        baseline: list[float] = []
        with self._busy(alone=True):
            if flushed:
                expected, baseline = time_references(self._task, self._known, sets, self._flush)
            del sets
            results, times, span_us = self._pass(count, flushed=flushed, queued=queued)
        self._verify(expected, results)
        beside = self._known.between_us if flushed else self._known.keeping_us
        beside_us = GATE_US + self._copying_us(count) + count * beside
        return Round(times, baseline, (span_us - beside_us) / count, queued)

    # -- a round's parts ----------------------------------------------------------------------

    @contextmanager
    def _busy(self, *, alone: bool) -> Iterator[None]:
        with self._lock(alone=alone):
            start = time.monotonic()
            try:
                yield
            finally:
                self.busy_s += time.monotonic() - start

    def _parts(self, count: int) -> Iterator[range]:
        """The numbers up to `count` in parts, each while the GPU is shared.

        So who waits for the GPU alone never waits long.
        """
        size = max(1, PART_BYTES // self._known.call_bytes)
        for start in range(0, count, size):
            with self._busy(alone=False):
                yield range(start, min(start + size, count))
                torch.cuda.current_stream().synchronize()

    def _each(self, count: int) -> Iterator[int]:
        for part in self._parts(count):
            yield from part

    def _draw(
        self, count: int, seed: int
    ) -> tuple[list[dict[str, Any]], list[tuple[torch.Tensor, ...]]]:
        """Fresh inputs where only the judge sees them; the calls that will find them revealed."""
        calls: list[dict[str, Any]] = []
        sets: list[tuple[Any, ...]] = []
        for index in self._each(count):
            inputs = check.draw_inputs(self._task, self._case, seed + index, self._device)
            if not index:
                self._reserve(count, inputs)
                self._results(count).fill_(POISON)
            slots = self._inputs[index]
            kept = tuple(
                view(self._staging, slot).copy_(value) if slot else value
                for slot, value in zip(slots, inputs, strict=True)
            )
            sets.append(kept)
            call = call_message(self._case, kept, slots, self._outputs[index])
            if self._construction is not None:  # one module serves all calls: see `Worker`
                call["module"] = {**self._construction, "state": [] if index else self._state}
            calls.append(call)
        return calls, sets

    def _references(self, sets: list[tuple[Any, ...]]) -> list[tuple[torch.Tensor, ...]]:
        return [check.reference(self._task, sets[i]) for i in self._each(len(sets))]

    def _reveal(self, count: int) -> None:
        end = _end(self._inputs[count - 1])
        if end:
            self._bytes(0, end).copy_(self._staging[:end])

    def _queue(self, flushed: bool) -> bool:
        """Have the worker queue its calls; False if that takes so long that it may need the GPU."""
        self._turn += 1
        self._worker.send("queue", turn=self._turn, flushed=flushed)
        return self._worker.wait_for(QUEUE_S) is not None

    def _pass(
        self, count: int, *, flushed: bool, queued: bool
    ) -> tuple[torch.Tensor, list[float], float]:
        """Let the worker in: the results as they are when it has left, its times, and the span."""
        shared = self._results(count)
        results = torch.empty_like(shared)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.current_stream().synchronize()
        start.record()
        self._reveal(count)
        self._gate.admit(self._turn)
        results.copy_(shared)
        end.record()
        if not queued:
            self._worker.wait()
        reply = self._worker.ask("times", flushed=flushed)
        times = reply.get("times_us")
        if (
            not isinstance(times, list)
            or len(times) != (count if flushed else 0)
            or not all(isinstance(t, float) and 0 < t < 1e12 for t in times)
        ):
            raise Ended(Status.CHEATING, "The worker sent times that no clock can have measured.")
        self.copied_bytes = max(self.copied_bytes, number(reply, "copied_bytes"))
        _await(end)
        return results, times, float(start.elapsed_time(end)) * 1000

    def _verify(self, expected: list[tuple[torch.Tensor, ...]], block: torch.Tensor) -> None:
        """Compare all results; `block` holds them as the worker left them."""
        tolerances = self._known.tolerances
        plain = [
            check.plainly_right(
                self._together(part, block),
                check.Expected(_stacked(expected[part.start : part.stop]), tolerances),
            )
            for part in self._parts(len(expected))
        ]
        if bool(torch.stack(plain).all()):
            return
        for index in self._each(len(expected)):
            results = [one[0] for one in self._together(range(index, index + 1), block)]
            want = check.Expected(expected[index], tolerances)
            verdict = check.compare(results, want, f"{self._case} (timed)")
            if not verdict.ok:
                raise Ended(
                    Status.INCORRECT, verdict.message,
                    max_error=verdict.max_error, tolerance=verdict.tolerance,
                )  # fmt: skip

    def _together(self, part: range, block: torch.Tensor) -> list[torch.Tensor]:
        """Each result of some calls as one tensor, calls first."""
        first = self._outputs[0][0].offset
        pitch = self._outputs[1][0].offset - first if len(self._outputs) > 1 else 0
        return [
            rows_of(block, slot.moved(-first), pitch, len(part))
            for slot in self._outputs[part.start]
        ]

    def _copying_us(self, count: int) -> float:
        """What revealing the inputs and taking the results away costs."""
        moved = _end(self._inputs[count - 1]) + self._results(count).numel()
        return 2 * moved / self._copy_gbps / 1e3

    # -- shared memory ------------------------------------------------------------------------

    def _reserve(self, count: int, inputs: tuple[Any, ...]) -> None:
        """Places for `count` sets: all inputs, then all results, then a module's state."""
        if len(self._inputs) >= count:
            return
        layout = Layout()
        self._inputs = [
            tuple(layout.like(x) if isinstance(x, torch.Tensor) else None for x in inputs)
            for _ in range(count)
        ]
        self._staging = torch.empty(layout.end, dtype=torch.uint8, device=self._device)
        self._outputs = [
            tuple(layout.place(shape, dtype) for shape, dtype in self._known.outputs)
            for _ in range(count)
        ]
        names = [name for name, _ in state_of(self._task)]
        slots = [layout.like(value) for _, value in state_of(self._task)]
        self._state = state_message(names, slots)
        if self._arena:
            self._arena.close()
        self._arena = CudaArena(layout.end, self._device)
        for slot, (_, value) in zip(slots, state_of(self._task), strict=True):
            self._arena.view(slot).copy_(value)
        self._worker.ask("open", size=self._arena.size, handle=self._arena.handle())

    def _results(self, count: int) -> torch.Tensor:
        """The bytes of the first `count` calls' results."""
        return self._bytes(self._outputs[0][0].offset, _end(self._outputs[count - 1]))

    def _bytes(self, start: int, end: int) -> torch.Tensor:
        if self._arena is None:
            raise DeviceError("no shared memory on the device")
        return self._arena.view(Slot(start, (end - start,), "uint8"))


def contradicted(walls_us: list[float], claimed_us: float, more_us: float = 0.0) -> bool:
    """Whether in every round calls took longer by the judge's clock than the claim allows.

    The claim is the median that is scored, not each round's sum: calls that are claimed to be
    short in some places or rounds do not pay for others, and one honest round shows up the rest.

    Args:
        walls_us: what a call of each round took by the judge's clock.
        claimed_us: the median of the claims.
        more_us: what else a call may have taken.
    """
    return min(walls_us) > (1 + CLAIM_SHARE) * claimed_us + CLAIM_STEP_US + more_us


def _stacked(outputs: list[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    """Each result of some calls as one tensor, calls first; a number stands as a row of one."""
    return tuple(
        torch.stack([one if one.dim() else one[None] for one in each])
        for each in zip(*outputs, strict=True)
    )


def _end(slots: tuple[Slot | None, ...]) -> int:
    """Where the last of a set's slots ends."""
    return max((slot.offset + slot.bytes for slot in slots if slot), default=0)


def _await(event: torch.cuda.Event) -> None:
    """Wait for what the worker says is done.

    Raises:
        Ended: it is not.
    """
    deadline = time.monotonic() + LEAVE_S
    while not event.query():
        if time.monotonic() > deadline:
            raise Ended(Status.CHEATING, "The worker said that it was done before it was.")
        time.sleep(0.0001)
