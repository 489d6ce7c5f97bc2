"""Answers recorded by a worker, for many tests."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import ml_dtypes
import numpy as np
import pytest
import torch

from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.lower import lower
from triton_gym.evaluation.plan.messages import (
    Build,
    Compiled,
    DeviceFacts,
    EntryKind,
    Load,
    Record,
    State,
)
from triton_gym.evaluation.plan.step import Buffer, BufferKind, Copy, Fill, Gather, Upload
from triton_gym.evaluation.plan.value import (
    DeviceTensor,
    Plain,
    Sequence,
    SequenceKind,
    device_tensors,
)
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ARGUMENTS, PARAMETERS, SCRATCH
from triton_gym.evaluation.recording.session import RecorderSession
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool

FACTS = DeviceFacts(
    "NVIDIA H200", 90, 132, 140 << 30, 50 << 20, 232448, 233472, 65536, 2048, 1980000, 3201000, 6144
)


PITCH = 1 << 20
"""Bytes from one argument to the next."""


class Services:
    """Serves a recorder without a GPU: values that are looked at are given beforehand."""

    def __init__(self, values: bytes = b"", seconds=None):
        self.values = values
        self.seconds = seconds or {}
        self.requests = {}
        self.looks, self.timed = [], []

    def compile(self, request):
        self.requests[request.artifact] = request

    def compiled(self, artifact, *, texts):
        request = self.requests[artifact]
        options = {
            o.name: o.value.number if o.value.kind != "none" else None
            for o in request.options
            if o.value.kind not in ("text",)
        }
        made = lower(request.text, options, Target(90), 60.0)
        shown = tuple(made.texts.items()) if texts else ()
        data = made.metadata
        return Compiled(
            data["name"],
            32,
            0,
            data["shared"],
            data["num_warps"],
            1024,
            data["global_scratch_size"] or 0,
            data["global_scratch_align"] or 1,
            shown,
        )

    def look(self, question):
        self.looks.append(question)
        return (self.values + bytes(question.nbytes))[: question.nbytes]

    def time(self, question):
        self.timed.append(question)
        return tuple(
            self.seconds.get(index, 1.0 + index) for index in range(len(question.alternatives))
        )


def argument(number, tensor, start):
    """Where a tensor is laid, and how it is told."""
    address = start + number * PITCH
    if isinstance(tensor, torch.Tensor):
        nbytes = tensor.untyped_storage().nbytes()
        view = View(
            str(tensor.dtype)[6:],
            address + tensor.storage_offset() * tensor.itemsize,
            tuple(tensor.shape),
            tensor.stride(),
        )
        return Buffer(number, address, max(nbytes, 1), BufferKind.ARGUMENT), DeviceTensor(view)
    return None, Plain.of(tensor)


class Recordings:
    """Records answers in workers of one pool."""

    def __init__(self, pool):
        self._pool = pool

    moved = staticmethod(lambda *args: moved(*args))
    build = staticmethod(lambda *args: build(*args))
    services = Services

    @contextlib.contextmanager
    def session(self, source, entry, kind=EntryKind.FUNCTION, services=None):
        with Scratch(source) as scratch, Session(self._pool, Limits(), scratch) as worker:
            recorder = RecorderSession(worker, services or Services())
            try:
                size = recorder.blobs.size
                recorder.load(Load(worker.path, source, entry, kind, FACTS, 7, size))
                yield recorder
            finally:
                recorder.close()

    def record(self, recorder, *arguments, case="a case"):
        laid = [argument(n, a, ARGUMENTS.start) for n, a in enumerate(arguments)]
        buffers = tuple(dataclasses.replace(b, id=n) for n, b in enumerate(b for b, _ in laid if b))
        values = Sequence(SequenceKind.TUPLE, tuple(value for _, value in laid))
        return recorder.record(Record(case, values, buffers))

    def plan(self, source, entry, *arguments, services=None):
        with self.session(source, entry, services=services) as recorder:
            return self.record(recorder, *arguments)


def build(recorder, module, init=(), dtype="float32"):
    """Have a module made with the state of another."""
    states, data = [], bytearray()
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        raw = value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        offset = len(data)
        data += raw + bytes(-len(raw) % 512)
        view = View(
            str(value.dtype)[6:], PARAMETERS.start + offset, tuple(value.shape), value.stride()
        )
        states.append(State(name, view, offset))
    file = os.memfd_create("state")
    os.write(file, data)
    made = Sequence(SequenceKind.TUPLE, tuple(Plain.of(v) for v in init))
    try:
        return recorder.build(Build(made, 3, dtype, tuple(states), max(len(data), 1)), file)
    finally:
        os.close(file)


def moved(plan, blobs, *arguments):
    """What the results of a plan are whose kernels do nothing."""
    memory = Memory(plan, blobs, *arguments)
    return [memory.array(tensor.view) for tensor in device_tensors(plan.call.result)]


@pytest.fixture(scope="session")
def recordings():
    pool = WorkerPool("record")
    pool.wait_ready()
    yield Recordings(pool)
    pool.close()


class Memory:
    """Device memory of a plan on the host, where its movement is carried out."""

    def __init__(self, plan, blobs, *arguments):
        self._zones = {
            zone.start: np.full(8 << 20, 0xA5, np.uint8)
            for zone in (ARGUMENTS, PARAMETERS, SCRATCH)
        }
        self._blobs = blobs
        for number, tensor in enumerate(arguments):
            flat = tensor.untyped_storage()
            data = np.frombuffer(bytes(flat), np.uint8)
            self._zones[ARGUMENTS.start][number * PITCH :][: len(data)] = data
        for step in (*plan.setup, *plan.first.steps, *plan.call.steps):
            self.move(step)

    def array(self, view):
        start = max(zone for zone in self._zones if zone <= view.address)
        dtype = np.dtype(getattr(ml_dtypes, view.dtype, view.dtype))
        steps = tuple(stride * dtype.itemsize for stride in view.strides)
        return np.ndarray(view.shape, dtype, self._zones[start], view.address - start, steps)

    def move(self, step):
        if isinstance(step, Copy):
            self.array(step.dst)[...] = self.array(step.src).astype(self.array(step.dst).dtype)
        elif isinstance(step, Gather):
            self.array(step.dst)[...] = np.take(
                self.array(step.src), self.array(step.index), axis=step.axis
            )
        elif isinstance(step, Fill):
            size = step.dst.itemsize
            value = np.frombuffer(step.bits.to_bytes(size, "little"), self.array(step.dst).dtype)
            self.array(step.dst)[...] = value[0]
        elif isinstance(step, Upload):
            data = self._blobs.read(step.offset, step.nbytes)
            view = View("uint8", step.address, (step.nbytes,), (1,))
            self.array(view)[...] = np.frombuffer(data, np.uint8)
