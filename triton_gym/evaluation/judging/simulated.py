"""The judge of a GPU that is not here: interpret, compile offline, and model the time."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from triton_gym.device import Device, gpu_named
from triton_gym.evaluation import check
from triton_gym.evaluation.exchange.arena import HostArena, Layout
from triton_gym.evaluation.fingerprint import task_fingerprint
from triton_gym.evaluation.judging import worker_reports
from triton_gym.evaluation.judging.fullsize import FullSize, FullSizes, secret
from triton_gym.evaluation.judging.judge import (
    Judge,
    Phases,
    Prepared,
    Request,
    lay_out,
    run_tests,
    test_cases,
)
from triton_gym.evaluation.judging.proof import Proof, prove
from triton_gym.evaluation.modules import construction
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.time_model import model
from triton_gym.evaluation.simulate.time_model.eager import baseline_us
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import Outcome, Status, TimeSource

_CPU = torch.device("cpu")
UNTESTED = check.Verdict(True, 0.0, 0.0)
"""Of an answer that passed its tests before."""
LEAST_WORK = 0.6
"""Share of the speed of light's time below which an estimate is no error of the model."""

UNVERIFIED_SPEEDUP = 0.5
"""Largest speedup of an answer whose work at full size could not be verified."""


class SimulatedJudge(Judge):
    """Deterministic: the same request has the same outcome.

    Args:
        device: which GPU is simulated.
        pools: where workers come from that compile, and that interpret.
    """

    def __init__(self, device: Device, pools: tuple[WorkerPool, ...]) -> None:
        super().__init__()
        self._gpu = gpu_named(device.which)
        self._compilers, self._interpreters = pools
        self._baselines: dict[tuple[str, str], float] = {}
        self._full = FullSizes()
        torch.set_num_threads(1)

    def close(self) -> None:
        """End the fork servers, and give back the arguments."""
        self._full.close()
        self._compilers.close()
        self._interpreters.close()

    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        # A wall time would differ between equal runs.
        return outcome.replace(
            time_source=TimeSource.SIMULATED, phases=tuple(sorted(phases.seconds.items()))
        )

    def _judge(self, request: Request, phases: Phases) -> Outcome:
        with (
            self._full.of(request.task) as full,
            Scratch(request.source) as scratch,
            ThreadPoolExecutor(1) as pool,
            contextlib.ExitStack() as stack,
        ):
            failed = threading.Event()
            built = pool.submit(self._build, request, scratch, full, failed)
            failure: Ended | None = None
            with phases("test"):
                try:
                    worker = stack.enter_context(
                        Session(self._interpreters, request.limits, scratch)
                    )
                    verdict, tested = self._test(request, worker)
                    how = full.module or construction(request.task, full.case, request.seed or 0)
                    reply = _trace(worker, full, how, built)
                    traces = worker_reports.read_traces(reply)
                    copies, fills = (
                        worker_reports.read_sizes(reply, n) for n in ("copies", "fills")
                    )
                except Ended as end:
                    failure = end
                    failed.set()
            with phases("compile"):
                builds = built.result()  # a kernel that does not compile is not worth testing
            if failure:
                raise failure
            with phases("profile"):
                worker_reports.hold_together(builds, traces)
                try:
                    estimate = model.estimate(builds, traces, self._gpu, copies=copies, fills=fills)
                except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                    raise worker_reports.forged(f"no time follows from it ({error})") from None
                proof = prove(
                    worker, request.task, full, traces, estimate.configs,
                    secret(request.source, request.seed), tested,
                )  # fmt: skip
                return self._outcome(request, verdict, estimate, proof)

    def _build(
        self, request: Request, scratch: Scratch, full: FullSize, failed: threading.Event
    ) -> list[Build]:
        """What the answer's launches consist of; nothing if the tests have failed by then."""
        with Session(self._compilers, request.limits, scratch) as worker:
            worker.ask("load", path=worker.path, source=worker.source, **self._entry(request))
            how = construction(request.task, full.case, request.seed or 0)
            arguments = full.call["arguments"]
            worker.ask("build", arguments=arguments, gpu=self._gpu.name, module=how)
            return [] if failed.is_set() else worker_reports.read_builds(worker.ask("inspect"))

    def _entry(self, request: Request) -> dict[str, Any]:
        """What a worker has to load, and the device that its host code is told of."""
        entry = request.task.entry
        return {"entry": entry.name, "kind": str(entry.kind), "gpu": self._gpu.name}

    def _test(self, request: Request, worker: Session) -> tuple[check.Verdict, dict[str, float]]:
        """Run the tests; also the largest tolerance of each dtype."""
        worker.send("load", path=worker.path, source=worker.source, **self._entry(request))
        layout = Layout()
        prepared = _prepare(request, layout)
        worker.wait()
        arena = HostArena(layout.end)
        try:
            worker.ask("open", (arena.fd,), size=arena.size)
            verdict = run_tests(worker, prepared, arena) if prepared else UNTESTED
        finally:
            arena.close()
        tolerances: dict[str, float] = {}
        for test in prepared:
            largest = max(test.expected.tolerances)
            tolerances[test.case.dtype] = max(largest, tolerances.get(test.case.dtype, 0.0))
        return verdict, tolerances

    def _outcome(
        self, request: Request, verdict: check.Verdict, estimate: model.Estimate, proof: Proof
    ) -> Outcome:
        task, case = request.task, request.task.bench[0]
        light = speed_of_light(task, case, self._gpu)
        if estimate.us < LEAST_WORK * light.floor_us:
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
        key = (task_fingerprint(task), request.baseline)
        if key not in self._baselines:
            self._baselines[key] = baseline_us(task, case, self._gpu, request.baseline, light)
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
        return Outcome(
            status=Status.CORRECT,
            message=message,
            compiled=True,
            runtime_us=runtime_us,
            runtime_low_us=runtime_us,
            runtime_high_us=runtime_us,
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


def _trace(
    worker: Session, full: FullSize, module: dict[str, Any] | None, built: Future[list[Build]]
) -> dict[str, Any]:
    """What the worker says of the call at full size."""
    resources: dict[str, Any] = {}
    if worker.ask("asked")["asked"]:  # the grid depends on what a kernel uses
        resources = {
            build.kernel: {
                "registers": build.registers, "spills": build.spill_bytes // 4,
                "shared_bytes": build.shared_bytes,
            }
            for build in built.result()
        }  # fmt: skip
    return worker.ask(
        "trace", (full.block.fd,) if full.block else (), call={**full.call, "module": module},
        size=full.size, resources=resources,
    )  # fmt: skip


def _prepare(request: Request, layout: Layout) -> list[Prepared]:
    """The task's tiny cases and some hidden ones, with what they must return."""
    if request.tested:
        return []
    seed = request.seed or 0
    cases = list(dict.fromkeys([*request.task.tiny, *test_cases(request.task, seed, tiny=True)]))
    return [
        lay_out(request.task, case, seed + index, _CPU, layout) for index, case in enumerate(cases)
    ]
