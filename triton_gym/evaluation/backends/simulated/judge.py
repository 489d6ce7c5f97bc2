"""The judge of a GPU that is not here: records, interprets, compiles offline, models the time.

Host code of an answer runs in a recorder; its kernels are interpreted by a process of ours, from
the very IR that is compiled. Small cases run as a whole; of the timed one some programs do.
"""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor, wait

import torch

from triton_gym.device import Device, gpu_named
from triton_gym.evaluation import check
from triton_gym.evaluation.backends.simulated.fullsize import FullSizes, secret
from triton_gym.evaluation.backends.simulated.recording import Setting
from triton_gym.evaluation.backends.simulated.testing import Tests
from triton_gym.evaluation.backends.simulated.timed_case import Found, TimedCase
from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache, Compiler
from triton_gym.evaluation.fingerprint import remembered_fingerprint
from triton_gym.evaluation.judging.judge import Judge, Phases, Request
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.simulate.time_model.confidence import WIDEST
from triton_gym.evaluation.simulate.time_model.eager.baseline import baseline_us
from triton_gym.evaluation.simulate.tracing.trace import BLIND
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import Outcome, Status, TimeSource

LEAST_WORK = 0.6
"""Share of the speed of light's time below which an estimate is no error of the model."""
UNVERIFIED_SPEEDUP = 0.5
"""Largest speedup of an answer whose work at full size could not be verified."""
LEAST_COVERAGE = 0.5
"""Share of the time in own kernels below which an answer earns no speedup."""
COMPILERS = 2
"""Kernels of one answer that are compiled at once."""


class SimulatedJudge(Judge):
    """Deterministic: the same request has the same outcome.

    Args:
        device: which GPU is simulated.
        pools: where recorders, interpreters and compilers come from.
    """

    def __init__(self, device: Device, pools: tuple[WorkerPool, ...]) -> None:
        super().__init__()
        self._gpu = gpu_named(device.which)
        self._recorders, self._interpreters, self._compilers = self._pools = pools
        self._artifacts = ArtifactCache()
        self._target = Target(self._gpu.capability, lines=True)
        self._baselines: dict[tuple[str, str], float] = {}
        self._full = FullSizes()
        for pool, processes in zip(self._pools, (2, 2, 1), strict=True):
            pool.keep_spares(processes)  # what the next answer needs
        torch.set_num_threads(1)

    def close(self) -> None:
        """End the fork servers, and give back the arguments."""
        self._full.close()
        for pool in self._pools:
            pool.close()

    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        # A wall time would differ between equal runs.
        return outcome.replace(
            time_source=TimeSource.SIMULATED, phases=tuple(sorted(phases.seconds.items()))
        )

    def _judge(self, request: Request, phases: Phases) -> Outcome:
        with (
            self._full.of(request.task) as full,
            Scratch(request.source) as scratch,
            Compiler(self._compilers, self._target, self._artifacts, request.limits) as compiler,
            ThreadPoolExecutor(COMPILERS) as threads,
            ThreadPoolExecutor(1) as beside,
        ):
            setting = Setting(
                request, scratch, self._gpu, self._recorders, self._interpreters, compiler,
                threads, request.seed or 0, secret(request.source, request.seed),
            )  # fmt: skip
            tests, timed = Tests(setting), TimedCase(setting, full, phases)
            ready = beside.submit(timed.prepare)
            try:
                with phases("test"):
                    verdict = tests.run()
            except Ended as end:
                if end.status in (Status.REJECTED, Status.CHEATING):
                    timed.abandon()  # nothing else can become of it
                    wait((ready,))
                else:
                    timed.hurry()
                    ready.result().build()  # a kernel that does not compile is not worth testing
                raise
            finally:
                if sys.exc_info()[0] is not None:
                    wait((ready,))
                    timed.close()
            with ready.result():
                found = timed.judge(tests.tolerances)
        return self._outcome(request, verdict, found)

    def _outcome(self, request: Request, verdict: check.Verdict, found: Found) -> Outcome:
        task, case = request.task, request.task.bench[0]
        estimate, proof = found.estimate, found.proof
        light = speed_of_light(task, case, self._gpu)
        blind = any(BLIND in note for note in estimate.notes)
        if estimate.us * proof.work < LEAST_WORK * light.floor_us and not blind:
            if any("time ran out" in note for note in estimate.notes):
                raise Ended(
                    Status.TIMEOUT, f"The kernels could not be followed at {case} in time; most "
                    "often a program does too much. Launch more programs of smaller blocks.",
                )  # fmt: skip
            raise Ended(
                Status.CHEATING,
                f"What the kernels do at {case} takes {estimate.us:.1f} µs, far below the speed of "
                f"light of {light.floor_us:.1f} µs: the work is not done there, or the task's "
                "FLOPs or bytes are wrong.",
            )
        key = (remembered_fingerprint(task), request.baseline)
        if key not in self._baselines:
            self._baselines[key] = baseline_us(task, case, self._gpu, request.baseline)
        baseline = self._baselines[key]
        # The model's error must not read as a kernel beyond the speed of light.
        runtime_us = max(estimate.us, light.floor_us)
        message = f"Correct. {estimate.describe()}"
        if proof.work > 1:
            message += f" Replayed programs do {proof.work:.2f} times the work that was traced."
            runtime_us = min(runtime_us * proof.work, max(baseline, runtime_us) * 1e3)
        if proof.doubt:
            message += f" Not verified at full size: {proof.doubt}."
            if proof.withheld:
                message += " Speed that was not verified is not credited."
                runtime_us = max(runtime_us, baseline / UNVERIFIED_SPEEDUP)
        if blind:
            message += " Speed that rests on unknown values is not credited."
            runtime_us = max(runtime_us, baseline / UNVERIFIED_SPEEDUP)
        if estimate.coverage < LEAST_COVERAGE:
            message += " Most of the time is PyTorch's copies: no speedup is credited."
            runtime_us = max(runtime_us, baseline)
        scale = runtime_us / estimate.us
        doubt = math.exp(WIDEST) if proof.doubt or blind else 1.0
        if found.prepared:
            message += " What the answer prepares before its second call is not timed."
        return Outcome(
            status=Status.CORRECT,
            message=message,
            compiled=True,
            runtime_us=runtime_us,
            runtime_low_us=min(runtime_us, max(estimate.low_us * scale, light.floor_us)),
            runtime_high_us=max(estimate.high_us * scale, runtime_us * doubt),
            baseline_us=baseline,
            speedup=baseline / runtime_us,
            roofline=light.roofline(runtime_us),
            gbps=light.gbps(runtime_us),
            tflops=light.tflops(runtime_us),
            bound=estimate.bound,
            max_error=verdict.max_error,
            tolerance=verdict.tolerance,
            coverage=estimate.coverage,
            registers=estimate.registers,
            spills=estimate.spills,
            shared_bytes=estimate.shared_bytes,
        )
