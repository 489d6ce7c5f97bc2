"""The process that interprets one answer's plans: ours, confined, forked, used once.

It never runs answer code. It reads kernels that a hostile process wrote, so it is confined like
one, and nothing of it outlives the answer.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from triton_gym.evaluation.backends.simulated import execute, memory
from triton_gym.evaluation.backends.simulated.trial import Trial, Unknown
from triton_gym.evaluation.exchange.block import Block, Slot
from triton_gym.evaluation.exchange.channel import Channel, ChannelClosed
from triton_gym.evaluation.plan.codec import decode
from triton_gym.evaluation.plan.messages import Partial
from triton_gym.evaluation.plan.plan import Plan, Steps
from triton_gym.evaluation.plan.step import BufferKind, Launch
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.interpreter.conversion import converted
from triton_gym.evaluation.simulate.interpreter.hints import MisalignedError
from triton_gym.evaluation.simulate.interpreter.parse import UnknownText
from triton_gym.evaluation.workers.sandbox import Sandbox, enter

_ANSWERS = (
    AssertionError, IndexError, MemoryError, MisalignedError, RuntimeError, ValueError,
    NotImplementedError,
)  # fmt: skip
"""What the answer's kernels may be told of; anything else is a fault of ours."""


def prepare() -> None:
    """Load all that interpreting loads on first use, before the fork server forks."""
    from triton_gym.evaluation.backends.simulated.warm import warm

    warm()


def main(channel: Channel, sandbox: Sandbox) -> None:
    """Serve the judge until it hangs up."""
    server = Server(sandbox)
    while True:
        try:
            request = channel.receive()
        except ChannelClosed:
            return
        try:
            reply = server.obey(request)
        except UnknownText as error:
            reply = _failure(
                f"The simulated device cannot interpret this kernel ({error}). That is a limit of "
                "the simulator, not an error of the answer's."
            )
        except execute.Deadlock as error:
            reply = {**_failure(str(error)), "endless": True}
        except Unknown as error:
            reply = _failure(str(error))
        except _ANSWERS as error:
            reply = _failure(f"{type(error).__name__}: {error}")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            reply = _failure(
                f"The simulator failed ({type(error).__name__}: {error}, in {where.name}). That "
                "is a fault of the simulator, not of the answer."
            )
        channel.send(reply)


def _failure(text: str) -> dict[str, Any]:
    return {"failure": text[:3000]}


class Server:
    """Obeys the judge's requests about one answer."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._memory = memory.HostMemory()
        self._texts: dict[int, str] = {}
        self._blobs = -1
        self._multiprocessors = 132
        self._trial: Trial | None = None

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "enter": functools.partial(enter, self._sandbox),
            "open": self._open, "kernel": self._kernel,
            "execute": self._execute, "look": self._look, "follow": self._follow,
            "trace": self._trace, "verify": self._verify,
        }  # fmt: skip
        return operations[request.pop("op")](**request)

    def _open(
        self, arguments: int, parameters: int, private: bool, multiprocessors: int, seed: int,
        fds: list[int],
    ) -> dict[str, Any]:  # fmt: skip
        """Map the judge's memory: files of blobs, arguments and parameters come along."""
        self._blobs = fds[0]
        self._multiprocessors = multiprocessors
        if arguments:
            self._memory.arguments(fds[1], arguments, private=private)
        if parameters:
            self._memory.parameters(fds[2], parameters)
        self._trial = Trial(self._texts, self._blobs, multiprocessors, seed)
        return {}

    def _kernel(self, artifact: int, ttir: str) -> dict[str, Any]:
        """A kernel that launches may name."""
        self._texts[artifact] = ttir
        return {}

    def _execute(
        self, plan: Any, call: str, results: list[Any], slots: list[Any], size: int,
        fds: list[int],
    ) -> dict[str, Any]:  # fmt: skip
        """Execute a call of a plan, and copy its results to where the judge looks.

        Args:
            plan: encoded.
            call: `first`, after the setup, or `call`, after that.
            results: encoded views.
            slots: where each goes.
            size: of the shared memory.
            fds: the shared memory.
        """
        found: Plan = decode(Plan, plan)
        self._memory.scratch_to(found.scratch_end)
        execution = execute.Execution(
            found.buffers, found.kernels, self._texts, self._blobs, self._multiprocessors
        )
        number = len(found.setup)
        if call == "first":
            number = execution.steps(found.setup, 0)
            execution.steps(found.first.steps, number)
        else:
            execution.steps(found.call.steps, number + len(found.first.steps) + 1)
        block = Block(size, fds[0])
        for encoded, message in zip(results, slots, strict=True):
            view, slot = decode(View, encoded), Slot.read(message)
            block.array(slot)[...] = converted(memory.dense(view), view.dtype, slot.dtype)
        return {}

    def _look(self, so_far: Any, address: int, nbytes: int, whole: bool) -> dict[str, Any]:
        """Bytes in memory after some steps.

        Args:
            so_far: encoded.
            address, nbytes: of the bytes.
            whole: whether the steps are executed as a whole.
        """
        import base64

        partial: Partial = decode(Partial, so_far)
        ends = [b.end for b in partial.buffers if b.kind is BufferKind.SCRATCH]
        self._memory.scratch_to(max(ends, default=0))
        if whole:
            execution = execute.Execution(
                partial.buffers, partial.kernels, self._texts, self._blobs, self._multiprocessors
            )
            for buffer in partial.buffers:
                if buffer.kind is BufferKind.SCRATCH:
                    memory.poison(buffer.address, buffer.nbytes)
            for step in (*partial.before, *partial.steps):
                execution.step(step, None)
            data = execute.peek(address, nbytes)
        else:
            data = self._tried.look(
                partial.buffers,
                partial.kernels,
                (*partial.before, *partial.steps),
                address,
                nbytes,
            )
        return {"data": base64.b64encode(data).decode()}

    @property
    def _tried(self) -> Trial:
        if self._trial is None:
            raise RuntimeError("Nothing was opened.")
        return self._trial

    def _follow(self, so_far: Any, alternatives: list[Any], names: list[str]) -> dict[str, Any]:
        """Trace alternatives after some steps; of one that fails, why."""
        partial: Partial = decode(Partial, so_far)
        self._memory.scratch_to(
            max((b.end for b in partial.buffers if b.kind is BufferKind.SCRATCH), default=0)
        )
        found: list[Any] = []
        for name, encoded in zip(names, alternatives, strict=True):
            steps = decode(Steps, encoded)
            steps_before = (*partial.before, *partial.steps)
            before = [s for s in steps_before if not isinstance(s, Launch)]
            try:
                traced = self._tried.follow(
                    partial.buffers, partial.kernels, [*before, *steps], None, len(before), name
                )
                found.append([t.trace.record() for t in traced])
            except (*_ANSWERS, UnknownText) as error:
                found.append(str(error)[:500])
        return {"alternatives": found}

    def _trace(self, plan: Any, results: list[Any], first: bool) -> dict[str, Any]:
        """Trace the launches of a plan's first call, or of a further one."""
        found: Plan = decode(Plan, plan)
        self._memory.scratch_to(found.scratch_end)
        views = [decode(View, view) for view in results]
        traced = self._tried.trace(found, views, first=first)
        return {"traces": [t.trace.record() for t in traced]}

    def _verify(self, size: int, fds: list[int]) -> dict[str, Any]:
        """Replay programs of what was traced."""
        return self._tried.verify(Block(size, fds[0]))
