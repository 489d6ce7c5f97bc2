"""The judge of a real GPU: tests on hidden shapes, then timed rounds until the time is known.

The rounds are in `rounds.py`, what they come to in `measure.py`. A claim that the judge's own clock
contradicts is `cheating`, and so is a time below the speed of light.
"""

from __future__ import annotations

import functools
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.device import Device, Gpu, gpu_matching, gpu_named
from triton_gym.evaluation.check import Verdict, fake_arguments
from triton_gym.evaluation.exchange.arena import CudaArena, Layout
from triton_gym.evaluation.fingerprint import task_fingerprint
from triton_gym.evaluation.judging.calibration import Calibration, calibrate
from triton_gym.evaluation.judging.device_timing import event_us
from triton_gym.evaluation.judging.input_pool import InputPool
from triton_gym.evaluation.judging.interference import Interference
from triton_gym.evaluation.judging.judge import (
    Judge,
    Phases,
    Prepared,
    Request,
    lay_out,
    run_tests,
    shapes,
    test_cases,
)
from triton_gym.evaluation.judging.measure import Measurement, measure
from triton_gym.evaluation.judging.rounds import ROUND_BYTES, ROUND_CALLS, Stage
from triton_gym.evaluation.judging.sharing import Lanes, gpu_lock
from triton_gym.evaluation.modules import construction
from triton_gym.evaluation.profile import Light, speed_of_light
from triton_gym.evaluation.simulate.time_model.eager import import_fake_tensors
from triton_gym.evaluation.timing import Timing, summarise
from triton_gym.evaluation.workers.launch import Flush
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended, Session, number
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import NAN, Outcome, Status, TimeSource
from triton_gym.task import Case

LANES = 3
"""Answers that are profiled at once: all that is not timed of one goes on beside the others."""
KEPT_SHARE = 4
"""One part in so many of the device's memory is for inputs that are kept between evaluations."""
SPARE_SHARE = 4
"""One part in so many of the device's memory is for workers: if less is free, PyTorch keeps none
for later."""
KNOWN_TASKS = 256
"""Tasks of which something is kept."""
COMPILERS = 4
"""Processes that compile one answer for its different shapes."""
_DISTURBED = "Other programs used the GPU all the while: the time may be many times too long."
RESOURCES = ("launches", "registers", "spills", "shared_bytes")
"""What a worker says of the kernels that it launched; -1 where that is unknown."""


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
        pools: where workers come from.
    """

    def __init__(self, device: Device, judges: int, pools: tuple[WorkerPool, ...]) -> None:
        super().__init__()
        (self._pool,) = pools
        self._device = torch.device("cuda", int(device.which))
        torch.cuda.set_device(self._device)
        properties = torch.cuda.get_device_properties(self._device)
        listed = gpu_matching(properties.name)
        self._gpu = listed or _unknown_gpu(properties)
        self._flush_bytes = 2 * int(properties.L2_cache_size)
        self._flush = Flush(self._flush_bytes, self._device)
        self._lock = gpu_lock(self._device)
        self._lanes = Lanes(
            self._device,
            LANES,
            properties.total_memory // 2 // judges,
            gpu_lock(self._device, "large"),
        )
        self._input_pool = InputPool(
            properties.total_memory // KEPT_SHARE // judges,
            lambda: torch.cuda.mem_get_info(self._device)[0],
        )
        with self._lock(alone=True):
            self.copy_gbps = self._copy_bandwidth()
            self._interference = Interference(self._flush, self._flush_bytes, listed)
        self._lessons: OrderedDict[tuple[str, str], _Lesson] = OrderedDict()
        self._knowing = threading.Lock()
        self._compiling = threading.Lock()
        import_fake_tensors()

    def close(self) -> None:
        """End the fork server."""
        self._pool.close()

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

    def _cramped(self, end: Ended) -> bool:
        if "CUDA out of memory" not in end.message:
            return False
        self._input_pool.clear()
        torch.cuda.empty_cache()
        return True

    # -- one evaluation -----------------------------------------------------------------------

    def _judge(self, request: Request, phases: Phases) -> Outcome:
        seed = secrets.randbits(62) if request.seed is None else request.seed
        cases = test_cases(request.task, seed, tiny=False)
        with (
            torch.cuda.device(self._device),  # it is a thread's own
            self._tidied(),
            Scratch(request.source) as scratch,
            ThreadPoolExecutor(COMPILERS) as pool,
            ExitStack() as ends,
        ):
            # Compiling takes no GPU: every shape in a process of its own, beside CUDA's start.
            compiling = [
                pool.submit(self._compile, request, scratch, case)
                for case in (request.task.bench[0], *cases)
            ]
            with phases("start"):
                worker = ends.enter_context(Session(self._pool, request.limits, scratch))
                worker.ask("load", path=worker.path, source=worker.source, **_entry(request))
            if self._turns.crowded:
                # The driver starts CUDA in one process after another: not for what won't compile.
                with phases("compile"):
                    compiling[0].result()
            with phases("start"):
                worker.send(
                    "cuda",
                    index=self._device.index,
                    share=self._share(request),
                    flush_bytes=self._flush_bytes,
                )
            with phases("learn"):
                calibration = self._calibration_of(request)
            with phases("start"):
                prepared, arena = self._prepare(request, cases, seed)
            with closing(arena):
                with phases("start"):
                    worker.wait()
                    worker.ask("open", size=arena.size, handle=arena.handle())
                with phases("compile"):
                    for compiled in compiling:
                        compiled.result()
                with phases("test"), worker.on_gpu(self._lock(alone=False)):
                    verdict = run_tests(worker, prepared, arena)
            size = max(
                calibration.call_bytes, min(ROUND_BYTES, ROUND_CALLS * calibration.call_bytes)
            )
            with phases("wait"):
                lane = ends.enter_context(self._lanes(size))
            with phases("profile"), torch.cuda.stream(lane):
                self._tidy()
                found, baseline, coverage = self._profile(request, worker, calibration, seed)
                reply = worker.ask("resources")
                resources = {name: number(reply, name, least=-1) for name in RESOURCES}
        return self._outcome(request, verdict, found, baseline, coverage, resources)

    @contextmanager
    def _tidied(self) -> Iterator[None]:
        """Keep no memory for later while little of it is free, before and after what is done."""
        self._tidy()
        try:
            yield
        finally:
            self._tidy()

    def _tidy(self) -> None:
        free, total = torch.cuda.mem_get_info(self._device)
        if free < total // SPARE_SHARE:
            torch.cuda.empty_cache()

    def _share(self, request: Request) -> float:
        total = torch.cuda.get_device_properties(self._device).total_memory
        return min(1.0, (request.limits.device_bytes or total) / total)

    def _compile(self, request: Request, scratch: Scratch, case: Case) -> None:
        """Compile a case's kernels into the answer's cache. Other failures show when it runs."""
        arguments = shapes(fake_arguments(request.task, case)[1])
        with Session(self._pool, request.limits, scratch, yields=True) as worker:
            try:
                worker.ask("load", path=worker.path, source=worker.source, **_entry(request))
                how = construction(request.task, case, 0)
                worker.ask("compile", arguments=arguments, gpu=self._gpu.name, module=how)
            except Ended as end:
                if end.status in (Status.COMPILE_ERROR, Status.TIMEOUT):
                    raise

    def _prepare(
        self, request: Request, cases: list[Case], seed: int
    ) -> tuple[list[Prepared], CudaArena]:
        """Hidden shapes with their arguments, oracle and place in shared memory."""
        layout = Layout()
        prepared = []
        for index, case in enumerate(cases):
            with self._lock(alone=False):
                prepared.append(lay_out(request.task, case, seed + index, self._device, layout))
        with self._lock(alone=False):
            return prepared, CudaArena(layout.end, self._device)

    def _profile(
        self, request: Request, worker: Session, calibration: Calibration, seed: int
    ) -> tuple[Measurement, Timing, float]:
        """The answer's time, and the reference's.

        The third value is the coverage: what copies on the host's behalf leave of the time.
        """
        stage = Stage(
            request.task, self._device, calibration, worker, seed, self._lock, self._interference,
            self.copy_gbps, self._flush_bytes / 2,
            self._input_pool if request.seed is None else None,
        )  # fmt: skip
        try:
            found = measure(stage, seed, self._writing_us(calibration))
            copied_bytes = stage.copied_bytes
        finally:
            stage.close()
        if found.baseline_us:
            calibration.baseline_us = list(found.baseline_us[-ROUND_CALLS:])
        copies_us = copied_bytes / self.copy_gbps / 1e3
        coverage = max(0.0, 1.0 - copies_us / found.timing.median_us)
        return found, summarise(calibration.baseline_us), coverage

    def _writing_us(self, calibration: Calibration) -> float:
        """What calls back to back may pay for each other's results, left in the L2 cache."""
        result, cache = calibration.result_bytes, self._flush_bytes / 2
        # The copies that take results away stay there too, where both fit.
        written = min(result, cache) + max(0.0, min(result, cache - result))
        return written / self.copy_gbps / 1e3

    def _outcome(
        self, request: Request, verdict: Verdict, found: Measurement, baseline: Timing,
        coverage: float, resources: dict[str, float],
    ) -> Outcome:  # fmt: skip
        case, timing = request.task.bench[0], found.timing
        light = speed_of_light(request.task, case, self._gpu, self.copy_gbps)
        roofline = light.roofline(timing.median_us)
        status, message = Status.CORRECT, _message(timing, baseline, light, resources)
        if not found.quiet:
            message += f" {_DISTURBED}"
        if roofline > 1.0 + timing.spread:
            status = Status.CHEATING
            message = (
                f"The time of {timing.median_us:.2f} µs is below the speed of light of "
                f"{light.floor_us:.2f} µs for {case}: the work was not done, or the task's FLOPs "
                "or bytes are wrong."
            )
        elif not resources["launches"]:
            status = Status.CHEATING
            message = "No Triton kernel was launched: the answer's own kernels must do the work."
        known = {name: value if value >= 0 else NAN for name, value in resources.items()}
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
            coverage=coverage if resources["launches"] else 0.0,
            registers=known["registers"],
            spills=known["spills"],
            shared_bytes=known["shared_bytes"],
        )

    # -- what is kept -------------------------------------------------------------------------

    def _calibration_of(self, request: Request) -> Calibration:
        """What is known of the request's task. Who comes while it is found out waits for that."""
        key = (task_fingerprint(request.task), request.baseline)
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
                self._tidy()  # the oracle takes much memory
            return lesson.calibration

    def _copy_bandwidth(self) -> float:
        """Bytes read and written a second by a large copy on the device, in GB/s."""
        source = torch.empty(1 << 28, dtype=torch.float32, device=self._device).normal_()
        target = torch.empty_like(source)
        times = [event_us(functools.partial(target.copy_, source)) for _ in range(8)]
        moved = 2 * source.numel() * source.element_size()
        torch.cuda.empty_cache()
        return moved / summarise(times[2:]).median_us / 1e3


def _entry(request: Request) -> dict[str, Any]:
    """What a worker has to load."""
    return {"entry": request.task.entry.name, "kind": str(request.task.entry.kind)}


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


def _message(timing: Timing, baseline: Timing, light: Light, resources: dict[str, float]) -> str:
    us = timing.median_us
    return (
        f"Correct. {us:.1f} µs [{timing.low_us:.1f}, {timing.high_us:.1f}], PyTorch "
        f"{baseline.median_us:.1f} µs: speedup {baseline.median_us / us:.2f}. "
        f"{light.roofline(us):.0%} of the speed of light, {light.gbps(us):.0f} GB/s, "
        f"{light.tflops(us):.1f} TFLOP/s, {light.bound(us)}-bound. "
        f"{resources['registers']:.0f} registers, {resources['spills']:.0f} bytes spilled, "
        f"{resources['shared_bytes']:.0f} bytes of shared memory."
    )
