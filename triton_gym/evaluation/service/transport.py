"""A judge process from the user's side: started, fed, listened to, and ended."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from triton_gym.device import Device
from triton_gym.errors import MachineError, TritonGymError
from triton_gym.evaluation.backends import backend_of
from triton_gym.evaluation.service import folder
from triton_gym.evaluation.service.future import Result
from triton_gym.evaluation.workers.room import machine_errors
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import remove

PATIENCE_S = 600.0
"""How long a judge that starts or has work may say nothing before it counts as hung. Evaluations
have limits of their own; this is for a driver that hangs. Longer time limits stretch it."""
PAUSES_S = (0.5, 2.0, 5.0, 10.0)
"""Waits for room on the disk where a judge is to be started."""
_LOOK_S = 5.0
STOPPED_LOOKS = 4
"""Looks in a row that must find the process stopped by a signal to give it up."""
_CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Work:
    """One evaluation as a judge is sent it."""

    task: bytes
    """The pickled task; equal tasks of a batch share one copy."""
    source: str
    seed: int | None
    baseline: str
    limits: Limits
    tested: bool = False
    """Whether it is only timed."""
    each: bool = False
    """Whether every timed case has an outcome of its own."""


class Listener(Protocol):
    """Who hears of a transport's judge. Called from the transport's own thread."""

    def ready(self, transport: Transport, device: str) -> None:
        """The judge is up; `device` names its hardware."""

    def answered(
        self, transport: Transport, number: int, result: Result | TritonGymError | None
    ) -> None:
        """An evaluation is over; None if it was dropped before it began."""

    def again(self, transport: Transport, number: int, reason: str) -> None:
        """An evaluation could not be done this time."""

    def lost(self, transport: Transport, reason: str) -> None:
        """The judge is gone, with all that it had."""


class Transport(Protocol):
    """A judge somewhere."""

    def start(self, listener: Listener) -> None:
        """Bring the judge up; `listener.ready` follows, or `lost`."""

    def send(self, number: int, work: Work) -> None:
        """Hand the judge an evaluation. Never blocks."""

    def drop(self, number: int) -> None:
        """Ask that an evaluation be not begun; it is answered in any case."""

    def hang_up(self) -> None:
        """Tell the judge to end. `lost` is not called afterwards."""

    def join(self) -> None:
        """Wait until nothing of the judge is left."""


class ProcessTransport:
    """A judge in a process of its own on this machine.

    Args:
        device: what it evaluates on.
        workers: evaluations at the same time.
        judges: how many share the device.
    """

    def __init__(self, device: Device, workers: int, judges: int = 1) -> None:
        self._device, self._workers, self._judges = device, workers, judges
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._folder, self._held = "", -1
        self._outbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._up = False
        self._unsent = ""
        self._under_way: set[int] = set()
        self._heard = time.monotonic()
        self._patience_s = PATIENCE_S

    def start(self, listener: Listener) -> None:
        """Start the process; see `Transport`."""
        threading.Thread(target=self._run, args=(listener,), daemon=True).start()

    def send(self, number: int, work: Work) -> None:
        """Hand over an evaluation; see `Transport`."""
        if not self._under_way:
            self._heard = time.monotonic()
        self._under_way.add(number)
        self._patience_s = max(self._patience_s, 10 * work.limits.seconds)
        self._outbox.put(("work", number, work))

    def drop(self, number: int) -> None:
        """See `Transport`."""
        self._outbox.put(("drop", number))

    def hang_up(self) -> None:
        """Close the connection, which ends the judge."""
        with self._lock:
            self._closed = True
            self._outbox.put(None)
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader; close does not
                except OSError:
                    pass

    def join(self) -> None:
        """Wait for the process, kill it if it lingers, and remove its folder."""
        self.hang_up()
        if self._process is not None:
            try:
                self._process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._socket is not None:
            self._socket.close()
        self._give_back_folder()

    def _give_back_folder(self) -> None:
        if self._folder:
            remove(self._folder)
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    # -- its threads --------------------------------------------------------------------------

    def _run(self, listener: Listener) -> None:
        reason = "it closed its connection"
        try:
            connection = self._launched()
            if connection is None:
                return
            threading.Thread(target=self._write, args=(connection,), daemon=True).start()
            self._read(connection, listener)
        except (EOFError, OSError, MachineError, _Unusable) as error:
            reason = str(error) or reason
        except Exception as error:  # a message that cannot be read, say: nobody else would tell
            reason = f"{type(error).__name__}: {error}"
        if self._closed:
            return
        reason = self._unsent or reason
        process = self._process
        if process is not None:
            process.kill()  # the pipe may be gone before the process is
            reason = f"{reason} (exit code {process.wait()})"
        listener.lost(self, reason)

    def _launched(self) -> Connection | None:
        """Launch; a machine that lacks something for now, as room on its disk, has some time.

        Whatever it lacks: without a descriptor to spare even a folder for temporary files is said
        not to exist.
        """
        for pause in PAUSES_S:
            try:
                return self._launch()
            except OSError:
                self._give_back_folder()
                time.sleep(pause)
        with machine_errors():
            return self._launch()

    def _launch(self) -> Connection | None:
        with self._lock:
            if self._closed:
                return None
            folder.sweep()
            self._folder, self._held = folder.make()
            ours, theirs = socket.socketpair()
            search = os.pathsep.join(path for path in sys.path if path)
            environment = {**os.environ, "PYTHONPATH": search}
            # Triton decides at import whether to interpret; only fork servers may.
            environment.pop("TRITON_INTERPRET", None)
            device, besides = backend_of(self._device).isolated(self._device)
            environment.update(besides)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "triton_gym.evaluation.service.serving",
                     str(theirs.fileno()), device.kind, device.which,
                     str(self._workers), str(self._judges), self._folder],
                    pass_fds=(theirs.fileno(), self._held),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=sys.__stderr__ or subprocess.DEVNULL,  # ours is the user's alone
                    start_new_session=True,
                )  # fmt: skip
            self._socket = ours
            return Connection(os.dup(ours.fileno()))

    def _write(self, connection: Connection) -> None:
        while (message := self._outbox.get()) is not None:
            try:
                connection.send(message)
            except OSError:
                return  # the reader sees the same end
            except Exception as error:  # what cannot be sent would never be answered
                self._unsent = f"a request could not be sent: {type(error).__name__}: {error}"
                if self._socket is not None:
                    self._socket.shutdown(socket.SHUT_RDWR)
                return

    def _read(self, connection: Connection, listener: Listener) -> None:
        while True:
            stopped = 0
            while not connection.poll(_LOOK_S):
                silence = time.monotonic() - self._heard
                stopped = stopped + 1 if self._under_way and self._stopped() else 0
                if stopped == STOPPED_LOOKS:
                    raise _Unusable("its process was stopped and not continued")
                if (self._under_way or not self._up) and silence > self._patience_s:
                    raise _Unusable(f"it said nothing for {silence:.0f} s")
            kind, *rest = connection.recv()
            self._heard = time.monotonic()
            if kind == "ready":
                self._up = True
                listener.ready(self, *rest)
            elif kind == "unusable":
                raise _Unusable(*rest)
            else:
                number, result = rest
                self._under_way.discard(number)
                (listener.again if kind == "again" else listener.answered)(self, number, result)

    def _stopped(self) -> bool:
        """Whether somebody stopped the process: it will not say so itself."""
        if self._process is None:
            return False
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8")
        except OSError:  # it is gone, or the system has no such files: its silence tells
            return False
        return stat.rpartition(") ")[2][:1] == "T"


class _Unusable(Exception):
    """The judge says that it cannot go on, or no longer says anything."""
