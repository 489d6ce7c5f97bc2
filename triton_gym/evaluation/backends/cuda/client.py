"""The judge's hold on its runners: one at work, one whose context is ready if that is lost."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.backends.cuda import orders
from triton_gym.evaluation.backends.cuda.blocks import Block
from triton_gym.evaluation.exchange.channel import ChannelClosed, ChannelTimeout
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.worker_pool import WorkerPool
from triton_gym.outcome import Status

START_S = 120.0
"""How long a runner may take to start its context."""
STARTS = 3
"""How many runners in a row may fail to start."""
DEATH_S = 10.0
FILES = 8
"""Open files that one message takes."""
_OURS = Limits(host_bytes=1 << 44, processes=1 << 16)
"""What a runner may use: it is ours."""


class RunnerFailure(Exception):
    """An answer's steps failed on the device, or did not end.

    Args:
        status: of the answer.
        message: for its author.
        lost: whether the runner is lost with it.
        killed: whether its process ended by itself, which no kernel makes it do.
    """

    def __init__(
        self, status: Status, message: str, *, lost: bool = False, killed: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.lost, self.killed = status, lost, killed


class ValuesChanged(RunnerFailure):
    """Host code would have read other values than when it was recorded."""


class Runner:
    """One runner process.

    Args:
        pool: where processes come from (mode `run`).
        index: of the GPU.
        flush_bytes: what is read to evict its L2 cache.
    """

    def __init__(self, pool: WorkerPool, index: int, flush_bytes: int) -> None:
        self._pool = pool
        self._server, self._pid, self._channel = pool.fork(_OURS)
        self._end = os.pidfd_open(self._pid)
        self._channel.send({"index": index, "flush_bytes": flush_bytes})
        self._ready = False
        self._known: set[int] = set()
        self.alive = True

    def wait_ready(self) -> None:
        """Wait for its context.

        Raises:
            EvaluatorError: it cannot start.
        """
        if self._ready:
            return
        try:
            reply = self._channel.receive(START_S)
        except (ChannelClosed, ChannelTimeout) as error:
            self.kill()
            raise EvaluatorError(f"A process for the GPU did not start: {error!r}") from error
        if "error" in reply:
            self.kill()
            raise EvaluatorError(f"A process for the GPU did not start: {reply['message']}")
        self._ready = True

    def ask(self, order: Any, blocks: tuple[Block, ...], seconds: float) -> dict[str, Any]:
        """Have an order carried out.

        Args:
            order: one of `orders`.
            blocks: memory that it names.
            seconds: how long it may take.

        Raises:
            RunnerFailure: the answer's steps failed.
            EvaluatorError: the runner's own code did.
        """
        file = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            with open(file, "wb", closefd=False) as writing:
                pickle.dump(order, writing, protocol=pickle.HIGHEST_PROTOCOL)
            os.lseek(file, 0, os.SEEK_SET)
            self._show(blocks)
            self._channel.send({}, (file,))
            reply = self._channel.receive(seconds)
        except ChannelTimeout:
            self.kill()
            raise RunnerFailure(
                Status.TIMEOUT,
                f"The kernels did not finish within {seconds:.3g} s on the GPU. Look for a loop "
                "that never ends, or for too much work per program.",
                lost=True,
            ) from None
        except ChannelClosed as error:
            self.kill()
            raise RunnerFailure(
                Status.RUNTIME_ERROR,
                "The process that ran the kernels died.",
                lost=True,
                killed=True,
            ) from error
        finally:
            os.close(file)
        if "error" in reply:
            raise self._failure(reply)
        return reply

    def _show(self, blocks: tuple[Block, ...]) -> None:
        """Let the runner open those of the blocks that it does not know, some at a time."""
        new = [b for b in dict.fromkeys(blocks) if b.memory.block not in self._known]
        for start in range(0, len(new), FILES):
            part = new[start : start + FILES]
            numbers = [block.memory.block for block in part]
            self._channel.send({"blocks": numbers}, tuple(block.file for block in part))
            self._known.update(numbers)

    def forget(self, numbers: tuple[int, ...]) -> None:
        """Have the runner let go of blocks."""
        known = tuple(number for number in numbers if number in self._known)
        self._known -= set(known)
        if known and self.alive:
            self.ask(orders.Forget(known), (), DEATH_S)

    def kill(self) -> None:
        """End the process, whatever it does, and wait until the device is rid of it."""
        if self.alive:
            self.alive = False
            self._channel.close()
            self._pool.end(self._server, self._pid)
            gone = select.poll()
            gone.register(self._end, select.POLLIN)
            gone.poll(DEATH_S * 1e3)
            os.close(self._end)

    def _failure(self, reply: dict[str, Any]) -> Exception:
        kind, message = reply["error"], str(reply["message"])
        if kind == "launch":
            return RunnerFailure(Status.RUNTIME_ERROR, message)
        if kind == "values":
            return ValuesChanged(
                Status.INCORRECT,
                "Values that the host code read were others when the same steps ran again on the "
                "same inputs.",
            )
        if kind == "cuda":
            if reply["fatal"]:
                self.kill()
            return RunnerFailure(
                Status.RUNTIME_ERROR,
                f"The GPU reported an error: {message} ({reply['name']}).",
                lost=bool(reply["fatal"]),
            )
        self.kill()
        return EvaluatorError(f"A process of the evaluation failed on the GPU: {message}")


class RunnerPool:
    """A runner for one evaluation at a time, and a spare. For use from several threads."""

    def __init__(self, pool: WorkerPool, index: int, flush_bytes: int) -> None:
        self._make = functools.partial(Runner, pool, index, flush_bytes)
        self._lock = threading.RLock()
        self._forgotten: list[int] = []
        self._runner, self._spare = self._make(), self._make()
        self._runner.wait_ready()
        self.lost = 0
        """Runners that were lost so far."""

    @contextmanager
    def __call__(self) -> Iterator[Runner]:
        """Wait for the runner, and have it alone."""
        with self._lock:
            if self._forgotten:
                self._let_go()
            yield self._living()

    def forget(self, numbers: tuple[int, ...]) -> None:
        """Have the runners let go of blocks of memory, as soon as nobody has them."""
        self._forgotten.extend(numbers)
        # Who comes here may hold the GPU, for which a runner's holder may wait.
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def _let_go(self) -> None:
        numbers, self._forgotten = tuple(self._forgotten), []
        for runner in (self._runner, self._spare):
            with contextlib.suppress(RunnerFailure, EvaluatorError):
                runner.forget(numbers)

    def close(self) -> None:
        """End the runners."""
        with self._lock:
            for runner in (self._runner, self._spare):
                runner.kill()

    def _living(self) -> Runner:
        """The runner, or the spare one in its place.

        Raises:
            EvaluatorError: none starts.
        """
        if self._runner.alive:
            return self._runner
        self.lost += 1
        for tries_left in reversed(range(STARTS)):
            self._runner, self._spare = self._spare, self._make()
            try:
                self._runner.wait_ready()
                return self._runner
            except EvaluatorError:
                if not tries_left:
                    raise
        raise AssertionError  # the last try raises
