"""The judge's process: takes requests from a socket and sends outcomes back.

`python -m triton_gym.evaluation.service.serving <fd> <kind> <which> <workers> <judges> <folder>`
runs it; `transport.py` does.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

from triton_gym.device import Device
from triton_gym.errors import EvaluatorError, MachineError, TritonGymError
from triton_gym.evaluation.backends import backend_of
from triton_gym.evaluation.backends.protocol import Backend, Fault
from triton_gym.evaluation.confine import privileges
from triton_gym.evaluation.service.transport import Work
from triton_gym.evaluation.workers.scratch import remove
from triton_gym.outcome import Outcome

if TYPE_CHECKING:
    from triton_gym.evaluation.judging.judge import Judge
    from triton_gym.task import Task

TASKS = 64
"""Unpickled tasks that are kept."""
SWITCH_S = 0.0005
"""How long a thread of a judge keeps the interpreter while others want it: a tenth of Python's own.
Whoever queues work for a device hands it over with every operator, some with the device held, and
waits so long to have it back from one that reads a plan."""
PAUSE_S = 5.0
"""How long a judge leaves the device to others when an evaluation has found no memory there."""


class Tasks:
    """Tasks by their pickled form, so that those of a batch are unpickled once."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Task] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, pickled: bytes) -> Task:
        """The task."""
        import cloudpickle

        with self._lock:
            if pickled in self._known:
                self._known.move_to_end(pickled)
            else:
                self._known[pickled] = cloudpickle.loads(pickled)
                if len(self._known) > TASKS:
                    self._known.popitem(last=False)
            return self._known[pickled]


class Server:
    """Answers requests until the user's process is gone."""

    def __init__(
        self, connection: Connection, backend: Backend, judge: Judge, workers: int
    ) -> None:
        self._connection, self._backend, self._judge = connection, backend, judge
        self._sending = threading.Lock()
        self._tasks = Tasks()
        self._pool = ThreadPoolExecutor(workers)
        self._begun: dict[int, Future[None]] = {}
        self._ledger = threading.Lock()

    def serve(self) -> None:
        """Read messages until the connection ends."""
        while True:
            try:
                kind, number, *rest = self._connection.recv()
            except (EOFError, OSError):
                break
            with self._ledger:
                if kind == "work":
                    self._begun[number] = self._pool.submit(self._work, number, *rest)
                    continue
                waiting = self._begun.get(number)
                dropped = waiting is not None and waiting.cancel()
                if dropped:
                    del self._begun[number]
            if dropped:
                self._send("answered", number, None)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, number: int, work: Work) -> None:
        from triton_gym.evaluation.judging.judge import Request

        kind: str = "answered"
        result: Any
        try:
            request = Request(
                task=self._tasks.load(work.task), source=work.source, seed=work.seed,
                baseline=work.baseline, limits=work.limits, tested=work.tested,
            )  # fmt: skip
            judge = self._judge
            result = judge.evaluate_each(request) if work.each else judge.evaluate(request)
        except MachineError as error:
            time.sleep(PAUSE_S)
            kind, result = "again", str(error)
        except TritonGymError as error:
            result = error
        except BaseException as error:  # a fault of the service or of the task's functions
            fault = self._backend.fault(error) if isinstance(error, Exception) else Fault.OTHER
            if fault is Fault.DEVICE:
                # A context that failed once fails always.
                self._give_up(f"{type(error).__name__}: {error}")
            told = f"The evaluation failed: {type(error).__name__}: {error}"
            if fault is Fault.MEMORY:
                time.sleep(PAUSE_S)
                kind, result = "again", told
            else:
                result = EvaluatorError(told)
        if not isinstance(result, Outcome | tuple) and not os.path.isdir(tempfile.gettempdir()):
            # Somebody cleared it away. Whoever started this judge makes another one.
            self._give_up("its folder for temporary files is gone")
        with self._ledger:
            self._begun.pop(number, None)
        self._send(kind, number, result)

    def _give_up(self, reason: str) -> NoReturn:
        self._send("unusable", reason)
        os._exit(1)

    def _send(self, *message: Any) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                pass  # the user's process is gone; `serve` sees it
            except Exception as error:  # of the task's functions, and not to be pickled
                kind, number, result = message
                told = f"{type(result).__name__} cannot be sent: {type(error).__name__}: {error}"
                self._connection.send((kind, number, EvaluatorError(told)))


def main(fd: int, device: Device, workers: int, judges: int, folder: str) -> None:
    """Serve on a socket.

    Args:
        fd: the socket to the user's process.
        device: what to evaluate on.
        workers: evaluations at the same time.
        judges: how many share the device.
        folder: for everything temporary, so that nothing is left whichever process dies first.
    """
    tempfile.tempdir = folder
    sys.setswitchinterval(SWITCH_S)
    privileges.hide()
    privileges.adopt_orphans()
    connection = Connection(fd)
    judge: Judge | None = None
    first: tuple[str, str]
    try:
        backend = backend_of(device)
        judge = backend.open(device, judges)
        first = ("ready", backend.hardware(device))
    except Exception as error:
        first = ("unusable", f"{device} cannot be used: {type(error).__name__}: {error}")
    try:
        connection.send(first)
        if judge is not None:
            Server(connection, backend, judge, workers).serve()
    except OSError:
        pass  # the user's process went away meanwhile
    if judge is not None:
        judge.close()
    remove(folder)
    os._exit(0)  # threads may still wait for workers that are dead by now


if __name__ == "__main__":
    _fd, _kind, _which, _workers, _judges, _folder = sys.argv[1:]
    main(int(_fd), Device(_kind, _which), int(_workers), int(_judges), _folder)
