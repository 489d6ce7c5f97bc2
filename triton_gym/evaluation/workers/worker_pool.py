"""Where workers come from, whatever happens to the process that forks them."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.exchange.channel import Channel
from triton_gym.evaluation.workers.fork_server_client import (
    ForkServerClient,
    ForkServerExhausted,
    ForkServerLost,
)
from triton_gym.evaluation.workers.sandbox import Limits

Made = TypeVar("Made")

STARTS = 3
"""How often a fork server that died is replaced before that is an error."""
PAUSES_S = (0.1, 0.5, 2.0, 5.0)
"""Waits for the machine to have room for another process again."""


class WorkerLost(EvaluatorError):
    """The fork server died while this worker ran: the machine's fault, or the answer's."""


Worker = tuple[ForkServerClient, int, Channel]
"""A fork server, the process id of a worker that it forked, and the channel to that."""


class Spares:
    """Workers that were forked before anybody asked for them.

    Args:
        fork: makes one more.
    """

    def __init__(self, fork: Callable[[Limits], Worker]) -> None:
        self._fork = fork
        self._changed = threading.Condition()
        self._count = 0
        self._limits: Limits | None = None
        self._there: deque[Worker] = deque()

    def keep(self, count: int) -> None:
        """Keep so many, of the limits that were asked for last."""
        with self._changed:
            if not self._count:
                threading.Thread(target=self._refill, daemon=True).start()
            self._count = count

    def take(self, limits: Limits) -> Worker | None:
        """A worker that is there already and has these limits; None if there is none."""
        with self._changed:
            same = self._limits and (limits.processes, limits.host_bytes) == (
                self._limits.processes, self._limits.host_bytes
            )  # fmt: skip
            if not same:
                self._drop()
                self._limits = limits
            self._changed.notify_all()
            while self._there:
                server, pid, channel = self._there.popleft()
                if server.alive:
                    return server, pid, channel
        return None

    def close(self) -> None:
        """Make no more. Those that are there end with their fork server."""
        with self._changed:
            self._count = 0
            self._drop()
            self._changed.notify_all()

    def _drop(self) -> None:
        for _, _, channel in self._there:
            channel.close()  # at which a worker ends
        self._there.clear()

    def _refill(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: not self._count or (self._limits and len(self._there) < self._count)
                )
                limits = self._limits
                if not self._count or limits is None:
                    return
            try:
                worker = self._fork(limits)
            except (EvaluatorError, OSError):  # OSError: no descriptor is left for now
                time.sleep(PAUSES_S[-1])  # whoever asks is told why
                continue
            with self._changed:
                if self._count and limits is self._limits:
                    self._there.append(worker)
                else:
                    worker[2].close()


class WorkerPool:
    """A fork server that is restarted when it dies, usable from several threads.

    Args:
        mode, layers, granted: see `ForkServerClient`.
    """

    def __init__(
        self, mode: str, layers: frozenset[Layer] = ALL, granted: tuple[str, ...] = ()
    ) -> None:
        self._make = functools.partial(ForkServerClient, mode, layers, granted)
        self._lock = threading.Lock()
        self._closed = False
        self._server = self._make()
        self._ahead = Spares(self._fork)

    def keep_spares(self, count: int) -> None:
        """Fork so many workers before they are asked for; forking a large process takes a while."""
        self._ahead.keep(count)

    def fork(self, limits: Limits) -> tuple[ForkServerClient, int, Channel]:
        """A new worker and the fork server that it came from.

        Raises:
            EvaluatorError: the machine starts no fork server, or has no room for another process.
        """
        spare = self._ahead.take(limits)
        if spare:
            return spare
        for pause in (*PAUSES_S, None):
            try:
                return self._fork(limits)
            except ForkServerExhausted:
                if pause is None:
                    raise
                time.sleep(pause)  # what was killed gives back its memory when it is gone
        raise AssertionError  # the last pause is None

    def _fork(self, limits: Limits) -> tuple[ForkServerClient, int, Channel]:
        with self._lock:
            if self._closed:
                raise EvaluatorError("The evaluator was closed.")
            for _ in range(STARTS):
                try:
                    return (self._server, *self._server.fork(limits))
                except ForkServerLost:
                    self._server.close()
                    self._server = self._make()
            return (self._server, *self._server.fork(limits))

    def end(self, server: ForkServerClient, pid: int) -> None:
        """Kill a worker without waiting; with its fork server gone it is already dead."""
        with self._lock, contextlib.suppress(ForkServerLost):
            if server.alive:
                server.end(pid)

    def status(self, server: ForkServerClient, pid: int) -> tuple[int | None, str]:
        """See `ForkServerClient.status`.

        Raises:
            WorkerLost: the fork server is gone.
        """
        with self._lock:
            try:
                return server.status(pid)
            except ForkServerLost as error:
                raise WorkerLost(f"A worker is gone with its fork server. {error}") from error

    def wait_ready(self) -> None:
        """Wait until workers can be had."""
        with self._lock:
            self._server.wait_ready()

    def close(self) -> None:
        """End the fork server with all of its workers."""
        self._ahead.close()
        with self._lock:
            self._closed = True
            self._server.close()


def with_pools(modes: Sequence[str], make: Callable[[tuple[WorkerPool, ...]], Made]) -> Made:
    """What `make` makes of pools with these modes, which it then owns; they start beside it.

    Raises:
        Exception: what `make` raises; the pools are closed then.
    """
    pools = tuple(WorkerPool(mode) for mode in modes)
    try:
        return make(pools)
    except BaseException:
        for pool in pools:
            pool.close()
        raise
