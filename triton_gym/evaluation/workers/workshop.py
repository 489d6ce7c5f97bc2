"""Where workers come from, whatever happens to the process that forks them."""

from __future__ import annotations

import contextlib
import functools
import threading
import time

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.exchange.channel import Channel
from triton_gym.evaluation.workers.nursery import Nursery, NurseryExhausted, NurseryLost
from triton_gym.evaluation.workers.sandbox import Limits

STARTS = 3
"""How often a nursery that died is replaced before that is an error."""
MODES = {"cuda": ("cuda",), "simulated": ("compile", "interpret")}
"""What the nurseries of a kind of device do."""
PAUSES_S = (0.1, 0.5, 2.0, 5.0)
"""Waits for the machine to have room for another process again."""


class WorkerLost(EvaluatorError):
    """The nursery died while this worker ran: the machine's fault, or the answer's."""


class Workshop:
    """A nursery that is restarted when it dies, usable from several threads.

    Args:
        mode, layers, granted: see `Nursery`.
    """

    def __init__(
        self, mode: str, layers: frozenset[Layer] = ALL, granted: tuple[str, ...] = ()
    ) -> None:
        self._make = functools.partial(Nursery, mode, layers, granted)
        self._lock = threading.Lock()
        self._closed = False
        self._nursery = self._make()

    def fork(self, limits: Limits) -> tuple[Nursery, int, Channel]:
        """A new worker and the nursery that it came from.

        Raises:
            EvaluatorError: the machine starts no nursery, or has no room for another process.
        """
        for pause in (*PAUSES_S, None):
            try:
                return self._fork(limits)
            except NurseryExhausted:
                if pause is None:
                    raise
                time.sleep(pause)  # what was killed gives back its memory when it is gone
        raise AssertionError  # the last pause is None

    def _fork(self, limits: Limits) -> tuple[Nursery, int, Channel]:
        with self._lock:
            if self._closed:
                raise EvaluatorError("The evaluator was closed.")
            for _ in range(STARTS):
                try:
                    return (self._nursery, *self._nursery.fork(limits))
                except NurseryLost:
                    self._nursery.close()
                    self._nursery = self._make()
            return (self._nursery, *self._nursery.fork(limits))

    def end(self, nursery: Nursery, pid: int) -> None:
        """Kill a worker without waiting; with its nursery gone it is already dead."""
        with self._lock, contextlib.suppress(NurseryLost):
            if nursery.alive:
                nursery.end(pid)

    def status(self, nursery: Nursery, pid: int) -> tuple[int | None, str]:
        """See `Nursery.status`.

        Raises:
            WorkerLost: the nursery is gone.
        """
        with self._lock:
            try:
                return nursery.status(pid)
            except NurseryLost as error:
                raise WorkerLost(f"A worker is gone with its nursery. {error}") from error

    def wait_ready(self) -> None:
        """Wait until workers can be had."""
        with self._lock:
            self._nursery.wait_ready()

    def close(self) -> None:
        """End the nursery with all of its workers."""
        with self._lock:
            self._closed = True
            self._nursery.close()


def open_workshops(kind: str) -> tuple[Workshop, ...]:
    """Start the nurseries of a device, which then import while the caller does other things.

    Args:
        kind: see `MODES`.
    """
    return tuple(Workshop(mode) for mode in MODES[kind])
