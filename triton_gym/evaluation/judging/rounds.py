"""Timed rounds: fresh inputs for every call, every result verified, the judge's clock over all.

In a round the worker first queues a call of the answer for each set of inputs, behind a gate
(`gate.py`). Then the judge's GPU copies the inputs to where the calls look for them, lets the
worker in, waits until it has left, and copies the results away. That span is what the answer's
work took, whatever the worker claims: earlier there was nothing to work on, and what comes later
is missing from the results, all of which are compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from triton_gym.evaluation.exchange.gate import Gate
from triton_gym.evaluation.judging.calibration import Calibration, time_references
from triton_gym.evaluation.judging.input_pool import InputPool
from triton_gym.evaluation.judging.interference import DISTURBANCE, Interference
from triton_gym.evaluation.judging.sets import Given, Sets
from triton_gym.evaluation.judging.sharing import GpuLock, Share
from triton_gym.evaluation.workers.session import Ended, Session, number
from triton_gym.outcome import Status
from triton_gym.task import Task

ROUND_BYTES = 12 << 30
"""Most device memory that one round takes, unless a single call needs more."""
ROUND_CALLS = 24
"""Most calls in one round."""
ROUND_LAUNCHES = 800
"""Most kernels in one round: a stream that waits takes about a thousand launches."""
BESIDE_LAUNCHES = 5
"""What is queued for each call beside its own kernels."""
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
    disturbed: bool = False
    """Whether work of the judge's own, before and after, took longer than on a quiet GPU."""


class Stage:
    """Where the rounds of one evaluation are played.

    Args:
        task: what is evaluated; the first bench case is timed.
        device: the GPU.
        calibration: what the judge keeps of the task.
        worker: has loaded the answer and started CUDA.
        seed: of a module's parameters.
        lock: of the GPU.
        interference: knows whether others use it.
        copy_gbps: what a large copy on the device reaches, read and written.
        cache_bytes: of the GPU's L2 cache.
        input_pool: inputs that are kept between evaluations; None to draw all of them from seeds.
    """

    def __init__(
        self, task: Task, device: torch.device, calibration: Calibration, worker: Session,
        seed: int, lock: GpuLock, interference: Interference, copy_gbps: float,
        cache_bytes: float, input_pool: InputPool | None,
    ) -> None:  # fmt: skip
        self._device, self._calibration, self._worker = device, calibration, worker
        self._interference = interference
        self._copy_gbps, self._cache_bytes = copy_gbps, cache_bytes
        self._share = Share(lock, worker.on_gpu)
        self._room = self._calls_in_memory()
        self._sets = Sets(
            task, seed, calibration, worker, self._share, device, self._room, input_pool
        )
        self._launches = 1.0
        self._turn = 0
        torch.cuda.current_stream().synchronize()
        self._gate = Gate()
        self.copied_bytes = 0.0
        self.rehearsed_us = 0.0
        """What a call takes, as the worker's host says."""
        self.scratch_us = 0.0
        """What writing back a call's scratch memory may take after it, by the worker's word."""

    @property
    def busy_s(self) -> float:
        """Time spent, without waiting for the GPU."""
        return self._share.seconds

    def close(self) -> None:
        """Give the memory back."""
        self._gate.release()
        torch.cuda.current_stream().synchronize()
        self._gate.close()
        self._sets.close()

    def fitting(self, runtime_us: float, host_us: float = 0.0) -> int:
        """Calls of a round: enough for the clock, no more than memory and a stream's queue hold.

        A kernel takes a microsecond at least: a worker that speaks of many cannot make rounds short
        without a claim that is long.

        Args:
            runtime_us: what a call takes.
            host_us: how much of it may be the host's.
        """
        wanted = int(ROUND_US / max(runtime_us - host_us, 1.0)) + 1
        launches = min(self._launches, max(runtime_us, 1.0))
        queue = int(ROUND_LAUNCHES / (launches + BESIDE_LAUNCHES))
        return max(1, min(self._room, wanted, queue))

    def _calls_in_memory(self) -> int:
        """Most calls of a round: others, as a trainer, may have most of the GPU."""
        free = torch.cuda.mem_get_info(self._device)[0]
        free += torch.cuda.memory_reserved(self._device)
        free -= torch.cuda.memory_allocated(self._device)
        return max(1, min(min(ROUND_BYTES, free // 2) // self._calibration.call_bytes, ROUND_CALLS))

    def rehearse(self, seed: int) -> None:
        """Call the answer twice, which loads its kernels, and see what else is computed.

        Results are verified here too: an answer must be right from its first call on.

        Raises:
            Ended: the worker failed.
        """
        self._worker.ask("gate", fds=(self._gate.fd,))
        with self._sets.given(1, seed) as given:
            for _ in range(2):  # the first call may do what others do not, as tuning
                with self._share(alone=False):
                    self._sets.poison(given)
                    self._sets.reveal(given)
                    torch.cuda.current_stream().synchronize()
                    reply = self._worker.ask("call", calls=given.calls, timed=True)
                self._sets.verify(given, self._sets.results(given))
        self.copied_bytes = number(reply, "copied_bytes")
        self.rehearsed_us = number(reply, "took_us")
        self._launches = number(reply, "launches")  # of the second call: the first may have tuned
        written = min(number(reply, "scratch_bytes"), self._cache_bytes)
        self.scratch_us = written / self._copy_gbps / 1e3

    def round(
        self, count: int, seed: int, *, flushed: bool = True, referenced: bool = False,
        probed: bool = False,
    ) -> Round:  # fmt: skip
        """Have the answer called on `count` fresh sets of inputs, and verify every result.

        Args:
            count: calls.
            seed: of the inputs.
            flushed: whether the L2 cache is evicted before every call, and the answer times it;
                otherwise calls run back to back.
            referenced: whether the reference is timed on the same inputs.
            probed: whether to find out if others use the GPU at the same time.

        Raises:
            Ended: a result is wrong, or the worker failed.
        """
        with self._sets.given(count, seed) as given:
            self._worker.ask("stage", calls=given.calls)
            queued = self._queue(flushed)
            baseline: list[float] = []
            with self._share(alone=True):
                if referenced:
                    task = self._sets.task
                    baseline = time_references(
                        task, self._calibration, given.inputs, self._interference.flush
                    )
                slowed = self._interference.slowed() if probed else 1.0
                results, times, span_us = self._pass(given, flushed=flushed, queued=queued)
                slowed = max(slowed, self._interference.slowed()) if probed else 1.0
            self._sets.verify(given, results)
            copying_us = 2 * self._sets.moved_bytes(given) / self._copy_gbps / 1e3
        beside = self._calibration.between_us if flushed else self._calibration.keeping_us
        # What lies beside the calls was timed at other clocks: it is as slow now as our own work.
        disturbed = slowed > 1 + DISTURBANCE
        beside_us = GATE_US + copying_us + count * beside * min(slowed, 1 + DISTURBANCE)
        return Round(times, baseline, (span_us - beside_us) / count, queued, disturbed)

    # -- a round's parts ----------------------------------------------------------------------

    def _queue(self, flushed: bool) -> bool:
        """Have the worker queue its calls; False if that takes so long that it may need the GPU."""
        self._turn += 1
        self._worker.send("queue", turn=self._turn, flushed=flushed)
        return self._worker.wait_for(QUEUE_S) is not None

    def _pass(
        self, given: Given, *, flushed: bool, queued: bool
    ) -> tuple[torch.Tensor, list[float], float]:
        """Let the worker in: the results as they are when it has left, its times, and the span."""
        shared = self._sets.results(given)
        results = torch.empty_like(shared)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._sets.poison(given)
        torch.cuda.current_stream().synchronize()
        start.record()
        self._sets.reveal(given)
        self._gate.admit(self._turn)
        results.copy_(shared)
        end.record()
        if not queued:
            self._worker.wait()
        reply = self._worker.ask("times", flushed=flushed)
        times = reply.get("times_us")
        if (
            not isinstance(times, list)
            or len(times) != (len(given.calls) if flushed else 0)
            or not all(isinstance(t, float) and 0 < t < 1e12 for t in times)
        ):
            raise Ended(Status.CHEATING, "The worker sent times that no clock can have measured.")
        self.copied_bytes = max(self.copied_bytes, number(reply, "copied_bytes"))
        _await(end)
        return results, times, float(start.elapsed_time(end)) * 1000


def contradicted(walls_us: list[float], claimed_us: float, more_us: float = 0.0) -> bool:
    """Whether in every round calls took longer by the judge's clock than the claim allows.

    The claim is the median that is scored, not each round's sum: calls that are claimed to be
    short in some places or rounds do not pay for others, and one honest round shows up the rest.

    Args:
        walls_us: what a call of each round took by the judge's clock.
        claimed_us: the median of the claims.
        more_us: what else a call may have taken.
    """
    return min(walls_us) > allowed_us(claimed_us, more_us)


def allowed_us(claimed_us: float, more_us: float = 0.0) -> float:
    """What a call may take by the judge's clock; see `contradicted`."""
    return (1 + CLAIM_SHARE) * claimed_us + CLAIM_STEP_US + more_us


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
