"""Candidates that are tried beside the search, the most promising first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A candidate that a judge found right and fast."""

    speedup: float
    """As the judge says."""
    source: str
    route: str


class Trials:
    """Tries one candidate at a time in a thread.

    A search finds better candidates while one is tried. Of those that wait then, the fastest is
    next, and what is no longer faster than what was tried is not tried at all.

    Args:
        attempt: tries one.
        worthwhile: whether one that waited is still worth a trial.
    """

    def __init__(
        self, attempt: Callable[[Waiting], None], worthwhile: Callable[[Waiting], bool]
    ) -> None:
        self._attempt, self._worthwhile = attempt, worthwhile
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trials")
        self._running: Future[None] | None = None
        self._open = True

    def offer(self, candidate: Waiting) -> None:
        """Have a candidate tried; returns at once.

        Raises:
            Exception: what an earlier trial has raised.
        """
        with self._lock:
            self._waiting.append(candidate)
            if self._running is not None and self._running.done():
                self._running.result()
                self._running = None
            if self._running is None:
                self._running = self._thread.submit(self._all)

    def settle(self, seconds: float | None = None) -> None:
        """Wait until none waits any more; after so many seconds, for the one that is tried only.

        Raises:
            Exception: what a trial has raised.
        """
        running = self._running
        if running is None:
            return
        try:
            running.result(seconds)
        except TimeoutError:
            if running.done():
                raise
            with self._lock:
                self._open = False
            running.result()

    def close(self) -> None:
        """Try nothing more."""
        with self._lock:
            self._open = False
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _all(self) -> None:
        while (candidate := self._next()) is not None:
            self._attempt(candidate)

    def _next(self) -> Waiting | None:
        with self._lock:
            self._waiting = [one for one in self._waiting if self._worthwhile(one)]
            if not self._waiting or not self._open:
                self._running = None  # who offers one from here on starts anew
                return None
            best = max(self._waiting, key=lambda one: one.speedup)
            self._waiting.remove(best)
            return best
