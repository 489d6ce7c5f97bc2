"""A recorder from the judge's side: asks it for plans, and serves it meanwhile."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from typing import Any, Protocol, TypeVar

from triton_gym.evaluation.plan.codec import Malformed, encode
from triton_gym.evaluation.plan.messages import (
    COMPILES,
    Await,
    Build,
    Built,
    Compile,
    Compiled,
    Entangled,
    Failed,
    FromRecorder,
    Load,
    Loaded,
    Look,
    Record,
    Recorded,
    Seen,
    Time,
    Timed,
    Uncompiled,
    unpack,
)
from triton_gym.evaluation.plan.plan import Plan, validate, validate_partial
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.outcome import Status

KERNEL_BYTES = 64 << 20
"""Most characters of all kernels of a session."""
QUESTIONS = 512
"""Most looks at values, and most decisions by time, of a session."""
BLOB_BYTES = 256 << 20
"""Room for data that host code makes for the device. Pages that are not used take no memory."""
_Answer = TypeVar("_Answer", Loaded, Built, Recorded)


class Services(Protocol):
    """What a recorder needs others for. Its questions were validated."""

    def compile(self, request: Compile) -> None:
        """Begin to compile a kernel; does not wait."""
        ...

    def compiled(self, artifact: int, *, texts: bool) -> Compiled | Uncompiled:
        """Wait for what came of a kernel."""
        ...

    def look(self, question: Look) -> bytes:
        """Execute what was recorded so far, and tell bytes.

        Raises:
            Ended: it cannot be executed.
        """
        ...

    def time(self, question: Time) -> tuple[float, ...]:
        """Seconds of each alternative, infinite where it fails.

        Raises:
            Ended: none can be timed.
        """
        ...


class CaseEntangled(Exception):
    """A case must be recorded in a session of its own: it goes on with memory of one before."""


class BlobFile:
    """Where a recorder puts bytes, in a file that it cannot make larger."""

    def __init__(self, size: int = BLOB_BYTES) -> None:
        self.size = size
        self.fd = os.memfd_create("blobs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes as they are now: whoever uses them twice keeps them, for a recorder may write."""
        return os.pread(self.fd, nbytes, offset)

    def close(self) -> None:
        """Give the file back."""
        os.close(self.fd)


class RecorderSession:
    """Records calls of one answer. Use it inside of the worker's session.

    Args:
        session: a worker of mode `record`, which was entered.
        services: what it is served with.
    """

    def __init__(self, session: Session, services: Services) -> None:
        self._session = session
        self._services = services
        self.blobs = BlobFile()
        self._requested: set[int] = set()
        self._kernel_bytes = 0
        self._questions = 0

    def close(self) -> None:
        """Give back what it holds; the worker ends with its session."""
        self.blobs.close()

    def load(self, load: Load) -> Loaded:
        """Have the answer imported.

        Raises:
            Ended: it cannot be, or lacks its entry point.
        """
        return self._ask(load, Loaded, (self.blobs.fd,))

    def build(self, build: Build, state: int | None = None) -> Built:
        """Have the answer's module made.

        Args:
            build: how.
            state: file of the state's values, if there is any.

        Raises:
            Ended: its constructor failed.
        """
        return self._ask(build, Built, () if state is None else (state,))

    def record(self, record: Record) -> Plan:
        """The plan of a case.

        Raises:
            Ended: the answer failed.
            CaseEntangled: it must be recorded in a session of its own.
        """
        plan = self._ask(record, Recorded).plan
        try:
            validate(plan)
            _held_against(plan, record, self.blobs.size, self._requested)
        except Malformed as error:
            raise forged(error) from None
        return plan

    def _ask(self, request: Any, kind: type[_Answer], files: tuple[int, ...] = ()) -> _Answer:
        self._session.send("plan", files, message=encode(request))
        while True:
            message = self._receive()
            if isinstance(message, kind):
                return message
            if isinstance(message, Failed):
                raise Ended(message.status, message.message, again=message.again)
            if isinstance(message, Entangled):
                raise CaseEntangled
            if isinstance(message, Compile):
                self._compile(message)
            elif isinstance(message, (Await, Look, Time)):
                self._session.send("plan", message=encode(self._served(message)))
            else:
                raise forged("an answer to something else")

    def _receive(self) -> Any:
        try:
            return unpack(FromRecorder, self._session.wait())
        except Malformed as error:
            raise forged(error) from None

    def _compile(self, request: Compile) -> None:
        if request.artifact >= COMPILES:
            raise Ended(Status.COMPILE_ERROR, f"The answer compiles more than {COMPILES} kernels.")
        self._kernel_bytes += len(request.text)
        if self._kernel_bytes > KERNEL_BYTES:
            raise Ended(
                Status.COMPILE_ERROR,
                f"The answer's kernels have more than {KERNEL_BYTES >> 20} MiB of Triton's IR.",
            )
        if request.artifact in self._requested:
            raise forged("a kernel is compiled twice")
        self._requested.add(request.artifact)
        self._services.compile(request)

    def _served(self, question: Await | Look | Time) -> Any:
        if isinstance(question, Await):
            if question.artifact not in self._requested:
                raise forged("a kernel is awaited that was not sent")
            return self._services.compiled(question.artifact, texts=question.texts)
        self._questions += 1
        if self._questions > QUESTIONS:
            raise Ended(
                Status.RUNTIME_ERROR,
                f"Host code looks at values or at times more than {QUESTIONS} times.",
            )
        try:
            validate_partial(question.so_far, self.blobs.size)
            if isinstance(question, Time):
                for steps in question.alternatives:
                    whole = dataclasses.replace(question.so_far, before=(), steps=steps)
                    validate_partial(whole, self.blobs.size)
        except Malformed as error:
            raise forged(error) from None
        if isinstance(question, Look):
            return Seen(self._services.look(question))
        return Timed(self._services.time(question))


def forged(why: object) -> Ended:
    """The end of an evaluation whose recorder sent what the recorder's own code does not send."""
    return Ended(Status.CHEATING, f"The worker sent a forged plan: {why}.")


def _held_against(plan: Plan, record: Record, blob_bytes: int, requested: set[int]) -> None:
    """Raise if a plan is not one of what was asked."""
    if any(kernel.artifact not in requested for kernel in plan.kernels):
        raise Malformed("a kernel was never sent")
    if plan.blob_bytes > blob_bytes:
        raise Malformed("it refers to more bytes than there are")
    asked = {(b.address, b.nbytes, b.kind) for b in record.buffers}
    for buffer in plan.buffers:
        if buffer.kind == "argument" and (buffer.address, buffer.nbytes, buffer.kind) not in asked:
            raise Malformed("an argument lies where none was laid")
