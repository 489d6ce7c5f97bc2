"""The judge as a process of its own, and the `Evaluator` that talks to it.

The judge does not live in the user's process, so that a training loop that uses the same GPU, or
forks, or dies, does not disturb it. It ends when the user's process ends, however that happens.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from triton_gym.device import Device, resolve
from triton_gym.errors import EvaluatorError, InvalidOptionError, TritonGymError, unknown
from triton_gym.evaluation.confine import privileges
from triton_gym.evaluation.confine.layers import warn_of_missing
from triton_gym.evaluation.sandbox import Limits
from triton_gym.outcome import Outcome
from triton_gym.task import Task

BASELINES = ("eager", "compile")
TRIES = 3
"""How often an evaluation is started again when its judge dies."""


class Evaluator:
    """Evaluates answers on one device, in processes of its own.

    Args:
        device: see `triton_gym.device.resolve`.
        workers: evaluations that run at the same time. On a GPU their timed parts take turns.

    The processes start with the first evaluation and end with this object, or with the program.
    """

    def __init__(self, device: str = "auto", *, workers: int = 1) -> None:
        if workers < 1:
            raise InvalidOptionError(f"workers must be 1 or more; got {workers}.")
        self.device = resolve(device)
        self.workers = workers
        self._lock = threading.Lock()
        self._pending: dict[int, tuple[bytes, Future[Outcome], int]] = {}
        self._ids = itertools.count()
        self._link: _Link | None = None
        self._owner = os.getpid()
        atexit.register(self.close)

    def evaluate(self, task: Task, source: str, **options: Any) -> Outcome:
        """Evaluate one answer and wait for its outcome. Options as of `submit`."""
        return self.submit(task, source, **options).result()

    def submit(
        self,
        task: Task,
        source: str,
        *,
        seed: int | None = None,
        baseline: str = "eager",
        limits: Limits | None = None,
    ) -> Future[Outcome]:
        """Start an evaluation.

        Args:
            task: what the answer is for.
            source: the answer, a Python module.
            seed: decides inputs and hidden shapes. None for one that nobody knows; on the
                simulated device, where outcomes are reproducible, None means 0.
            baseline: `eager` or `compile`.
            limits: time and memory.

        Returns:
            A future of the outcome. It raises `EvaluatorError` only if the evaluation service
            itself fails, and `InvalidTaskError` if the task is at fault.
        """
        if baseline not in BASELINES:
            raise unknown("baseline", baseline, BASELINES)
        if not isinstance(source, str):
            raise InvalidOptionError(f"source must be text; got {type(source).__name__}.")
        fields = {
            "task": task, "source": source, "seed": seed, "baseline": baseline,
            "limits": limits or Limits(),
        }  # fmt: skip
        request = cloudpickle.dumps(fields)
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            number = next(self._ids)
            self._pending[number] = (request, future, 1)
            self._send(number, request)
        return future

    def describe(self) -> str:
        """The device in a word, e.g. `cuda:0` or `simulated:h100`."""
        return str(self.device)

    def close(self) -> None:
        """End the processes. Evaluations that are under way fail with `EvaluatorError`."""
        if os.getpid() != self._owner:
            return  # a fork of the program must not end its parent's judge
        with self._lock:
            link, self._link = self._link, None
            pending, self._pending = self._pending, {}
        if link:
            link.close()
        for _, future, _ in pending.values():
            future.set_exception(EvaluatorError("The evaluator was closed."))

    def __deepcopy__(self, memo: dict[int, Any]) -> Evaluator:
        return self  # Gymnasium copies the arguments of an environment

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (str(self.device), self.workers))

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- the link to the judge ----------------------------------------------------------------

    def _send(self, number: int, request: bytes) -> None:
        if os.getpid() != self._owner:
            raise EvaluatorError(
                "An Evaluator cannot be used in a fork of the process that made it; "
                "make one in each process."
            )
        if self._link is None:
            warn_of_missing()
            self._link = _Link(self.device, self.workers, self._answered, self._lost)
        self._link.send(number, request)

    def _answered(self, number: int, result: Outcome | TritonGymError) -> None:
        with self._lock:
            entry = self._pending.pop(number, None)
        if entry is None:
            return
        if isinstance(result, Outcome):
            entry[1].set_result(result)
        else:
            entry[1].set_exception(result)

    def _lost(self, link: _Link, reason: str) -> None:
        """The judge died: start another and hand it what was under way."""
        failed: list[Future[Outcome]] = []
        with self._lock:
            if self._link is not link:
                return
            self._link = None
            link.close()
            for number, (request, future, tries) in list(self._pending.items()):
                if tries >= TRIES:
                    failed.append(self._pending.pop(number)[1])
                else:
                    self._pending[number] = (request, future, tries + 1)
                    self._send(number, request)
        for future in failed:
            future.set_exception(EvaluatorError(f"The judge died {TRIES} times: {reason}"))


def _again(device: str, workers: int) -> Evaluator:
    """An evaluator like one that was pickled, with processes of its own."""
    return Evaluator(device, workers=workers)


class _Link:
    """A judge process and the thread that reads its answers."""

    def __init__(self, device: Device, workers: int, answered: Any, lost: Any) -> None:
        ours, theirs = socket.socketpair()
        self._folder = tempfile.mkdtemp(prefix="triton-gym-")
        search = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": search}
        # Triton decides at import whether to interpret; only nurseries may.
        environment.pop("TRITON_INTERPRET", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(theirs.fileno()), device.kind,
             str(device.index), device.gpu, str(workers), self._folder],
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self._socket = ours
        self._connection = Connection(os.dup(ours.fileno()))
        self._answered, self._lost = answered, lost
        self._closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, number: int, request: bytes) -> None:
        try:
            self._connection.send((number, request))
        except OSError:
            pass  # the reading thread sees the same end and starts over

    def _read(self) -> None:
        reason = "it closed its connection"
        try:
            while True:
                number, result = self._connection.recv()
                self._answered(number, result)
        except (EOFError, OSError) as error:
            reason = str(error) or reason
        self._connection.close()
        if not self._closed:
            self._lost(self, f"{reason} (exit code {self._process.poll()})")

    def close(self) -> None:
        self._closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader; close alone does not
        except OSError:
            pass
        self._socket.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


# -- the judge's side -----------------------------------------------------------------------------


def _make_judge(device: Device) -> Any:
    if device.simulated:
        from triton_gym.evaluation.simulated import SimulatedJudge

        return SimulatedJudge(device)
    from triton_gym.evaluation.measured import CudaJudge

    return CudaJudge(device)


def _serve(connection: Connection, device: Device, workers: int, folder: str) -> None:
    """Answer requests until the user's process is gone.

    Args:
        connection: to the user's process.
        device: what to evaluate on.
        workers: evaluations at the same time.
        folder: for everything temporary, so that nothing is left whichever process dies first.
    """
    tempfile.tempdir = folder
    privileges.hide()
    privileges.adopt_orphans()
    from triton_gym.evaluation.judge import Request

    judge = _make_judge(device)
    sending = threading.Lock()

    def work(number: int, request: bytes) -> None:
        result: Outcome | TritonGymError
        try:
            result = judge.evaluate(Request(**cloudpickle.loads(request)))
        except TritonGymError as error:
            result = error
        except Exception as error:  # a fault of the service or of the task's functions
            result = EvaluatorError(f"The evaluation failed: {type(error).__name__}: {error}")
        with sending:
            connection.send((number, result))

    pool = ThreadPoolExecutor(workers)
    while True:
        try:
            number, request = connection.recv()
        except (EOFError, OSError):
            break
        pool.submit(work, number, request)
    pool.shutdown(wait=False, cancel_futures=True)
    judge.close()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # threads may still wait for workers that are dead by now


if __name__ == "__main__":
    _fd, _kind, _index, _gpu, _workers, _folder = sys.argv[1:]
    _serve(Connection(int(_fd)), Device(_kind, int(_index), _gpu), int(_workers), _folder)
