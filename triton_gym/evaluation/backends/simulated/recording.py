"""Records an answer's calls for the judge of a simulated device, and answers its host code."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch

from triton_gym.device import Gpu
from triton_gym.evaluation.backends.simulated.client import Interpreter
from triton_gym.evaluation.backends.simulated.facts import facts_of
from triton_gym.evaluation.backends.simulated.pricing import build_of, price
from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.compiling.compiler import Compiler
from triton_gym.evaluation.compiling.service import CompileService
from triton_gym.evaluation.judging.case_layout import CaseLayout, lay_out_arguments, place
from triton_gym.evaluation.judging.judge import Request
from triton_gym.evaluation.modules import bind, init_seed, state_of
from triton_gym.evaluation.plan.messages import (
    Build,
    Compile,
    Compiled,
    EntryKind,
    Load,
    Look,
    Record,
    State,
    Time,
    Uncompiled,
)
from triton_gym.evaluation.plan.plan import Plan
from triton_gym.evaluation.plan.step import Launch, Step
from triton_gym.evaluation.plan.window import PARAMETERS
from triton_gym.evaluation.recording.session import RecorderSession
from triton_gym.evaluation.simulate.machine_code.build import Build as MachineCode
from triton_gym.evaluation.trees import Leaf, flatten
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import Status
from triton_gym.task import Case, Kind

MOST_TIMED = 24
"""Configurations of an autotuned kernel that are looked at, in the order of its list."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What recordings of one evaluation need."""

    request: Request
    scratch: Scratch
    gpu: Gpu
    recorders: WorkerPool
    interpreters: WorkerPool
    compiler: Compiler
    threads: Executor
    seed: int
    secret: int
    """Decides which programs are looked at."""


class Zone:
    """The memory that arguments lie in, which cases take in turns.

    Args:
        file: the memory, if it is there: its descriptor and size.
        private: whether what kernels write to arguments is to stay out of the file.
    """

    def __init__(self, file: tuple[int, int] | None = None, *, private: bool = False) -> None:
        self._file, self.private = file, private
        self._turn = 0
        self._closed = False
        self._changed = threading.Condition()

    def place(self, file: tuple[int, int]) -> None:
        """Tell where the memory is."""
        with self._changed:
            self._file = file
            self._changed.notify_all()

    def advance(self) -> None:
        """The inputs of another case lie there now."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

    def close(self) -> None:
        """No case will come any more: who waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def file(self) -> tuple[int, int]:
        """Wait for the memory: its descriptor and size."""
        self._wait(lambda: self._file is not None)
        return self._file or (-1, 0)

    def wait(self, turn: int) -> None:
        """Wait until the inputs of a case lie there."""
        self._wait(lambda: self._turn >= turn)

    def _wait(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or ready())
            if self._closed:
                raise Ended(Status.RUNTIME_ERROR, "The evaluation is over.")


class Recording:
    """One recorder of the answer and one interpreter beside it; a context manager.

    Args:
        setting: of the evaluation.
        case: which the answer's module is built for; of no account for a function.
        zone: where arguments lie.
        full: whether it is the timed case, which is compiled, and run in part.
        seed: that a module is built with.
    """

    def __init__(self, setting: Setting, case: Case, zone: Zone, *, full: bool, seed: int) -> None:
        self._setting, self._full, self._zone = setting, full, zone
        self._turn = 0
        self._mapped = False
        self._requests: dict[int, Compile] = {}
        self._begun: set[int] = set()
        self._compiling = CompileService(
            setting.compiler, setting.threads, setting.gpu.shared_bytes
        )
        limits, scratch = setting.request.limits, setting.scratch
        self._worker = Session(setting.recorders, limits, scratch)
        self._worker.__enter__()
        self._recorder = RecorderSession(self._worker, self)
        self._reader = Session(setting.interpreters, limits, scratch)
        self.interpreter = Interpreter(self._reader, setting.gpu.multiprocessors, setting.secret)
        try:
            self._reader.__enter__()
            self._load(case, seed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End both."""
        self._worker.close()
        self._reader.close()
        self._recorder.close()

    def kill(self) -> None:
        """End both processes, whoever waits for them."""
        self._worker.kill()
        self.interpreter.kill()

    def _map(self, parameters: tuple[int, int] | None = None) -> None:
        """Have the interpreter map its memory."""
        if not self._mapped:
            self._mapped = True
            blobs, arguments = self._recorder.blobs.fd, self._zone.file()
            self.interpreter.open(blobs, arguments, parameters, private=self._zone.private)

    def record(self, case: Case, layout: CaseLayout, turn: int = 0) -> Plan:
        """The plan of a case.

        Args:
            case: the case.
            layout: of its arguments.
            turn: from which turn of the zone on its inputs lie there.

        Raises:
            Ended: the answer failed, or has a kernel that cannot be interpreted.
            CaseEntangled: it must be recorded by a recorder of its own.
        """
        self._turn = turn
        self._map()
        return self._recorder.record(Record(str(case)[:512], layout.arguments, layout.buffers))

    def blob(self, offset: int, nbytes: int) -> bytes:
        """Bytes that host code made."""
        return self._recorder.blobs.read(offset, nbytes)

    def build(self, index: int, config: str, step: Launch, plan: Plan) -> MachineCode:
        """The machine code of a launch.

        Raises:
            Ended: it does not compile, or does not fit on the device.
        """
        return build_of(index, config, step, plan.kernels[step.kernel], self.artifact(step, plan))

    def artifact(self, step: Launch, plan: Plan) -> Artifact:
        """What a launch was compiled to.

        Raises:
            Ended: see `build`.
        """
        compiled = plan.kernels[step.kernel].artifact
        self._begin(compiled)
        return self._compiling.artifact(compiled)

    # What the recorder asks.

    def compile(self, request: Compile) -> None:
        """Note a kernel; compile it if its speed counts."""
        if str(request.dialect) != "ttir":
            raise Ended(
                Status.COMPILE_ERROR,
                f"{request.name} is written in Gluon, which the simulated device cannot interpret. "
                "That is a limit of the simulator: a GPU can run it.",
            )
        self._requests[request.artifact] = request
        self.interpreter.know(request.artifact, request.text)
        if self._full:
            self._begin(request.artifact)

    def _begin(self, artifact: int) -> None:
        if artifact not in self._begun:
            self._begun.add(artifact)
            self._compiling.compile(self._requests[artifact])

    def compiled(self, artifact: int, *, texts: bool) -> Compiled | Uncompiled:
        """Wait for a kernel."""
        self._begin(artifact)
        return self._compiling.compiled(artifact, texts=texts)

    def look(self, question: Look) -> bytes:
        """Bytes in memory after what was recorded so far."""
        self._zone.wait(self._turn)
        return self.interpreter.look(
            question.so_far, question.address, question.nbytes, whole=not self._full
        )

    def time(self, question: Time) -> tuple[float, ...]:
        """Seconds of each alternative, by the model; tests are content with the first."""
        if not self._full:
            return tuple(1.0 + number for number in range(len(question.alternatives)))
        asked = question.alternatives[:MOST_TIMED]
        names = [str(number) for number in range(len(asked))]
        traced = self.interpreter.follow(question.so_far, asked, names)
        found = []
        for steps, traces in zip(asked, traced, strict=True):
            seconds = math.inf
            if not isinstance(traces, str):
                seconds = self._seconds(steps, question, traces)
            found.append(seconds)
        if all(map(math.isinf, found)):
            raise Ended(Status.RUNTIME_ERROR, _worst(traced))
        rest = len(question.alternatives) - len(asked)
        return (*found, *[math.inf] * rest)

    def _seconds(self, steps: Sequence[Step], question: Time, traces: list) -> float:  # type: ignore[type-arg]
        builds = []
        launches = [step for step in steps if isinstance(step, Launch)]
        try:
            for step, trace in zip(launches, traces, strict=True):
                kernel = question.so_far.kernels[step.kernel]
                self._begin(kernel.artifact)
                artifact = self._compiling.artifact(kernel.artifact)
                builds.append(build_of(trace.index, trace.config, step, kernel, artifact))
        except Ended:
            return math.inf
        return price(builds, traces, steps, self._setting.gpu).us / 1e6

    # Its beginning.

    def _load(self, case: Case, seed: int) -> None:
        setting, task = self._setting, self._setting.request.task
        module = task.entry.kind == Kind.MODULE
        self._recorder.load(
            Load(
                setting.scratch.path, setting.request.source, task.entry.name,
                EntryKind.MODULE if module else EntryKind.FUNCTION, facts_of(setting.gpu),
                init_seed(setting.seed), self._recorder.blobs.size,
            )
        )  # fmt: skip
        if module:
            self._build(case, seed)

    def _build(self, case: Case, seed: int) -> None:
        """Have the answer's module made, with the reference's state, which lies as a file."""
        task = self._setting.request.task
        held = state_of(bind(task, case, seed))
        values = [value.contiguous() for _, value in held]
        views = place([Leaf.of(value) for value in values], PARAMETERS.start)
        size = max((view.extent[1] - PARAMETERS.start for view in views), default=0)
        file = os.memfd_create("state", os.MFD_CLOEXEC)
        try:
            os.ftruncate(file, max(size, 1))
            states = []
            for (name, _), value, view in zip(held, values, views, strict=True):
                offset = view.address - PARAMETERS.start
                if value.numel():
                    data = value.reshape(-1).view(torch.uint8).numpy().data
                    written = 0
                    while written < len(data):
                        written += os.pwrite(file, data[written:], offset + written)
                states.append(State(name, view, offset))
            self._map((file, max(size, 1)))
            init = lay_out_arguments(flatten(tuple(task.init(case)))[1]).arguments
            build = Build(init, init_seed(seed), case.dtype, tuple(states), max(size, 1))
            self._recorder.build(build, file)
        finally:
            os.close(file)


def _worst(traced: Sequence[object]) -> str:
    told = [text for text in traced if isinstance(text, str)]
    return told[0] if told else "No configuration of the autotuned kernel compiles."
