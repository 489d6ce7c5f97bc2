"""The judge of a GPU that is not here: interpret, compile offline, and model the time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from triton_gym.device import Device, gpu_named
from triton_gym.evaluation import check, simulate
from triton_gym.evaluation.arena import HostArena, Layout
from triton_gym.evaluation.judge import (
    Judge,
    Phases,
    Prepared,
    Request,
    digest,
    lay_out,
    run_tests,
    shapes,
    test_cases,
)
from triton_gym.evaluation.modules import construction
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.session import Ended, Scratch, Session
from triton_gym.evaluation.simulate.eager import baseline_us, fake_arguments
from triton_gym.evaluation.workshop import Workshop
from triton_gym.outcome import Outcome, Source, Status
from triton_gym.task import Task

_CPU = torch.device("cpu")
LEAST_WORK = 0.6
"""Share of the speed of light's time below which an estimate is no error of the model."""


class SimulatedJudge(Judge):
    """Deterministic: the same request has the same outcome."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self._gpu = gpu_named(device.gpu)
        self._compilers = Workshop("compile")
        self._interpreters = Workshop("interpret")
        self._baselines: dict[tuple[str, str], float] = {}
        torch.set_num_threads(1)

    def close(self) -> None:
        """End the nurseries."""
        self._compilers.close()
        self._interpreters.close()

    def _finish(self, outcome: Outcome, seconds: float, phases: Phases) -> Outcome:
        # A wall time would differ between equal runs.
        return outcome.replace(
            source=Source.SIMULATED, phases=tuple(sorted(phases.seconds.items()))
        )

    def _judge(self, request: Request, phases: Phases) -> Outcome:
        arguments = self._bench_arguments(request.task)
        with Scratch(request.source) as scratch, ThreadPoolExecutor(1) as pool:
            built = pool.submit(self._build, request, scratch, arguments)
            tested: tuple[check.Verdict, dict[str, Any]] | Ended
            with phases("test"):
                try:
                    tested = self._interpret(request, scratch, arguments, built)
                except Ended as end:
                    tested = end
            with phases("compile"):
                builds = built.result()  # a kernel that does not compile is not worth testing
        if isinstance(tested, Ended):
            raise tested
        verdict, traces = tested
        with phases("profile"):
            return self._estimate(request, verdict, builds, traces)

    def _bench_arguments(self, task: Task) -> list[Any]:
        """Shapes and dtypes of the timed case's arguments; no values are drawn."""
        return shapes(fake_arguments(task, task.bench[0])[1])

    def _build(self, request: Request, scratch: Scratch, arguments: list[Any]) -> dict[str, Any]:
        with Session(self._compilers, request.limits, scratch) as worker:
            worker.ask("load", path=worker.path, **self._entry(request))
            how = construction(request.task, request.task.bench[0], request.seed or 0)
            return worker.ask("build", arguments=arguments, gpu=self._gpu.name, module=how)

    def _entry(self, request: Request) -> dict[str, Any]:
        """What a worker has to load, and the device that its host code is told of."""
        entry = request.task.entry
        return {"entry": entry.name, "kind": str(entry.kind), "gpu": self._gpu.name}

    def _interpret(
        self, request: Request, scratch: Scratch, arguments: list[Any],
        built: Future[dict[str, Any]],
    ) -> tuple[check.Verdict, dict[str, Any]]:  # fmt: skip
        with Session(self._interpreters, request.limits, scratch) as worker:
            worker.send("load", path=worker.path, **self._entry(request))
            layout = Layout()
            prepared = _prepare(request, layout)
            worker.wait()
            arena = HostArena(layout.end)
            try:
                worker.ask("open", (arena.fd,), size=arena.size)
                verdict = run_tests(worker, prepared, arena)
            finally:
                arena.close()
            how = construction(request.task, request.task.bench[0], request.seed or 0)
            resources: dict[str, Any] = {}
            if worker.ask("asked")["asked"]:  # the grid depends on what a kernel uses
                resources = {
                    build["kernel"]: {
                        "registers": build["registers"], "spills": build["spill_bytes"] // 4,
                        "shared_bytes": build["shared_bytes"],
                    }
                    for build in built.result()["builds"]
                }  # fmt: skip
            return verdict, worker.ask(
                "trace", arguments=arguments, module=how, resources=resources
            )

    def _estimate(
        self, request: Request, verdict: check.Verdict, builds: dict[str, Any],
        traces: dict[str, Any],
    ) -> Outcome:  # fmt: skip
        task, case = request.task, request.task.bench[0]
        estimate = simulate.estimate(builds, traces, self._gpu)
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
        # The model's error must not read as a kernel beyond the speed of light.
        runtime_us = max(estimate.us, light.floor_us)
        key = (digest(task), request.baseline)
        if key not in self._baselines:
            self._baselines[key] = baseline_us(task, case, self._gpu, request.baseline, light)
        baseline = self._baselines[key]
        return Outcome(
            status=Status.CORRECT,
            message=f"Correct. {estimate.describe()}",
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
            coverage=1.0,
            registers=estimate.registers,
            spills=estimate.spills,
            shared_bytes=estimate.shared_bytes,
        )


def _prepare(request: Request, layout: Layout) -> list[Prepared]:
    """The task's tiny cases and some hidden ones, with what they must return."""
    seed = request.seed or 0
    cases = list(dict.fromkeys([*request.task.tiny, *test_cases(request.task, seed, tiny=True)]))
    return [
        lay_out(request.task, case, seed + index, _CPU, layout) for index, case in enumerate(cases)
    ]
