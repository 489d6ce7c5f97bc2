"""Outcomes on their way to a store, and back: whatever it does, nobody waits and nobody fails.

A judge's outcome is good whether or not it can be kept. So it is written by a thread of its own;
one that is on its way is found already; and a store that is locked, full or damaged is as if it
held nothing, with one warning.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterable

from triton_gym.errors import StoreError, warn
from triton_gym.evaluation.records.store import Key, Store, as_recorded, storable
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import Outcome
from triton_gym.task import Task

READ_S = 1.0
"""How long a lookup waits for a store that others hold; who writes holds up no readers."""
REST_S = 10.0
"""How long a store that could not be read is not looked into again."""
FLUSH_S = 20.0
"""How long `close` waits for what is still to be written."""

_Row = tuple[Key, str, str, str, int | None, Outcome]


class BackgroundStore:
    """The store of an evaluator, written in the background.

    Args:
        path: of the file.

    Raises:
        StoreError: it cannot be opened, or is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.store = Store(path, busy_s=READ_S)
        self._rows: queue.SimpleQueue[_Row | None] = queue.SimpleQueue()
        self._coming: dict[tuple[str, str], Outcome] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._readable_at = 0.0

    def key(self, task: Task, source: str, baseline: str, limits: Limits) -> Key:
        """See `Store.key`."""
        return self.store.key(task, source, baseline, limits)

    def get(self, key: Key, devices: Iterable[str]) -> Outcome | None:
        """See `Store.get`; a store that cannot be read has nothing."""
        names = list(devices)
        for device in names:
            if outcome := self._coming.get((key.digest, device)):
                return as_recorded(outcome)
        if time.monotonic() < self._readable_at:
            return None
        try:
            return self.store.get(key, names)
        except StoreError as error:
            # Whoever submits a thousand answers must not wait a thousand times.
            self._readable_at = time.monotonic() + REST_S
            self._warn("read", f"Answers are evaluated that may be known. {error}")
            return None

    def put(
        self, key: Key, device: str, task: str, source: str, seed: int | None, outcome: Outcome
    ) -> None:
        """Have an outcome written, if it is one that is kept. Never waits."""
        if not storable(outcome):
            return
        self._coming[key.digest, device] = outcome
        self._rows.put((key, device, task, source, seed, outcome))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Write what is still to be written, and close the file. A later use opens it again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            self._rows.put(None)
            thread.join(FLUSH_S)
            if thread.is_alive():
                count = len(self._coming)
                self._warn("flush", f"{count} outcomes are not in {self.store.path}: it is locked.")
        self.store.close()

    def _write(self) -> None:
        store = Store.unopened(self.store.path)  # it may wait for others, with a lock of its own
        while (row := self._rows.get()) is not None:
            key, device, task, source, seed, outcome = row
            try:
                store.put(key, device, task, source, seed, outcome)
            except StoreError as error:
                self._warn("write", f"Outcomes are not recorded. {error}")
            except Exception as error:  # nothing that is written may end this thread
                told = f"{type(error).__name__}: {error}"
                self._warn("write", f"Outcomes are not recorded in {store.path}. {told}")
            if self._coming.get((key.digest, device)) is outcome:  # not a later one
                del self._coming[key.digest, device]
        with contextlib.suppress(StoreError):
            store.close()

    def _warn(self, about: str, text: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            warn(text)
