"""The judge of a real GPU: tests on hidden shapes, then timed rounds on fresh inputs.

A round draws new inputs for every launch, times the PyTorch reference on them (which also gives
the results to hold the answer against), and has the worker time the answer on them. The judge's
own clock spans the whole round, so a worker that claims less than its round took is found out.
"""

from __future__ import annotations

import fcntl
import functools
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from triton_gym.device import Device, Gpu, gpu_matching, gpu_named
from triton_gym.errors import DeviceError
from triton_gym.evaluation import check
from triton_gym.evaluation.arena import CudaArena, Layout, Slot
from triton_gym.evaluation.judge import (
    POISON,
    Judge,
    Phases,
    Prepared,
    Request,
    call_message,
    digest,
    lay_out,
    run_tests,
    shapes,
    test_cases,
)
from triton_gym.evaluation.launch import Flush, Series
from triton_gym.evaluation.profile import Light, speed_of_light
from triton_gym.evaluation.session import Ended, Scratch, Session, Workshop
from triton_gym.evaluation.simulate.eager import fake_arguments, import_fake_tensors
from triton_gym.evaluation.timing import Budget, Timing, summarise
from triton_gym.outcome import NAN, Outcome, Source, Status
from triton_gym.task import Case, Task

ROUND_BYTES = 12 << 30
"""Most device memory that the arguments and results of one round take."""
ROUND_LAUNCHES = 80
"""Most launches in one round."""
ROUND_US = 15_000.0
"""Device time that a round aims at: long against the jitter of the judge's clock."""
CLOCK_SLACK_US = 1000.0
"""By how much a round may outlast its claim: two messages and a synchronisation; 0.6 to 0.7 ms
were measured on an H100."""
CLOCK_SHARE = 0.1
"""The same as a share of a call's time."""
CLOCK_STEP_US = 2.0
"""The same for each launch: the gaps between kernels."""
SLEEP_US = 120.0
"""How long the device sleeps for each launch of a round, so that the host can queue them all."""
LONGEST_SLEEP_US = 4000.0
"""The same for a host function that is slow to launch, before its round counts as contradicted."""
SLEEP_CYCLES_PER_US = 1500
"""Cycles of the sleep for a microsecond, roughly; what it took is measured."""
COMPILERS = 4
"""Processes that compile one answer for its different shapes."""
SPENT_ON_BASELINE_US = 60_000.0
"""A reference slower than this is not timed again on every launch of later evaluations."""


@dataclass(slots=True)
class Round:
    """What one round found."""

    times_us: list[float]
    baseline_us: list[float]
    hidden_us: float
    """Time of the round by the judge's clock that the claim does not explain."""


@dataclass(slots=True)
class Known:
    """What the judge keeps of a task between evaluations."""

    baseline: list[float] = field(default_factory=list)
    reference_us: float = NAN
    tolerances: tuple[float, ...] = ()
    compiled: Callable[..., Any] | None = None


class CudaJudge(Judge):
    """Owns one GPU."""

    def __init__(self, device: Device) -> None:
        self._workshop = Workshop("cuda")
        self._device = torch.device("cuda", device.index)
        torch.cuda.set_device(self._device)
        properties = torch.cuda.get_device_properties(self._device)
        self._gpu = gpu_matching(properties.name) or _unknown_gpu(properties)
        self._flush_bytes = 2 * int(properties.L2_cache_size)
        self._flush = Flush(self._flush_bytes, self._device)
        self._lock = Path("/tmp", f"triton-gym-{os.getuid()}-{properties.uuid}.lock")
        self.copy_gbps = self._copy_bandwidth()
        self._known: dict[tuple[str, str], Known] = {}
        self._knowing = threading.Lock()
        import_fake_tensors()

    def close(self) -> None:
        """End the nursery."""
        self._workshop.close()

    @property
    def gpu(self) -> Gpu:
        """The published limits of the device."""
        return self._gpu

    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        return outcome.replace(
            source=Source.MEASURED,
            evaluation_s=seconds,
            phases=tuple(phases.seconds.items()),
        )

    # -- one evaluation -----------------------------------------------------------------------

    def _judge(self, request: Request, phases: Phases) -> Outcome:
        seed = secrets.randbits(62) if request.seed is None else request.seed
        cases = test_cases(request.task, seed, tiny=False)
        with (
            Scratch(request.source) as scratch,
            ThreadPoolExecutor(COMPILERS) as pool,
            Session(self._workshop, request.limits, scratch) as worker,
        ):
            # Compiling takes no GPU: every shape in a process of its own, beside CUDA's start.
            compiling = [
                pool.submit(self._compile, request, scratch, case)
                for case in (request.task.bench[0], *cases)
            ]
            with phases("start"):
                worker.ask("load", path=worker.path, entry=request.task.entry.name)
                worker.send(
                    "cuda",
                    index=self._device.index,
                    share=self._share(request),
                    flush_bytes=self._flush_bytes,
                )
                known = self._knowledge(request)
                prepared, arena = self._prepare(request, cases, seed)
            with closing(arena):
                with phases("start"):
                    worker.wait()
                    worker.ask("open", size=arena.size, handle=arena.handle())
                with phases("compile"):
                    for compiled in compiling:
                        compiled.result()
                with phases("test"), self._locked(fcntl.LOCK_SH):
                    verdict = run_tests(worker, prepared, arena)
            with phases("profile"), self._locked(fcntl.LOCK_EX):
                timing, baseline, coverage = self._profile(request, worker, known, seed)
                resources = worker.ask("resources")
        return self._outcome(request, verdict, timing, baseline, coverage, resources)

    def _share(self, request: Request) -> float:
        total = torch.cuda.get_device_properties(self._device).total_memory
        return min(1.0, (request.limits.device_bytes or total) / total)

    def _compile(self, request: Request, scratch: Scratch, case: Case) -> None:
        """Compile a case's kernels into the answer's cache. Other failures show when it runs."""
        arguments = shapes(fake_arguments(request.task, case)[1])
        with Session(self._workshop, request.limits, scratch) as worker:
            try:
                worker.ask("load", path=worker.path, entry=request.task.entry.name)
                worker.ask("compile", arguments=arguments, gpu=self._gpu.name)
            except Ended as end:
                if end.status in (Status.COMPILE_ERROR, Status.TIMEOUT):
                    raise

    def _prepare(
        self, request: Request, cases: list[Case], seed: int
    ) -> tuple[list[Prepared], CudaArena]:
        """Hidden shapes with their arguments, oracle and place in shared memory."""
        layout = Layout()
        prepared = [
            lay_out(request.task, case, seed + index, self._device, layout)
            for index, case in enumerate(cases)
        ]
        return prepared, CudaArena(layout.end, self._device)

    def _profile(
        self, request: Request, worker: Session, known: Known, seed: int
    ) -> tuple[Timing, Timing, float]:
        """Rounds until the interval is narrow; the answer's and the reference's time.

        The third value is the coverage: what copies on the host's behalf leave of the time.
        """
        budget = Budget()
        spent_from = time.monotonic()
        times: list[float] = []
        baseline: list[float] = []
        hidden: list[float] = []
        stage = Stage(request.task, self._device, known, worker)
        try:
            first = stage.round(1, seed + 1000, self._flush, warm=True)
            estimate = max(first.times_us[0], 1.0)
            while True:
                count = stage.fitting(estimate)
                seed += 1 + count
                one = stage.round(count, seed + 2000, self._flush)
                times += one.times_us
                baseline += one.baseline_us
                hidden.append(one.hidden_us / count - CLOCK_SLACK_US / count)
                estimate = max(summarise(times).median_us, 1.0)
                allowed = CLOCK_STEP_US + CLOCK_SHARE * estimate
                if min(hidden) > allowed and stage.sleep_us < LONGEST_SLEEP_US:
                    stage.sleep_us *= 4  # perhaps the host is slow
                elif len(hidden) >= 2 and budget.done(times, time.monotonic() - spent_from):
                    break
        finally:
            stage.close()
        if baseline:
            known.baseline = baseline[-ROUND_LAUNCHES:]
        timing = summarise(times)
        claimed = timing.median_us
        excess = min(hidden)
        if excess > CLOCK_STEP_US + CLOCK_SHARE * claimed:
            raise Ended(
                Status.CHEATING,
                f"The answer claims {claimed:.1f} µs a call, but by the judge's clock every call "
                f"took {excess:.1f} µs more. Work on other streams or threads, or a changed clock, "
                "does not shorten a time.",
            )
        copies_us = stage.copied_bytes / self.copy_gbps / 1e3
        return timing, summarise(known.baseline), max(0.0, 1.0 - copies_us / claimed)

    def _outcome(
        self, request: Request, verdict: check.Verdict, timing: Timing, baseline: Timing,
        coverage: float, resources: dict[str, Any],
    ) -> Outcome:  # fmt: skip
        case = request.task.bench[0]
        light = speed_of_light(request.task, case, self._gpu, self.copy_gbps)
        roofline = light.roofline(timing.median_us)
        status, message = Status.CORRECT, _message(timing, baseline, light, resources)
        if roofline > 1.0 + timing.spread:
            status = Status.CHEATING
            message = (
                f"The time of {timing.median_us:.2f} µs is below the speed of light of "
                f"{light.floor_us:.2f} µs for {case}: the work was not done, or the task's FLOPs "
                "or bytes are wrong."
            )
        elif not resources.get("launches"):
            status = Status.CHEATING
            message = "No Triton kernel was launched: the answer's own kernels must do the work."
        number = {k: float(v) if v >= 0 else NAN for k, v in resources.items()}
        return Outcome(
            status=status,
            message=message,
            compiled=True,
            runtime_us=timing.median_us,
            runtime_low_us=timing.low_us,
            runtime_high_us=timing.high_us,
            baseline_us=baseline.median_us,
            speedup=baseline.median_us / timing.median_us,
            roofline=roofline,
            gbps=light.gbps(timing.median_us),
            tflops=light.tflops(timing.median_us),
            bound=light.bound(timing.median_us),
            max_error=verdict.max_error,
            tolerance=verdict.tolerance,
            coverage=coverage if resources.get("launches") else 0.0,
            registers=number["registers"],
            spills=number["spills"],
            shared_bytes=number["shared_bytes"],
        )

    # -- what is kept -------------------------------------------------------------------------

    def _knowledge(self, request: Request) -> Known:
        key = (digest(request.task), request.baseline)
        with self._knowing:  # also because torch.compile's imports do not bear two threads
            if key not in self._known:
                known = Known()
                if request.baseline == "compile":
                    known.compiled = torch.compile(request.task.reference)
                known.tolerances = self._bench_tolerances(request.task, request.task.bench[0])
                self._known[key] = known
            return self._known[key]

    def _bench_tolerances(self, task: Task, case: Case) -> tuple[float, ...]:
        """Tolerances at full size, against the reference in the case's own dtype.

        Both it and the answer may be off the oracle, each by its own tolerance.
        """
        inputs = check.draw_inputs(task, case, secrets.randbits(62), self._device)
        plain = check.reference(task, inputs)
        try:
            exact = check.oracle(task, inputs)
            found = check.tolerances(task, case, plain, exact)
        except torch.cuda.OutOfMemoryError:
            found = tuple(check.floor(p.dtype, task.reduction(case)) for p in plain)
        finally:
            torch.cuda.empty_cache()
        return tuple(2 * t for t in found)

    def _copy_bandwidth(self) -> float:
        """Bytes read and written a second by a large copy on the device, in GB/s."""
        source = torch.empty(1 << 28, dtype=torch.float32, device=self._device).normal_()
        target = torch.empty_like(source)
        times = [_event_us(lambda: target.copy_(source)) for _ in range(8)]
        moved = 2 * source.numel() * source.element_size()
        torch.cuda.empty_cache()
        return moved / summarise(times[2:]).median_us / 1e3

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold the GPU against other judges on this machine while something is timed."""
        with open(self._lock, "a") as file:
            fcntl.flock(file, kind)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)


class Stage:
    """Shared memory for the rounds of one evaluation, grown as they need it."""

    def __init__(self, task: Task, device: torch.device, known: Known, worker: Session) -> None:
        self._task = task
        self._case = task.bench[0]
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
        return max(2, min(room, wanted, ROUND_LAUNCHES))

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
            sets.append(call_message(self._case, inputs, input_slots, output_slots))
        if warm:  # loads the kernels, and sees what else is computed at full size
            self.copied_bytes = float(self._worker.ask("call", calls=sets)["copied_bytes"])
        self._worker.ask("stage", calls=sets)
        times, wall_us = self._timed(count)
        self._verify(expected)
        overhead_us = self._overhead_us(expected, flush)
        return Round(times, baseline, wall_us - sum(times) - overhead_us)

    def _overhead_us(self, expected: list[check.Expected], flush: Flush) -> float:
        """What a round takes beside the answer: the final copies, flushes, gaps between kernels.

        Found by doing the same with a copy in the answer's place, which leaves the cache as dirty.
        """
        count = len(expected)
        targets = [self._view(slot) for _, slots in self._slots[:count] for slot in slots]
        results = [tensor for want in expected for tensor in want.outputs]
        copies_us = _event_us(lambda: torch._foreach_copy_(targets, results))
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
        sleep_us = _event_us(lambda: torch.cuda._sleep(cycles))
        start = time.perf_counter()
        self._worker.ask("time", sleep_cycles=cycles)
        wall_us = (time.perf_counter() - start) * 1e6 - sleep_us
        reply = self._worker.ask("times")
        times = reply.get("times_us")
        if (
            not isinstance(times, list)
            or len(times) != count
            or not all(isinstance(t, float) and t > 0 for t in times)
        ):
            raise Ended(Status.CHEATING, "The worker sent times that no clock can have measured.")
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
            spent = _event_us(lambda: results.append(function(*inputs)))
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
        self.close()
        self._arena = CudaArena(layout.end, self._device)
        self._worker.ask("open", size=self._arena.size, handle=self._arena.handle())


def _event_us(function: Callable[[], object]) -> float:
    """Device time of a call in microseconds, on the judge's own clock."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    function()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1000


def _unknown_gpu(properties: Any) -> Gpu:
    """Limits of a GPU that is not in the table: its own memory clock, an H100's peaks."""
    like = gpu_named("h100")
    share = properties.multi_processor_count / like.multiprocessors
    return Gpu(
        properties.name, "", properties.major * 10 + properties.minor,
        properties.multi_processor_count, like.clock_ghz, like.memory_gbps,
        int(properties.L2_cache_size), like.shared_bytes, like.vector_tflops * max(share, 1.0),
        like.matrix_tflops,
    )  # fmt: skip


def _message(timing: Timing, baseline: Timing, light: Light, resources: dict[str, Any]) -> str:
    us = timing.median_us
    return (
        f"Correct. {us:.1f} µs [{timing.low_us:.1f}, {timing.high_us:.1f}], PyTorch "
        f"{baseline.median_us:.1f} µs: speedup {baseline.median_us / us:.2f}. "
        f"{light.roofline(us):.0%} of the speed of light, {light.gbps(us):.0f} GB/s, "
        f"{light.tflops(us):.1f} TFLOP/s, {light.bound(us)}-bound. "
        f"{resources.get('registers', -1)} registers, {resources.get('spills', -1)} bytes spilled, "
        f"{resources.get('shared_bytes', -1)} bytes of shared memory."
    )
