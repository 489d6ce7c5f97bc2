"""Records an answer's calls for the judge of a GPU, which answers what host code asks meanwhile."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from triton_gym.evaluation.backends.cuda.bench import Bench
from triton_gym.evaluation.backends.cuda.blocks import Block, BlockPool
from triton_gym.evaluation.backends.cuda.device_timing import Flush
from triton_gym.evaluation.backends.cuda.inputs import InputSet
from triton_gym.evaluation.backends.cuda.margins import STILL, Margins, fill
from triton_gym.evaluation.backends.cuda.measurement import Measurement
from triton_gym.evaluation.backends.cuda.orders import Program
from triton_gym.evaluation.backends.cuda.programs import Prepared, prepare
from triton_gym.evaluation.backends.cuda.stage import Stage
from triton_gym.evaluation.backends.cuda.testing import Test
from triton_gym.evaluation.compiling.compiler import Compiler
from triton_gym.evaluation.compiling.service import CompileService
from triton_gym.evaluation.judging.case_layout import lay_out_arguments, place
from triton_gym.evaluation.judging.judge import Request
from triton_gym.evaluation.judging.returned import Form
from triton_gym.evaluation.judging.sharing import GpuLock
from triton_gym.evaluation.modules import bind, init_seed, state_of
from triton_gym.evaluation.plan.messages import (
    Build,
    Compile,
    Compiled,
    DeviceFacts,
    EntryKind,
    Load,
    Look,
    Partial,
    Record,
    State,
    Time,
    Uncompiled,
)
from triton_gym.evaluation.plan.plan import Plan
from triton_gym.evaluation.plan.step import Buffer, BufferKind, Launch
from triton_gym.evaluation.plan.window import PARAMETERS, SCRATCH
from triton_gym.evaluation.recording.session import CaseEntangled, RecorderSession
from triton_gym.evaluation.trees import Leaf, flatten
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.task import Case, Kind

TUNING_MS = 3.0
"""Device time to spend on each configuration of an autotuned kernel where speed counts."""
STATE_ALIGN = 16


@dataclass(slots=True)
class Setting:
    """What recordings of one evaluation need."""

    request: Request
    scratch: Scratch
    stage: Stage
    compiler: Compiler
    threads: Executor
    pool: WorkerPool
    """Of recorders."""
    blocks: BlockPool
    facts: DeviceFacts
    lock: GpuLock
    seed: int


class Recording:
    """One recorder of the evaluation's answer; a context manager.

    Args:
        setting: of the evaluation.
        case: which the answer's module is built for; of no account for a function.
    """

    def __init__(self, setting: Setting, case: Case) -> None:
        self._setting, self._timed = setting, False
        self._task = bind(setting.request.task, case, setting.seed, None)
        self._inputs: InputSet | None = None
        self._closed = False
        self.parameters: Block | None = None
        """Where the state of the reference's module lies."""
        request = setting.request
        self._compiling = CompileService(
            setting.compiler, setting.threads, setting.facts.shared_bytes
        )
        self._session = Session(setting.pool, request.limits, setting.scratch)
        self._session.__enter__()
        self._recorder = RecorderSession(self._session, self)
        try:
            self._load(case)
        except BaseException:
            self.close()
            self.release()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def interrupt(self) -> None:
        """End the process, whatever it does."""
        self._session.close()

    def close(self) -> None:
        """End the recorder; the parameters stay until `release`."""
        self._session.close()
        if not self._closed:
            self._closed = True
            self._recorder.close()

    def release(self) -> None:
        """Give the parameters' memory back."""
        if self.parameters:
            self._setting.blocks.give_back(self.parameters)
            self.parameters = None

    def record(self, case: Case, inputs: InputSet, *, timed: bool) -> Plan:
        """The plan of a case. Its kernels may still be compiling.

        Args:
            case: which it is.
            inputs: what the answer is called on.
            timed: whether autotuned kernels are tuned in earnest.

        Raises:
            Ended: the answer failed.
            CaseEntangled: it must be recorded by a recorder of its own.
        """
        self._inputs, self._timed = inputs, timed
        layout = inputs.layout
        return self._recorder.record(Record(str(case)[:512], layout.arguments, layout.buffers))

    def prepared(self, plan: Plan, case: Case, inputs: InputSet) -> Prepared:
        """A plan with its machine code, ready for a runner.

        Raises:
            Ended: a kernel does not compile, or the answer returned something else.
        """
        task = self._setting.request.task
        artifacts = {
            kernel.artifact: self._compiling.artifact(kernel.artifact) for kernel in plan.kernels
        }
        form = Form(inputs.form, task.same_strides, task.entry.name, str(case))
        return prepare(plan, artifacts, self._blobs(plan.blob_bytes), form)

    # What the recorder asks.

    def compile(self, request: Compile) -> None:
        """Begin to compile a kernel."""
        self._compiling.compile(request)

    def compiled(self, artifact: int, *, texts: bool) -> Compiled | Uncompiled:
        """Wait for a kernel."""
        return self._compiling.compiled(artifact, texts=texts)

    def look(self, question: Look) -> bytes:
        """Bytes of device memory after what was recorded so far."""
        inputs, program, size = self._so_far(question.so_far)
        stage = self._setting.stage
        leased = stage.lease(program, self.parameters, "a call that reads values")
        with (
            stage.scratch(size, same=True) as (block,),
            leased as lease,
            self._setting.lock(alone=False),
        ):
            return lease.look(inputs, block, question.address, question.nbytes)

    def time(self, question: Time) -> tuple[float, ...]:
        """Seconds of each alternative."""
        inputs, program, size = self._so_far(question.so_far)
        stage, kernels = self._setting.stage, question.so_far.kernels
        for steps in question.alternatives:
            for step in steps:
                if isinstance(step, Launch):
                    number = kernels[step.kernel].artifact
                    program.artifacts[number] = self._compiling.artifact(number)
        leased, lock = stage.lease(program, self.parameters, "tuning"), self._setting.lock
        with stage.scratch(size, same=True) as (block,), leased as lease, lock(alone=self._timed):
            return lease.alternatives(
                inputs, block, question.alternatives, kernels, program,
                quick=not self._timed, budget_ms=TUNING_MS,
            )  # fmt: skip

    def _so_far(self, partial: Partial) -> tuple[InputSet, Program, int]:
        if self._inputs is None:
            raise RuntimeError("nothing is recorded")
        artifacts = {}
        for step in (*partial.before, *partial.steps):
            if isinstance(step, Launch):
                number = partial.kernels[step.kernel].artifact
                artifacts[number] = self._compiling.artifact(number)
        end = max(
            (b.end for b in partial.buffers if b.kind is BufferKind.SCRATCH), default=SCRATCH.start
        )
        program = Program(
            partial.buffers, partial.kernels, artifacts, partial.before, partial.steps, (),
            self._blobs(partial.blob_bytes),
        )  # fmt: skip
        return self._inputs, program, end - SCRATCH.start

    def _blobs(self, nbytes: int) -> bytes:
        return self._recorder.blobs.read(0, nbytes)

    # Its beginning.

    def _load(self, case: Case) -> None:
        setting, task = self._setting, self._setting.request.task
        module = task.entry.kind == Kind.MODULE
        self._recorder.load(
            Load(
                setting.scratch.path, setting.request.source, task.entry.name,
                EntryKind.MODULE if module else EntryKind.FUNCTION, setting.facts,
                init_seed(setting.seed), self._recorder.blobs.size,
            )
        )  # fmt: skip
        if module:
            self._build(case)

    def _build(self, case: Case) -> None:
        task, held = self._setting.request.task, state_of(self._task)
        values = [value.contiguous() for _, value in held]
        views = place([Leaf.of(value) for value in values], PARAMETERS.start)
        file = os.memfd_create("state", os.MFD_CLOEXEC)
        try:
            end, states, kind = 0, [], BufferKind.PARAMETER
            for (name, _), value, view in zip(held, values, views, strict=True):
                data = value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b""
                written = 0
                while written < len(data):
                    written += os.pwrite(file, data[written:], end + written)
                states.append(State(name, view, end))
                end += -(-max(len(data), 1) // STATE_ALIGN) * STATE_ALIGN
            os.ftruncate(file, max(end, 1))
            if views:
                last = max(view.extent[1] for view in views)
                block = self._setting.blocks.take(last - PARAMETERS.start)
                self.parameters = block
                laid = [
                    Buffer(n, view.address, max(1, view.extent[1] - view.address), kind)
                    for n, view in enumerate(views)
                ]
                block.margins = Margins.around(laid, PARAMETERS.start, block.nbytes)
                fill(block.bytes(), block.margins, STILL)
                for value, view in zip(values, views, strict=True):
                    block.view(view, PARAMETERS.start).copy_(value)
                torch.cuda.current_stream().synchronize()
            arguments = lay_out_arguments(flatten(tuple(task.init(case)))[1]).arguments
            seed = init_seed(self._setting.seed)
            build = Build(arguments, seed, case.dtype, tuple(states), end)
            self._recorder.build(build, file)
        finally:
            os.close(file)


class Recordings:
    """The recorders of one evaluation; a context manager. They start as soon as it is entered.

    Args:
        setting: of the evaluation.
        most: how many recorders work side by side.
        cases: the timed case, then the hidden ones.
    """

    def __init__(self, setting: Setting, most: int, cases: list[Case]) -> None:
        self._setting = setting
        self._threads = ThreadPoolExecutor(most)
        self._bench: Recording | None = None
        self._prepared: Prepared | None = None
        self._open: list[Recording] = []
        # A module is built for its case: each needs a recorder of its own.
        module = setting.request.task.entry.kind == Kind.MODULE
        self._groups = len(cases) if module else min(most, len(cases))
        self._begun = [self._threads.submit(self._opened, case) for case in cases[: self._groups]]

    def __enter__(self) -> Recordings:
        return self

    def __exit__(self, *exc: object) -> None:
        # Nobody waits for what is recorded yet, if one case has failed.
        for recording in list(self._open):
            recording.interrupt()
        self._threads.shutdown(cancel_futures=True)
        for recording in self._open:
            recording.close()
            recording.release()

    def record(self, tests: list[Test], bench: Bench) -> None:
        """Record the timed case and the hidden ones, in the order of `cases`.

        Raises:
            Ended: the answer failed.
        """
        jobs: list[Test | Bench] = [bench, *tests]
        parts = [jobs[start :: self._groups] for start in range(self._groups)]
        doing = [
            self._threads.submit(self._record, begun, part)
            for begun, part in zip(self._begun, parts, strict=True)
        ]
        for done in doing:
            done.result()

    def measure(self, bench: Bench, flush: Flush) -> tuple[Measurement, float, Prepared]:
        """Time the answer on its timed case; also its share in own kernels, and its plan.

        Raises:
            Ended: a call failed, or a result is wrong.
        """
        recording, prepared = self._bench, self._prepared
        if recording is None or prepared is None:
            raise RuntimeError("the timed case was not recorded")
        stage, parameters = self._setting.stage, recording.parameters
        if prepared.reads:

            def record(inputs: InputSet) -> Prepared:
                plan = recording.record(bench.case, inputs, timed=True)
                return recording.prepared(plan, bench.case, inputs)

            return bench.measure_one_by_one(prepared, record, parameters, stage, flush)
        return *bench.measure(prepared, parameters, stage, flush), prepared

    def _record(self, begun: Future[Recording], jobs: list[Test | Bench]) -> None:
        """Record some cases with one recorder; their kernels compile meanwhile."""
        recording = begun.result()
        recorded = []
        for job in jobs:
            timed = isinstance(job, Bench)
            try:
                plan = recording.record(job.case, job.first, timed=timed)
            except CaseEntangled:
                recording = self._opened(job.case)
                plan = recording.record(job.case, job.first, timed=timed)
            recorded.append((job, recording, plan))
        for job, recorder, plan in recorded:
            prepared = recorder.prepared(plan, job.case, job.first)
            if isinstance(job, Bench):
                self._bench, self._prepared = recorder, prepared
            else:
                job.prepared, job.parameters = prepared, recorder.parameters

    def _opened(self, case: Case) -> Recording:
        torch.cuda.set_device(self._setting.blocks.device)
        recording = Recording(self._setting, case)
        self._open.append(recording)
        return recording
