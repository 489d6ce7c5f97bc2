"""One worker from the judge's side: ask, wait, and whatever happens, end it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.channel import ChannelClosed, ChannelTimeout
from triton_gym.evaluation.nursery import Nursery
from triton_gym.evaluation.sandbox import Limits
from triton_gym.outcome import Status

TRIES = 2
"""How often a nursery that died is replaced before that is an error."""


class Ended(Exception):
    """The evaluation is over before its end: the status and the message of its outcome."""

    def __init__(self, status: Status, message: str, **numbers: float) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.numbers = numbers


class Workshop:
    """A nursery that is restarted when it dies, usable from several threads."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._lock = threading.Lock()
        self._nursery = Nursery(mode)

    def fork(self) -> tuple[Nursery, int, Any]:
        """A new worker and the nursery that it came from."""
        with self._lock:
            for _ in range(TRIES):
                try:
                    return (self._nursery, *self._nursery.fork())
                except EvaluatorError:
                    self._nursery.close()
                    self._nursery = Nursery(self._mode)
            return (self._nursery, *self._nursery.fork())

    def end(self, nursery: Nursery, pid: int) -> None:
        """Kill a worker without waiting; with its nursery gone it is already dead."""
        with self._lock, contextlib.suppress(EvaluatorError, ChannelClosed):
            if nursery.alive:
                nursery.end(pid)

    def reap(self, nursery: Nursery, pid: int) -> int:
        """End a worker and say how it ended; with its nursery gone it is already dead."""
        with self._lock, contextlib.suppress(EvaluatorError, ChannelClosed):
            return nursery.reap(pid) if nursery.alive else 0
        return 0

    def wait_ready(self) -> None:
        """Wait until workers can be had."""
        with self._lock:
            self._nursery.wait_ready()

    def close(self) -> None:
        """End the nursery with all of its workers."""
        with self._lock:
            self._nursery.close()


class Scratch:
    """A folder for one answer: its source, Triton's cache, nothing else. Gone afterwards."""

    def __init__(self, source: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="triton-gym-")
        self.path = str(Path(self.folder, "answer.py"))
        Path(self.path).write_text(source, encoding="utf-8")

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Session:
    """A single-use worker. Use as a context manager.

    Args:
        workshop: where workers come from.
        limits: what the worker may use; the time runs from here.
        scratch: the answer's folder, which several workers of one evaluation may share.
    """

    def __init__(self, workshop: Workshop, limits: Limits, scratch: Scratch) -> None:
        self._workshop = workshop
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._scratch = scratch
        self.path = scratch.path
        self._nursery, self._pid, self._channel = workshop.fork()
        self._reaped = False

    def __enter__(self) -> Session:
        limits = dataclasses.asdict(self._limits)
        try:
            self.ask("enter", folder=self._scratch.folder, limits=limits)
        except Ended:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the worker with everything it started."""
        self._channel.close()
        if not self._reaped:
            self._reaped = True
            self._workshop.end(self._nursery, self._pid)

    def ask(self, operation: str, fds: tuple[int, ...] = (), **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            Ended: the worker reports a failure, crashed, or ran out of time.
        """
        self.send(operation, fds, **fields)
        return self.wait()

    def send(self, operation: str, fds: tuple[int, ...] = (), **fields: Any) -> None:
        """Send a request without waiting."""
        try:
            self._channel.send({"op": operation, **fields}, fds)
        except ChannelClosed:
            raise self._crashed() from None

    def wait(self) -> dict[str, Any]:
        """The reply to the oldest request that has none yet."""
        try:
            reply: dict[str, Any] = self._channel.receive(self._deadline - time.monotonic())
        except ChannelTimeout:
            raise Ended(
                Status.TIMEOUT,
                f"The answer did not finish within {self._limits.seconds:g} s. "
                "Look for a loop that never ends, or for too much work per program.",
            ) from None
        except ChannelClosed as closed:
            if "announced" in str(closed) or "not a message" in str(closed):
                raise Ended(Status.CHEATING, "The worker sent a forged reply.") from None
            raise self._crashed() from None
        if "status" in reply:
            status = str(reply["status"])
            if status not in _FAILURES:
                raise Ended(Status.CHEATING, "The worker sent a forged reply.")
            raise Ended(Status(status), str(reply.get("message", "")))
        return reply

    def _crashed(self) -> Ended:
        # The socket closes a moment before the process is a zombie: without a pause the
        # nursery's own kill would be taken for the cause of death.
        time.sleep(0.05)
        self._reaped = True
        status = self._workshop.reap(self._nursery, self._pid)
        if not self._nursery.alive:
            raise EvaluatorError("The process that starts workers died, and its workers with it.")
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name
            hint = _HINTS.get(name, "")
            return Ended(
                Status.RUNTIME_ERROR, f"The process that ran the answer died of {name}. {hint}"
            )
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        return Ended(
            Status.RUNTIME_ERROR,
            f"The process that ran the answer ended early with exit code {code}.",
        )


def number(reply: dict[str, Any], name: str, least: float = 0.0) -> float:
    """A number that a worker reports.

    Raises:
        Ended: it is none, or less than `least`: the worker's own code does not send such.
    """
    value = reply.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1e18:
        raise Ended(Status.CHEATING, "The worker sent a forged reply.")
    return float(value)


_FAILURES = frozenset(
    map(
        str,
        (Status.COMPILE_ERROR, Status.RUNTIME_ERROR, Status.INCORRECT, Status.CHEATING,
         Status.REJECTED),
    )
)  # fmt: skip
_HINTS = {
    "SIGSEGV": "Look for a load or a store outside a tensor, or for a missing mask.",
    "SIGBUS": "Look for a load or a store outside a tensor, or for a missing mask.",
    "SIGABRT": "A library gave up; the usual reason is memory that could not be had.",
    "SIGKILL": "The usual reason is that it used too much memory.",
    "SIGXCPU": "It used up its processor time.",
    "SIGXFSZ": "It wrote too large a file.",
}
