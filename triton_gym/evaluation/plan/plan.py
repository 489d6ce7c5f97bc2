"""A whole plan, and what must hold of it before anybody executes it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from triton_gym.evaluation.plan.codec import Length, Malformed, Natural
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Descriptor,
    Fill,
    Gather,
    Kernel,
    Launch,
    Pointer,
    Read,
    Step,
    Synchronize,
    Upload,
)
from triton_gym.evaluation.plan.value import HostTensor, Sequence, Table, Value, device_tensors
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ALIGN, ARGUMENTS, PARAMETERS, SCRATCH

STEPS = 4096
"""Most steps of a call, or of a setup."""
BUFFERS = 1 << 14
KERNELS = 512
HOST_BYTES = 4096
"""Most bytes that one call with reads may read, and may upload: enough for parameters of a launch,
far too few for a host to compute a result from its inputs."""

_ZONES = {
    BufferKind.ARGUMENT: ARGUMENTS,
    BufferKind.PARAMETER: PARAMETERS,
    BufferKind.SCRATCH: SCRATCH,
}
Steps = Annotated[tuple[Step, ...], Length(STEPS)]
Buffers = Annotated[tuple[Buffer, ...], Length(BUFFERS)]
Kernels = Annotated[tuple[Kernel, ...], Length(KERNELS)]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the host function."""

    steps: Steps
    result: Value

    @property
    def movement(self) -> tuple[Step, ...]:
        """What PyTorch does for the answer. Executed alone, it must not give the right result."""
        return tuple(s for s in self.steps if isinstance(s, (Copy, Gather, Fill, Upload)))

    @property
    def moved_bytes(self) -> int:
        """Bytes that `movement` reads and writes."""
        return sum(s.moved_bytes for s in self.steps if isinstance(s, (Copy, Gather, Fill, Upload)))

    @property
    def host_bytes(self) -> tuple[int, int]:
        """Bytes that host code reads, and bytes that it uploads or returns itself."""
        read = sum(step.nbytes for step in self.steps if isinstance(step, Read))
        uploaded = sum(step.nbytes for step in self.steps if isinstance(step, Upload))
        return read, uploaded + sum(tensor.nbytes for tensor in _host_tensors(self.result))

    @property
    def reads(self) -> bool:
        """Whether host code looked at values, so that the steps depend on them."""
        return any(isinstance(step, Read) for step in self.steps)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a host function did when it was called twice on the same arguments.

    Moments are numbered: every step has a number, through `setup`, `first` and `call`, and so has
    the return of each call after its steps. `Buffer.born` and `freed` go by them.
    """

    buffers: Buffers
    kernels: Kernels
    setup: Steps
    """Of the import and, for a module, of its constructor. Untimed."""
    first: Call
    """Of the first call."""
    call: Call
    """Of every further call. Equal to `first` unless something was prepared once."""
    blob_bytes: Natural
    """Bounds what `Upload`, `Read` and `HostTensor` refer to."""

    @property
    def launches(self) -> int:
        """Launches of every further call."""
        return sum(isinstance(step, Launch) for step in self.call.steps)

    @property
    def scratch_end(self) -> int:
        """The address after the last scratch buffer: a backend maps the zone up to here."""
        return max(
            (b.end for b in self.buffers if b.kind is BufferKind.SCRATCH), default=SCRATCH.start
        )


def validate(plan: Plan) -> None:
    """Hold a plan that was decoded against what every plan of a recorder fulfils.

    Buffers lie in their zones, live ones apart from each other; every address of every step and
    result lies in a buffer that lives then; kernels, blobs and arguments are there.

    Raises:
        Malformed: it does not.
    """
    memory = _Memory(plan.buffers)
    number = 0
    for step in plan.setup:
        memory.advance(number)
        _validate_step(plan, memory, step)
        number += 1
    for call in (plan.first, plan.call):
        for step in call.steps:
            memory.advance(number)
            _validate_step(plan, memory, step)
            number += 1
        memory.advance(number)
        _validate_result(plan, memory, call.result)
        number += 1
        _bound_host(call)
    if any(max(buffer.born, buffer.freed) > number for buffer in plan.buffers):
        raise Malformed("a buffer is born or freed after the last step")


def validate_partial(partial: Any, blob_bytes: int) -> None:
    """Hold what a recorder sends of an unfinished plan against what all of them fulfil.

    When buffers live is not held: what was freed may be the next one's memory.

    Raises:
        Malformed: it does not fulfil it.
    """
    if partial.blob_bytes > blob_bytes:
        raise Malformed("it refers to more bytes than there are")
    memory = _Anywhere(partial.buffers)
    for step in (*partial.before, *partial.steps):
        _validate_step(partial, memory, step)


def _in_zone(buffer: Buffer) -> None:
    zone = _ZONES[buffer.kind]
    if buffer.address < zone.start or buffer.end > zone.end:
        raise Malformed("a buffer lies outside its zone")
    if buffer.kind is BufferKind.SCRATCH and buffer.address % ALIGN:
        raise Malformed("a buffer is not aligned")


class _Anywhere:
    """The memory of all buffers, whenever they live."""

    def __init__(self, buffers: tuple[Buffer, ...]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for buffer in sorted(buffers, key=lambda b: b.address):
            _in_zone(buffer)
            if self._ends and buffer.address <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], buffer.end)
            else:
                self._starts.append(buffer.address)
                self._ends.append(buffer.end)

    def holds(self, low: int, high: int) -> bool:
        """Whether `low` to `high` (not included) lies in the buffers' memory."""
        index = bisect.bisect_right(self._starts, low) - 1
        return index >= 0 and high <= self._ends[index]


class _Memory:
    """The buffers that live at a moment, while moments pass."""

    def __init__(self, buffers: tuple[Buffer, ...]) -> None:
        if any(buffer.id != index for index, buffer in enumerate(buffers)):
            raise Malformed("buffers are not numbered in order")
        for buffer in buffers:
            _in_zone(buffer)
            if -1 < buffer.freed < buffer.born:
                raise Malformed("a buffer is freed before it is born")
        seen = [b for b in buffers if not 0 <= b.freed <= b.born]
        self._coming = sorted(seen, key=lambda b: b.born, reverse=True)
        self._going = sorted((b for b in seen if b.freed >= 0), key=lambda b: -b.freed)
        self._starts: list[int] = []
        self._ends: list[int] = []

    def advance(self, number: int) -> None:
        """Come to a step, or to a call's return."""
        while self._going and self._going[-1].freed <= number:
            gone = self._going.pop()
            if gone.born < number:
                index = bisect.bisect_left(self._starts, gone.address)
                del self._starts[index], self._ends[index]
        while self._coming and self._coming[-1].born <= number:
            new = self._coming.pop()
            index = bisect.bisect_left(self._starts, new.address)
            if index and self._ends[index - 1] > new.address:
                raise Malformed("two buffers overlap")
            if index < len(self._starts) and self._starts[index] < new.end:
                raise Malformed("two buffers overlap")
            self._starts.insert(index, new.address)
            self._ends.insert(index, new.end)

    def holds(self, low: int, high: int) -> bool:
        """Whether `low` to `high` (not included) lies in one buffer that lives now.

        The address after a buffer's end belongs to it too, if no bytes are asked for.
        """
        index = bisect.bisect_right(self._starts, low) - 1
        if index < 0:
            return False
        return high <= self._ends[index]


def _validate_step(plan: Any, memory: Any, step: Step) -> None:
    ranges: list[tuple[int, int]] = []
    if isinstance(step, Launch):
        ranges = _launch_ranges(plan, step)
    elif isinstance(step, (Copy, Gather)):
        ranges = [step.src.extent, step.dst.extent]
        if isinstance(step, Gather):
            ranges.append(step.index.extent)
        if _overlaps_itself(step.dst):
            raise Malformed("elements of a target share their address")
    elif isinstance(step, Fill):
        ranges = [step.dst.extent]
    elif isinstance(step, (Upload, Read)):
        ranges = [(step.address, step.address + step.nbytes)]
        if step.offset + step.nbytes > plan.blob_bytes:
            raise Malformed("a step refers to bytes that are not there")
    elif isinstance(step, Synchronize):
        pass
    for low, high in ranges:
        if not memory.holds(low, high):
            raise Malformed(f"{type(step).__name__} uses memory outside the answer's buffers")


def _launch_ranges(plan: Any, launch: Launch) -> list[tuple[int, int]]:
    if launch.kernel >= len(plan.kernels):
        raise Malformed("a launch names no kernel")
    kernel = plan.kernels[launch.kernel]
    if len(kernel.signature) != len(launch.arguments):
        raise Malformed("a launch has not the arguments of its kernel")
    ranges = []
    for kind, argument in zip(kernel.signature, launch.arguments, strict=True):
        name = type(argument).__name__
        expected = (
            ("Pointer", "Null") if kind.startswith("*")
            else ("Descriptor",) if kind.startswith("tensordesc")
            else ("Scalar",)
        )  # fmt: skip
        if name not in expected or (name == "Scalar" and getattr(argument, "type", "") != kind):
            raise Malformed(f"an argument is {name} where the kernel takes {kind}")
        if isinstance(argument, (Pointer, Descriptor)):
            ranges.append((argument.address, argument.address))
    if launch.global_scratch:
        ranges.append((launch.global_scratch, launch.global_scratch))
    return ranges


def _overlaps_itself(view: View) -> bool:
    """Whether elements of a view share their address; a view that might is taken to."""
    reach = 1
    for stride, size in sorted(
        (abs(stride), size) for stride, size in zip(view.strides, view.shape, strict=True)
        if size > 1
    ):  # fmt: skip
        if stride < reach:
            return view.numel > 0
        reach = stride * (size - 1) + reach
    return False


def _validate_result(plan: Plan, memory: _Memory, result: Value) -> None:
    for tensor in device_tensors(result):
        if not memory.holds(*tensor.view.extent):
            raise Malformed("a result lies outside the answer's buffers")
    for host in _host_tensors(result):
        if host.offset + host.nbytes > plan.blob_bytes:
            raise Malformed("a result refers to bytes that are not there")


def _host_tensors(value: Value) -> Iterator[HostTensor]:
    if isinstance(value, HostTensor):
        yield value
    elif isinstance(value, (Sequence, Table)):
        for item in value.items:
            yield from _host_tensors(item)


def _bound_host(call: Call) -> None:
    if not call.reads:
        return
    read, uploaded = call.host_bytes
    if read > HOST_BYTES or uploaded > HOST_BYTES:
        raise Malformed(
            f"a call that looks at values reads {read} bytes and uploads {uploaded}; "
            f"{HOST_BYTES} are allowed"
        )
