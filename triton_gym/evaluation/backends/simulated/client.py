"""The judge's handle on the process that interprets plans."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Any

from triton_gym.evaluation.backends.simulated import reports
from triton_gym.evaluation.exchange.arena import HostArena
from triton_gym.evaluation.exchange.block import Slot
from triton_gym.evaluation.plan.codec import encode
from triton_gym.evaluation.plan.messages import Partial
from triton_gym.evaluation.plan.plan import Plan
from triton_gym.evaluation.plan.step import Step
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.outcome import Status


class Interpreter:
    """Interprets the plans of one answer.

    Args:
        session: a worker of mode `simulate`, which was entered.
        multiprocessors: of the device.
        seed: decides which programs are looked at.
        limit_s: how long one request may take, for messages.
    """

    def __init__(self, session: Session, multiprocessors: int, seed: int) -> None:
        self._session = session
        self._multiprocessors = multiprocessors
        self._seed = seed
        self._told: set[int] = set()
        self._texts: dict[int, str] = {}

    def open(
        self, blobs: int, arguments: tuple[int, int], parameters: tuple[int, int] | None, *,
        private: bool,
    ) -> None:  # fmt: skip
        """Map memory where plans look for it.

        Args:
            blobs: file of the recorder's blobs.
            arguments: file and size of the arguments' zone.
            parameters: the same of the parameters' zone.
            private: whether what kernels write to arguments stays there.
        """
        files = [blobs, arguments[0], *([parameters[0]] if parameters else [])]
        self._ask(
            "open", tuple(files), arguments=arguments[1],
            parameters=parameters[1] if parameters else 0, private=private,
            multiprocessors=self._multiprocessors, seed=self._seed,
        )  # fmt: skip

    def kill(self) -> None:
        """End the process, whoever waits for it."""
        self._session.kill()

    def know(self, artifact: int, text: str) -> None:
        """A kernel that plans may launch."""
        self._texts[artifact] = text

    def execute(
        self, plan: Plan, call: str, views: Sequence[View], slots: Sequence[Slot], arena: HostArena
    ) -> None:
        """Execute a call of a plan, and copy results to shared memory.

        Args:
            plan: validated.
            call: `first`, with the setup before it, or `call`, after that.
            views: where the results lie.
            slots: where each goes.
            arena: the shared memory.

        Raises:
            Ended: a kernel failed.
        """
        self._tell(plan)
        self._ask(
            "execute", (arena.fd,), plan=encode(plan), call=call,
            results=[encode(view) for view in views], slots=[slot.message() for slot in slots],
            size=arena.size,
        )  # fmt: skip

    def look(self, so_far: Partial, address: int, nbytes: int, *, whole: bool) -> bytes:
        """Bytes of memory after some steps.

        Args:
            so_far: validated.
            address, nbytes: of the bytes.
            whole: whether all programs run; else only those that the bytes depend on.

        Raises:
            Ended: a kernel failed, or the bytes cannot be told.
        """
        self._tell(so_far)
        reply = self._ask(
            "look", so_far=encode(so_far), address=address, nbytes=nbytes, whole=whole
        )
        try:
            data = base64.b64decode(str(reply.get("data")), validate=True)
        except binascii.Error:
            raise reports.forged("bytes that are none") from None
        if len(data) != nbytes:
            raise reports.forged("another number of bytes")
        return data

    def follow(
        self, so_far: Partial, alternatives: Sequence[Sequence[Step]], names: Sequence[str]
    ) -> list[list[LaunchTrace] | str]:
        """Trace alternatives; of one that fails, why."""
        self._tell(so_far)
        reply = self._ask(
            "follow", so_far=encode(so_far), names=list(names),
            alternatives=[[encode(step) for step in steps] for steps in alternatives],
        )  # fmt: skip
        found = reply.get("alternatives")
        if not isinstance(found, list) or len(found) != len(alternatives):
            raise reports.forged("another number of alternatives")
        return [
            one if isinstance(one, str) else reports.read_traces({"traces": one}) for one in found
        ]

    def trace(
        self, plan: Plan, results: Sequence[View], *, first: bool = False
    ) -> list[LaunchTrace]:
        """Trace what a further call of a plan launches, or the first."""
        self._tell(plan)
        views = [encode(view) for view in results]
        reply = self._ask("trace", plan=encode(plan), results=views, first=first)
        return reports.read_traces(reply)

    def verify(self, arena: HostArena) -> dict[str, Any]:
        """Run some programs of what was traced; see `tracing.evidence.Evidence.reply`."""
        return self._ask("verify", (arena.fd,), size=arena.size)

    def _tell(self, plan: Plan | Partial) -> None:
        for kernel in plan.kernels:
            if kernel.artifact not in self._told:
                self._told.add(kernel.artifact)
                self._ask("kernel", artifact=kernel.artifact, ttir=self._texts[kernel.artifact])

    def _ask(self, operation: str, files: tuple[int, ...] = (), **fields: Any) -> dict[str, Any]:
        reply = self._session.ask(operation, files, **fields)
        if "failure" in reply:
            status = Status.TIMEOUT if reply.get("endless") is True else Status.RUNTIME_ERROR
            raise Ended(status, str(reply["failure"])[:3000])
        return reply


def sparse(nbytes: int) -> int:
    """A file of zeros that takes no memory until something is written."""
    fd = os.memfd_create("arguments", os.MFD_CLOEXEC)
    os.ftruncate(fd, max(nbytes, 1))
    return fd
