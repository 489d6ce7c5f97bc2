"""The judge of an NVIDIA GPU: records an answer, tests its plans on hidden shapes, and times them.

Host code of answers runs in recorders that have no device; kernels run in runners, which are ours.
Inputs, oracle and comparison are here.
"""

from __future__ import annotations

import functools
import gc
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace

import torch

from triton_gym.device import Device, Gpu
from triton_gym.evaluation import check
from triton_gym.evaluation.backends.cuda.bench import Bench
from triton_gym.evaluation.backends.cuda.blocks import BlockPool, spare_bytes_of
from triton_gym.evaluation.backends.cuda.calibration import Calibration, calibrate
from triton_gym.evaluation.backends.cuda.client import RunnerPool
from triton_gym.evaluation.backends.cuda.device_memory import DeviceMemory
from triton_gym.evaluation.backends.cuda.device_timing import Flush, event_us
from triton_gym.evaluation.backends.cuda.facts import device_facts, limits_of
from triton_gym.evaluation.backends.cuda.inputs import InputPool, InputSet, draw_set
from triton_gym.evaluation.backends.cuda.measurement import Measurement
from triton_gym.evaluation.backends.cuda.programs import Prepared
from triton_gym.evaluation.backends.cuda.recordings import Recordings, Setting
from triton_gym.evaluation.backends.cuda.shared_cases import SharedCase, record_together
from triton_gym.evaluation.backends.cuda.stage import NoMemory, Stage
from triton_gym.evaluation.backends.cuda.testing import Test, run_tests
from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache, Compiler
from triton_gym.evaluation.fingerprint import remembered_fingerprint
from triton_gym.evaluation.judging.judge import (
    Judge,
    Phases,
    Request,
    outcome_of,
    test_cases,
)
from triton_gym.evaluation.judging.sharing import gpu_lock, memory_lock
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.profile import Light, speed_of_light
from triton_gym.evaluation.screening.screen import screened
from triton_gym.evaluation.timing import Timing, summarise
from triton_gym.evaluation.workers.room import check_room, machine_errors
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended
from triton_gym.evaluation.workers.worker_pool import WorkerLost, WorkerPool
from triton_gym.outcome import NAN, Outcome, Status, TimeSource
from triton_gym.task import Case, Kind, Task

KEPT_SHARE = 4
"""One part in so many of the device's memory is for inputs that are kept between evaluations."""
KNOWN_TASKS = 256
"""Tasks of which something is kept."""
COMPILERS, FEW = 4, 1
"""Kernels of one answer that are compiled at once, while there are processors for it and not."""
SPARES = 4
"""Recorders and compilers that are forked before anybody asks for them."""
RECORDERS = 4
"""Recorders of one answer, each for some of its cases, while there are processors for them."""
OTHER_SEEDS = 1 << 20
"""Between the seeds of a case's inputs and of those of a second call."""
UNTESTED = check.Verdict(True, NAN, NAN)
"""Of an answer that is only timed: how far off its results are is not found out."""
LEAST_COVERAGE = 0.5
"""Share of the time in own kernels below which an answer earns no speedup."""


@dataclass(slots=True)
class _Lesson:
    """What is known of a task, once one evaluation has found out."""

    calibration: Calibration | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class CudaJudge(Judge):
    """Owns one GPU, or shares it with other judges of the same machine.

    Args:
        device: the GPU.
        judges: how many share its memory.
        pools: where recorders, compilers and runners come from.
    """

    def __init__(self, device: Device, judges: int, pools: tuple[WorkerPool, ...]) -> None:
        super().__init__()
        self._recorders, self._compilers, runners = self._pools = pools
        self._device = torch.device("cuda", int(device.which))
        torch.cuda.set_device(self._device)
        properties = torch.cuda.get_device_properties(self._device)
        self._total_bytes = int(properties.total_memory)
        self._gpu = limits_of(properties)
        flush_bytes = 2 * int(properties.L2_cache_size)
        self._flush = Flush(flush_bytes, self._device)
        self._lock = gpu_lock(self._device)
        self._memory = DeviceMemory(memory_lock(self._device), self._let_go, self._free_bytes)
        self._facts = device_facts(self._device)
        self._target = Target(self._facts.capability)
        self._artifacts = ArtifactCache()
        self._recorders.keep_spares(SPARES)
        self._compilers.keep_spares(SPARES)
        self._runners = RunnerPool(runners, int(device.which), flush_bytes)
        spare = spare_bytes_of(self._total_bytes, judges)
        self._blocks = BlockPool(self._device, self._runners.forget, spare)
        self._inputs = InputPool(self._total_bytes // KEPT_SHARE // judges)
        with self._lock(alone=True):
            self.copy_gbps = self._copy_bandwidth()
        self._lessons: OrderedDict[tuple[str, str], _Lesson] = OrderedDict()
        self._knowing = threading.Lock()
        self._compiling = threading.Lock()

    def close(self) -> None:
        """End the runners, and the servers that fork."""
        self._runners.close()
        for pool in self._pools:
            pool.close()

    @property
    def gpu(self) -> Gpu:
        """The published limits of the device."""
        return self._gpu

    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        return outcome.replace(
            time_source=TimeSource.MEASURED,
            evaluation_s=seconds,
            phases=tuple(phases.seconds.items()),
        )

    def _admit(self, task: Task) -> None:
        with torch.cuda.device(self._device):
            self._admissions.hold(task, self._device, lambda: self._lock(alone=False))

    # One evaluation.

    def _judge(self, request: Request, phases: Phases) -> Outcome:
        evaluate = functools.partial(self._evaluated, request, phases)
        return self._memory.use(evaluate, self._promised_bytes(request.limits))

    def _promised_bytes(self, limits: Limits) -> int:
        """What an answer may allocate on the device."""
        return limits.device_bytes or self._total_bytes // 2

    def _free_bytes(self) -> int:
        return int(torch.cuda.mem_get_info(self._device)[0])

    def _let_go(self) -> None:
        """Keep nothing that can be made again."""
        gc.collect()  # frames that an exception came through may lie in a circle with it
        self._inputs.clear()
        self._blocks.trim(0)
        torch.cuda.empty_cache()

    def _evaluated(self, request: Request, phases: Phases) -> Outcome:
        seed = secrets.randbits(62) if request.seed is None else request.seed
        cases = [] if request.tested else test_cases(request.task, seed, tiny=False)
        with torch.cuda.device(self._device), ExitStack() as ends:
            setting = self._setting(request, seed, ends)
            recording = ends.enter_context(
                Recordings(setting, self._crowd(), [request.task.bench[0], *cases])
            )
            with phases("learn"):
                calibration = self._calibration_of(request)
            with phases("start"):
                setting.stage.reference_us = calibration.about_us
                tests = [
                    self._drawn(request, case, seed, seed + number, ends)
                    for number, case in enumerate(cases)
                ]
                bench = self._bench(request, seed, calibration, ends)
            with phases("compile"):
                recording.record(tests, bench)
            with phases("test"):
                verdict = UNTESTED
                if tests:
                    verdict = run_tests(tests, setting.stage, self._lock, self._device)
            with phases("profile"):
                found, share, prepared = recording.measure(bench, self._flush)
        return self._outcome(request, prepared, verdict, found, calibration, share)

    def _setting(self, request: Request, seed: int, ends: ExitStack) -> Setting:
        limits = request.limits
        most = self._promised_bytes(limits)
        count = FEW if self._turns.crowded else COMPILERS
        compiler = Compiler(self._compilers, self._target, self._artifacts, limits, yields=True)
        threads = ends.enter_context(ThreadPoolExecutor(count))
        ends.enter_context(compiler).begin(threads, count)  # it ends before its threads do
        stage = Stage(self._runners, self._blocks, most, limits.gpu_seconds, seed)
        return Setting(
            request, ends.enter_context(Scratch(request.source)), stage,
            compiler, threads, self._recorders, self._blocks, self._facts, self._lock, seed,
        )  # fmt: skip

    def _crowd(self) -> int:
        """How many recorders an answer gets: several while there are processors for them."""
        return 1 if self._turns.crowded else RECORDERS

    def _drawn(
        self, request: Request, case: Case, parameters_seed: int, seed: int, ends: ExitStack
    ) -> Test:
        with self._lock(alone=False):
            task = bind(request.task, case, parameters_seed, self._device)
            draw = functools.partial(self._draw, task, case, ends)
            return Test(case, draw(seed), functools.partial(draw, seed + OTHER_SEEDS))

    def _draw(self, task: Task, case: Case, ends: ExitStack, seed: int) -> InputSet:
        """Inputs of a hidden case. The GPU is shared meanwhile."""
        inputs = draw_set(task, case, seed, self._device, self._blocks)
        torch.cuda.current_stream().synchronize()
        ends.callback(inputs.release)
        return inputs

    def _outcome(
        self, request: Request, prepared: Prepared, verdict: check.Verdict, found: Measurement,
        calibration: Calibration, share: float,
    ) -> Outcome:  # fmt: skip
        case, timing = request.task.bench[0], found.timing
        baseline = summarise(calibration.baseline_us)
        light = speed_of_light(request.task, case, self._gpu, self.copy_gbps)
        roofline, speedup = light.roofline(timing.median_us), baseline.median_us / timing.median_us
        used = prepared.used
        registers = max((float(a.registers) for a in used), default=NAN)
        spills = max((float(a.spill_bytes) for a in used), default=NAN)
        shared = max((float(a.shared_bytes) for a in used), default=NAN)
        status, message = Status.CORRECT, _message(timing, baseline, light)
        message += (
            f" {registers:.0f} registers, {spills:.0f} bytes spilled, {shared:.0f} bytes of shared "
            "memory."
        )
        if prepared.plan.setup or prepared.plan.first != prepared.plan.call:
            message += " What the answer prepares before its second call is not timed."
        if roofline > 1.0 + timing.spread:
            status = Status.CHEATING
            message = (
                f"The time of {timing.median_us:.2f} µs is below the speed of light of "
                f"{light.floor_us:.2f} µs for {case}: the work was not done, or the task's FLOPs "
                "or bytes are wrong."
            )
        elif found.contradicted:
            status = Status.CHEATING
            message = (
                f"Calls take {timing.median_us:.1f} µs by the device's events, but "
                f"{found.excess_us:.1f} µs more by the host's clock, in each of {found.rounds} "
                "rounds."
            )
        elif not used:
            status = Status.CHEATING
            message = "No Triton kernel was launched: the answer's own kernels must do the work."
        elif share < LEAST_COVERAGE and speedup > 1.0:
            speedup = 1.0
            message += (
                f" Only {share:.0%} of the time is spent in the answer's own kernels, the rest in "
                "PyTorch's copies: that earns no speedup."
            )
        return Outcome(
            status=status,
            message=message,
            compiled=True,
            runtime_us=timing.median_us,
            runtime_low_us=timing.low_us,
            runtime_high_us=timing.high_us,
            baseline_us=baseline.median_us,
            speedup=speedup,
            roofline=roofline,
            gbps=light.gbps(timing.median_us),
            tflops=light.tflops(timing.median_us),
            bound=light.bound(timing.median_us),
            max_error=verdict.max_error,
            tolerance=verdict.tolerance,
            coverage=share if used else 0.0,
            registers=registers,
            spills=spills,
            shared_bytes=shared,
        )

    # One answer on several timed cases.

    def _timed_each(self, request: Request, tasks: Sequence[Task]) -> list[Outcome]:
        refused, reached = screened(request.source, request.task.entry)
        if refused or request.task.entry.kind == Kind.MODULE:  # a module is built for its case
            return super()._timed_each(request, tasks)
        requests = [replace(request, task=task, source=reached) for task in tasks]
        self._admit(request.task)
        with machine_errors(), self._turns(alone=False):
            check_room()
            found = self._together(requests)
        # What did not end by the answer's own doing is done again by itself.
        return [
            one or self.evaluate(replace(request, task=task))
            for one, task in zip(found, tasks, strict=True)
        ]

    def _together(self, requests: Sequence[Request]) -> list[Outcome | None]:
        """Record the cases by one recorder, then time them; None where that was not possible."""
        found: list[Outcome | None] = [None] * len(requests)
        if not requests:
            return found
        seed = secrets.randbits(62)
        device = torch.cuda.device(self._device)
        with suppress(WorkerLost), self._memory.shared(), device, ExitStack() as ends:
            setting = self._setting(requests[0], seed, ends)
            cases = [
                SharedCase(request, Phases(), ends.enter_context(ExitStack()))
                for request in requests
            ]
            try:
                record_together(cases, setting, self._calibration_of, self._bench)
                for number, case in enumerate(cases):
                    found[number] = self._timed(case, setting)
                    case.ends.close()
            except torch.OutOfMemoryError:  # what is kept for others is in the way
                self._let_go()
        return found

    def _bench(
        self, request: Request, seed: int, calibration: Calibration, ends: ExitStack
    ) -> Bench:  # fmt: skip
        return Bench(
            request.task, request.seed, seed, calibration, self._device, self._blocks,
            self._inputs, self._lock, ends, brief=request.brief,
        )  # fmt: skip

    def _timed(self, case: SharedCase, setting: Setting) -> Outcome | None:
        """Time a case that was recorded with others."""
        if case.ended is None and case.bench and case.prepared and not case.prepared.reads:
            calibration = self._calibration_of(case.request)
            setting.stage.reference_us = calibration.about_us
            try:
                with case.phases("profile"):
                    times, share = case.bench.measure(
                        case.prepared, None, setting.stage, self._flush
                    )
            except Ended as end:
                case.ended = end
            else:
                outcome = self._outcome(
                    case.request, case.prepared, UNTESTED, times, calibration, share
                )
                return self._finish(outcome, sum(case.phases.seconds.values()), case.phases)
        if case.ended is None or case.ended.again or isinstance(case.ended, NoMemory):
            return None
        spent = sum(case.phases.seconds.values())
        return self._finish(outcome_of(case.ended), spent, case.phases)

    # What is kept.

    def _calibration_of(self, request: Request) -> Calibration:
        """What is known of the request's task. Who comes while it is found out waits for that."""
        key = (remembered_fingerprint(request.task), request.baseline)
        with self._knowing:
            lesson = self._lessons.setdefault(key, _Lesson())
            self._lessons.move_to_end(key)
            if len(self._lessons) > KNOWN_TASKS:
                self._lessons.popitem(last=False)
        with lesson.lock:
            if lesson.calibration is None:
                # The imports of torch.compile do not bear two threads.
                with self._compiling if request.baseline == "compile" else nullcontext():
                    lesson.calibration = calibrate(
                        request.task, request.baseline, self._device, self._flush, self._lock
                    )
            return lesson.calibration

    def _copy_bandwidth(self) -> float:
        """Bytes read and written a second by a large copy on the device, in GB/s."""
        source = torch.empty(1 << 28, dtype=torch.float32, device=self._device).normal_()
        target = torch.empty_like(source)
        times = [event_us(functools.partial(target.copy_, source)) for _ in range(8)]
        moved = 2 * source.numel() * source.element_size()
        torch.cuda.empty_cache()
        return moved / summarise(times[2:]).median_us / 1e3


def _message(timing: Timing, baseline: Timing, light: Light) -> str:
    us = timing.median_us
    return (
        f"Correct. {us:.1f} µs [{timing.low_us:.1f}, {timing.high_us:.1f}], PyTorch "
        f"{baseline.median_us:.1f} µs: speedup {baseline.median_us / us:.2f}. "
        f"{light.roofline(us):.0%} of the speed of light, {light.gbps(us):.0f} GB/s, "
        f"{light.tflops(us):.1f} TFLOP/s, {light.bound(us)}-bound."
    )
