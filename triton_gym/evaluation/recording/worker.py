"""The process that runs one answer's host code and records it: hostile ground from `Load` on.

It has no device. It obeys the judge's requests until it is killed; what it answers is read with
suspicion (`plan.codec`, `plan.plan.validate`), and nothing else that it does has any effect.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import mmap
import random
import sys
from typing import Any

import numpy as np
import torch

from triton_gym.evaluation import modules
from triton_gym.evaluation.exchange.channel import Channel, ChannelClosed
from triton_gym.evaluation.plan.messages import (
    Build,
    Built,
    Entangled,
    EntryKind,
    Failed,
    FromJudge,
    Load,
    Loaded,
    Record,
    Recorded,
    pack,
    unpack,
)
from triton_gym.evaluation.plan.plan import HOST_BYTES, STEPS, Call
from triton_gym.evaluation.plan.step import BufferKind
from triton_gym.evaluation.plan.value import Value
from triton_gym.evaluation.recording import plans, standin, values
from triton_gym.evaluation.recording.failures import Failure, TooManySteps, TooMuchRead, failure
from triton_gym.evaluation.recording.host import Host
from triton_gym.evaluation.recording.memory import ImportEnded, Memory
from triton_gym.evaluation.recording.recorder import Recorder
from triton_gym.evaluation.recording.remote import Blobs, Remote
from triton_gym.evaluation.workers.answer import import_answer
from triton_gym.evaluation.workers.failure import line_at
from triton_gym.evaluation.workers.sandbox import Sandbox, enter
from triton_gym.outcome import Status


def prepare() -> None:
    """Load all that recording loads on first use, before the fork server forks."""
    torch.set_num_threads(1)
    from triton_gym.evaluation.recording import warm

    warm.warm()


def main(channel: Channel, sandbox: Sandbox) -> None:
    """Serve the judge until it hangs up."""
    recording: Recording | None = None
    while True:
        try:
            request = channel.receive()
        except ChannelClosed:
            return
        if request.get("op") == "enter":
            request.pop("op")
            channel.send(enter(sandbox, **request))
            continue
        files = request.get("fds", [])
        message = unpack(FromJudge, request)
        if isinstance(message, Load):
            recording = Recording(channel, message, files[0])
        if recording is None:
            raise RuntimeError("A recorder was asked before it had an answer.")
        try:
            answer = recording.obey(message, files)
        except Failure as failed:
            answer = failed.message
        except ChannelClosed:
            return
        except Exception as error:  # in the recorder's own code, whoever broke it
            text = f"The process that ran the answer failed: {type(error).__name__}: {error}"
            answer = Failed(Status.RUNTIME_ERROR, text[:3000])
        channel.send(pack(answer))


class Recording:
    """A session about one answer.

    Args:
        channel: to the judge.
        load: the first request.
        blobs: file of the blobs.
    """

    def __init__(self, channel: Channel, load: Load, blobs: int) -> None:
        self._load = load
        self._blobs = Blobs(blobs, load.blob_bytes)
        self._remote = Remote(channel, self._blobs)
        self._recorder = Recorder(self._remote, load.device, load.path)
        self._remote.uses_setup = lambda: bool(self._recorder.used_sections & self._setup_sections)
        self._host = Host(self._recorder, patient=_catches(load.source))
        self._entry: Any = None
        self._setup_sections: set[int] = set()
        self._parameters: list[Memory] = []

    def obey(self, message: Any, files: list[int]) -> Any:
        """Carry out a request."""
        if isinstance(message, Load):
            return self._import()
        if isinstance(message, Build):
            return self._build(message, files[0] if files else -1)
        if isinstance(message, Record):
            return self._record(message)
        raise RuntimeError(f"A recorder was asked for {type(message).__name__}.")

    # Import and construction.

    def _import(self) -> Loaded:
        _seed(self._load.seed)
        self._recorder.importing = self._remote.postponed = True
        try:
            with self._guarded(Status.COMPILE_ERROR, ""), self._host.running():
                module, stopped = _imported(self._load)
        finally:
            self._recorder.importing = self._remote.postponed = False
        self._host.tuner.forget()
        self._close_section()
        found = getattr(module, self._load.entry, None)
        defined = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        wanted = "class" if self._load.kind is EntryKind.MODULE else "function"
        if not callable(found):
            raise Failure(
                Status.COMPILE_ERROR,
                f"The module must define a {wanted} named {self._load.entry!r}; it defines "
                f"{', '.join(defined) or 'none'}{stopped}.",
            )
        if wanted == "class" and not (
            isinstance(found, type) and issubclass(found, torch.nn.Module)
        ):
            raise Failure(
                Status.COMPILE_ERROR,
                f"{self._load.entry} must be a class that inherits from torch.nn.Module.",
            )
        self._entry = found
        return Loaded(tuple(name[:500] for name in defined[:4000]))

    def _build(self, build: Build, file: int) -> Built:
        state = self._state(build, file)
        init = values.made(self._recorder, build.init)
        with self._guarded(Status.RUNTIME_ERROR, ""), self._host.running(), torch.no_grad():
            with torch.enable_grad():
                module = modules.build(
                    self._entry, tuple(init), build.seed, build.dtype, standin.CUDA
                )
            missing = modules.load_state(module, state)
        self._entry = module
        self._close_section()
        return Built(tuple(missing))

    def _state(self, build: Build, file: int) -> list[tuple[str, torch.Tensor]]:
        """The reference's parameters and buffers: on the device, and known."""
        if not build.state:
            return []
        mapped = mmap.mmap(file, build.state_bytes, mmap.MAP_PRIVATE)
        whole = torch.frombuffer(mapped, dtype=torch.uint8)
        made = []
        for state in build.state:
            view = state.view
            memory = self._recorder.lay(view.address, max(view.nbytes, 1), BufferKind.PARAMETER)
            length = -(-max(view.nbytes, 1) // 16) * 16
            memory.know(whole[state.offset :][:length], borrowed=True, dirty=False)
            self._parameters.append(memory)
            dtype = getattr(torch, view.dtype)
            made.append((
                state.name,
                self._recorder.tensor_in(memory, dtype, view.shape, view.strides, view.address),
            ))  # fmt: skip
        return made

    def _close_section(self) -> None:
        """Steps so far are the setup."""
        self._setup_sections.add(self._recorder.section)
        self._remote.setup = (*self._remote.setup, *self._remote.steps)
        self._begin_section()

    def _begin_section(self) -> None:
        self._remote.steps = []
        self._recorder.section += 1
        self._recorder.used_sections = set()

    # Calls.

    def _record(self, record: Record) -> Recorded:
        recorder = self._recorder
        self._begin_section()
        laid = [recorder.lay(b.address, b.nbytes, b.kind) for b in record.buffers]
        start = recorder.moment
        section = recorder.section
        used: set[int] = set()
        calls = []
        for _ in range(2):
            _seed(self._load.seed)
            self._remote.steps = []
            calls.append(self._call(record))
            self._remote.first = calls[0].steps
            used |= recorder.used_sections
        self._remote.first = ()
        for memory in laid:
            recorder.unlay(memory)
        own = {memory.section for memory in (*laid, *self._parameters)} | {section}
        if used - own - self._setup_sections:
            raise Failure.of(Entangled())
        setup = self._remote.setup if used & self._setup_sections else ()
        plan = plans.assemble(self._remote, setup, calls[0], calls[1], start, self._blobs.end)
        for kernel in plan.kernels:
            self._remote.send(kernel.artifact)
        return Recorded(plan)

    def _call(self, record: Record) -> Call:
        recorder = self._recorder
        with self._guarded(Status.RUNTIME_ERROR, record.case):
            with self._host.running(), torch.no_grad():
                arguments = values.made(recorder, record.arguments)
                result = self._entry(*arguments)
                del arguments
            self._host.tuner.resolve()
            value: Value = values.told(recorder, result, self._blobs.put)
            if len(self._remote.steps) > STEPS:
                raise TooManySteps(len(self._remote.steps))
            call = Call(tuple(self._remote.steps), value)
            if call.reads and max(call.host_bytes) > HOST_BYTES:
                raise TooMuchRead(call.host_bytes)
        recorder.moment += 1
        del result
        gc.collect(0)
        return call

    @contextlib.contextmanager
    def _guarded(self, status: Status, case: str) -> Any:
        """Inside, host code runs; whatever it raises becomes a `Failure`."""
        try:
            yield
        except Failure:
            raise
        except BaseException as error:  # an answer may raise anything, SystemExit included
            raise failure(status, error, self._load.path, case) from None


def _imported(load: Load) -> tuple[Any, str]:
    """The answer's module, as far as its import went before it only tested itself; and where that
    was, as a part of a sentence."""
    try:
        return import_answer(load.path, load.source), ""
    except ImportEnded as end:
        told = (
            f" before its import ended{line_at(load.path, end.line)}, which looks at what a kernel "
            "or PyTorch computed"
        )
        return sys.modules["answer"], told


def _catches(source: str) -> bool:
    """Whether host code may catch an exception, and so find out whether a kernel compiles."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return any(
        isinstance(node, (ast.Try, ast.TryStar))
        or (isinstance(node, (ast.Name, ast.Attribute)) and _name(node) in _CATCHING)
        for node in ast.walk(tree)
    )


_CATCHING = frozenset({"suppress", "OutOfResources", "ExitStack"})


def _name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
