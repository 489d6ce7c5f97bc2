"""One worker from the judge's side: ask, wait, and whatever happens, end it."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from types import TracebackType
from typing import Any

from triton_gym.errors import EvaluatorError, MachineError
from triton_gym.evaluation.exchange.channel import ChannelClosed, ChannelTimeout
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import Status

ENTRY_LIMIT_S = 60.0
"""How long a worker may take to confine itself: milliseconds, unless the machine is starved."""
ENTRIES = 4
"""How many workers are started in place of such that were killed before they saw the answer."""
SPAN_S = 1.0
"""How long a worker is waited for at a time."""
STALL_S = 0.5
"""What a span may take longer on a busy machine."""
DEATH_S = 5.0
"""How long a process may take from closing its channel to its end, CUDA's clean-up included."""


class Ended(Exception):
    """The evaluation is over before its end: the status and the message of its outcome.

    Args:
        status, message: of the outcome.
        again: whether the machine may be to blame, so that the answer has another try.
        numbers: of the outcome.
    """

    def __init__(
        self, status: Status, message: str, *, again: bool = False, **numbers: float
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.again = again
        self.numbers = numbers


class Session:
    """A single-use worker. Use as a context manager.

    Args:
        pool: where workers come from.
        limits: what the worker may use. Its time runs while the judge waits for it, not while the
            judge does something itself or waits for others that use the GPU.
        scratch: the answer's folder, which several workers of one evaluation may share.
        yields: whether others have the processors first: the judge, a policy that samples.
    """

    def __init__(
        self, pool: WorkerPool, limits: Limits, scratch: Scratch, *, yields: bool = False
    ) -> None:
        self._pool = pool
        self._limits = limits
        self._scratch = scratch
        self._yields = yields
        self.path, self.source = scratch.path, scratch.source
        self._start()
        self.layers: tuple[str, ...] = ()
        """What the worker is held to; see `confine.layers.Layer`."""

    def __enter__(self) -> Session:
        for left in reversed(range(ENTRIES)):
            try:
                self._enter()
                return self
            except Ended as end:  # it was killed: it had no answer yet that could have done it
                self.close()
                if not left:
                    raise MachineError(
                        f"Workers came to nothing before they saw an answer. {end}"
                    ) from None
            except BaseException:
                self.close()
                raise
            self._start()
        raise AssertionError  # the last try returns or raises

    def _start(self) -> None:
        self._server, self._pid, self._channel = self._pool.fork(self._limits)
        self._left = ENTRY_LIMIT_S
        self._closed = False

    def _enter(self) -> None:
        limits = dataclasses.asdict(self._limits)
        reply = self.ask("enter", folder=self._scratch.folder, limits=limits, yields=self._yields)
        if "unconfined" in reply:
            raise EvaluatorError(f"A worker could not be confined: {reply['unconfined']}.")
        self.layers = tuple(reply["layers"])
        self._left = self._limits.seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the worker with everything it started."""
        if not self._closed:
            self._closed = True
            self._channel.close()
            self._pool.end(self._server, self._pid)

    def kill(self) -> None:
        """Kill the worker from another thread; whoever waits for it sees it crash."""
        self._pool.end(self._server, self._pid)

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
        """The reply to the oldest request that has none yet; raises as `ask` does."""
        reply = self.wait_for(float("inf"))
        assert reply is not None, "the deadline comes first"
        return reply

    def wait_for(self, seconds: float) -> dict[str, Any] | None:
        """The same, or None if it has not come after `seconds`."""
        try:
            reply = self._receive(seconds)
            if reply is None:
                return None
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
            again = reply.get("again") is True
            raise Ended(Status(status), str(reply.get("message", "")), again=again)
        return reply

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None after so many seconds.

        The worker's time is counted in short spans. If one takes much longer than it should, this
        process was stopped, or the machine asleep, and so perhaps was the worker: nothing of that
        is the answer's.

        Raises:
            ChannelTimeout: the worker's time is over.
        """
        until = time.monotonic() + seconds
        while True:
            span = min(SPAN_S, max(0.0, self._left), max(0.0, until - time.monotonic()))
            start, took, stalled = time.monotonic(), 0.0, False
            try:
                return self._channel.receive(span)
            except ChannelTimeout:
                pass
            finally:
                took = time.monotonic() - start
                stalled = took > span + STALL_S
                self._left -= span if stalled else took
            if self._left <= 0 and not stalled:
                raise ChannelTimeout
            if time.monotonic() >= until:
                return None

    def _crashed(self) -> Ended:
        """How the worker ended, once it has.

        The socket closes before the process is gone. It is not killed meanwhile: the kill would be
        taken for the cause of death.

        Raises:
            WorkerLost: its fork server is gone.
        """
        deadline = time.monotonic() + DEATH_S
        pause = 0.001
        while True:
            status, reason = self._pool.status(self._server, self._pid)
            if status is not None or time.monotonic() > deadline:
                killed = status is not None and os.WIFSIGNALED(status) and not reason
                again = killed and os.WTERMSIG(status or 0) == signal.SIGKILL
                return Ended(Status.RUNTIME_ERROR, _obituary(status, reason), again=again)
            time.sleep(pause)
            pause = min(2 * pause, 0.1)


def _obituary(status: int | None, reason: str) -> str:
    """What a wait status says of a worker that is gone."""
    if reason:
        return f"The process that ran the answer was ended. {reason}"
    if status is None:
        return "The process that ran the answer hung up, but did not end."
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        known = number in signal.Signals.__members__.values()
        name = signal.Signals(number).name if known else f"signal {number}"
        return f"The process that ran the answer died of {name}. {_HINTS.get(name, '')}"
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    return f"The process that ran the answer ended early with exit code {code}."


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
