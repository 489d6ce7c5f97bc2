"""The executor that writes steps down, and asks the judge what only it can know."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from triton_gym.evaluation.exchange.channel import Channel
from triton_gym.evaluation.plan.messages import (
    Await,
    Compile,
    Compiled,
    FromJudge,
    Look,
    Partial,
    Seen,
    Time,
    Timed,
    Uncompiled,
    pack,
    unpack,
)
from triton_gym.evaluation.plan.step import (
    Buffer,
    Copy,
    Fill,
    Gather,
    Kernel,
    Launch,
    Read,
    Step,
    Synchronize,
    Upload,
)


class BlobsFull(Exception):
    """Host code makes more data than a plan may hold."""


class Blobs:
    """Bytes that steps refer to, in a file that the judge reads.

    Args:
        fd: the file.
        size: its size, which does not change.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self._size = fd, size
        self._known: dict[bytes, int] = {}
        self.end = 0

    def put(self, data: bytes) -> int:
        """The offset of bytes, which are written unless they are there already.

        Raises:
            BlobsFull: there is no room for them.
        """
        found = self._known.get(data)
        if found is not None:
            return found
        offset = self.end
        if offset + len(data) > self._size:
            raise BlobsFull(
                f"Host code makes more than {self._size >> 20} MiB of data for the device."
            )
        left = memoryview(data)
        while left:
            left = left[os.pwrite(self._fd, left, offset + len(data) - len(left)) :]
        self.end = offset + len(data)
        if len(data) <= 1 << 16:
            self._known[data] = offset
        return offset


class Remote:
    """Steps of a session, by section.

    Args:
        channel: to the judge.
        blobs: where bytes go.
    """

    def __init__(self, channel: Channel, blobs: Blobs) -> None:
        self._channel = channel
        self._blobs = blobs
        self.kernels: dict[int, Kernel] = {}
        """Kernels that were launched, by the number that launches name."""
        self.steps: list[Step] = []
        """Of the part of the session that is recorded."""
        self.setup: tuple[Step, ...] = ()
        """What the call that is recorded may rest on."""
        self.uses_setup: Callable[[], bool] = lambda: False
        self.first: tuple[Step, ...] = ()
        """Steps of the first call, while the second is recorded."""
        self._apart: list[Step] | None = None
        self.buffers: dict[int, Buffer] = {}
        """All of the session, those that are gone included."""
        self.postponed = False
        """Whether kernels are compiled only once a plan turns out to need them."""
        self._requests: dict[int, Compile] = {}
        self._sent: set[int] = set()

    # Memory.

    def allocate(self, buffer: Buffer) -> None:
        """Note new memory."""
        self.buffers[buffer.id] = buffer

    def free(self, buffer: Buffer) -> None:
        """Note the end of memory."""
        if buffer.id in self.buffers:
            self.buffers[buffer.id] = buffer

    # Kernels.

    def compile(self, request: Compile) -> None:
        """Have a kernel compiled."""
        self._requests[request.artifact] = request
        if not self.postponed:
            self.send(request.artifact)

    def send(self, artifact: int) -> None:
        """Have a kernel compiled that was postponed."""
        if artifact not in self._sent:
            self._sent.add(artifact)
            self._channel.send(pack(self._requests[artifact]))

    def compiled(self, artifact: int, *, texts: bool = False) -> Compiled | Uncompiled:
        """Wait for what came of a kernel."""
        self.send(artifact)
        reply = self._ask(Await(artifact, texts))
        if not isinstance(reply, (Compiled, Uncompiled)):
            raise RuntimeError("The judge replied something else.")
        return reply

    # Steps.

    def _add(self, step: Step) -> None:
        if self._apart is not None:
            self._apart.append(step)
        else:
            self.steps.append(step)

    def launch(self, step: Launch, kernel: Kernel) -> None:
        """Note a launch."""
        self.kernels[step.kernel] = kernel
        self._add(step)

    def move(self, step: Copy | Gather | Fill) -> None:
        """Note a copy or a fill."""
        self._add(step)

    def upload(self, step: Upload, data: bytes) -> None:
        """Note an upload, and keep its bytes."""
        self.steps.append(dataclasses.replace(step, offset=self._blobs.put(data)))

    def synchronize(self, step: Synchronize) -> None:
        """Note a wait; one is as good as many."""
        self._add(step)

    @contextlib.contextmanager
    def alternative(self) -> Iterator[list[Step]]:
        """Note steps apart from the others."""
        before, self._apart = self._apart, []
        try:
            yield self._apart
        finally:
            self._apart = before

    def again(self, steps: Sequence[Step]) -> None:
        """Note steps once more."""
        for step in steps:
            self._add(step)

    def position(self) -> tuple[Sequence[Step], int]:
        """Where the next step will stand."""
        steps = self.steps if self._apart is None else self._apart
        return steps, len(steps)

    # Questions.

    def read(self, address: int, nbytes: int, line: int) -> bytes:
        """Have the judge execute what was noted so far, and tell bytes."""
        reply = self._ask(Look(self._so_far(), address, nbytes, line))
        if not isinstance(reply, Seen) or len(reply.data) != nbytes:
            raise RuntimeError("The judge replied something else.")
        self.steps.append(Read(address, nbytes, self._blobs.put(reply.data), line))
        return reply.data

    def time(self, alternatives: Sequence[Sequence[Step]], line: int) -> list[float]:
        """Have the judge time alternatives."""
        steps = tuple(tuple(steps) for steps in alternatives)
        self.need(step for some in steps for step in some)
        reply = self._ask(Time(self._so_far(), steps, line))
        if not isinstance(reply, Timed) or len(reply.seconds) != len(steps):
            raise RuntimeError("The judge replied something else.")
        return list(reply.seconds)

    def _so_far(self) -> Partial:
        before = (*(self.setup if self.uses_setup() else ()), *self.first)
        self.need((*before, *self.steps))
        most = max(self.kernels, default=-1) + 1
        # What was compiled and not launched leaves a gap, which no step names.
        kernels = tuple(
            self.kernels.get(n) or next(iter(self.kernels.values())) for n in range(most)
        )
        return Partial(
            tuple(self.buffers.values()), kernels, before, tuple(self.steps), self._blobs.end
        )

    def need(self, steps: Iterable[Step]) -> None:
        """See that the kernels of steps are compiled."""
        for step in steps:
            if isinstance(step, Launch):
                self.send(self.kernels[step.kernel].artifact)

    def _ask(self, question: Any) -> Any:
        self._channel.send(pack(question))
        return unpack(FromJudge, self._channel.receive())
