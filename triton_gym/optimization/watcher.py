"""One thread of a process that does what callers must not wait for.

It loads verified kernels, compares calls that were computed twice, and listens to searches. It
sleeps otherwise. A forked child has none until it needs one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger("triton_gym.optimization")


class Watcher:
    """Runs what is posted, one after the other, in a thread that starts with the first of it."""

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, work: Callable[[], None]) -> None:
        """Have something done soon; returns at once."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    made = threading.Thread(target=self._run, name="triton-gym-watch", daemon=True)
                    made.start()
                    self._thread = made
        self._posted.put(work)

    def drain(self, seconds: float = 60.0) -> bool:
        """Wait until what was posted before is done; whether it was in time."""
        done = threading.Event()
        self.post(done.set)
        return done.wait(seconds)

    def _run(self) -> None:
        relaxed = False
        posted = self._posted
        while True:
            work = posted.get()
            if not relaxed:
                relaxed = _relax_capture()
            try:
                work()
            except Exception:  # what failed says so itself; the thread serves others
                _log.exception("something that was done in the background failed")
            del work


def _relax_capture() -> bool:
    """Keep this thread from ending the capture of a CUDA graph in another one.

    While a graph is captured, CUDA refuses calls such as an allocation from every thread that has
    not said that it takes part in no capture.
    """
    import torch

    if not torch.cuda.is_initialized():
        return False
    with contextlib.suppress(ImportError, AttributeError):
        from cuda.bindings import driver

        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        driver.cuThreadExchangeStreamCaptureMode(mode)
    return True


WATCHER = Watcher()
"""Of this process."""
