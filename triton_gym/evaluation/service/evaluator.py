"""The `Evaluator`: answers in, futures of outcomes out.

The judges do not live in the user's process, so that a training loop that uses the same GPU, or
forks, or dies, does not disturb them. They end when the user's process ends, however that happens.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Unpack, cast

import cloudpickle

from triton_gym.action import InvalidAction, extract
from triton_gym.device import Device
from triton_gym.errors import (
    EvaluatorError,
    InvalidOptionError,
    InvalidTaskError,
)
from triton_gym.evaluation.backends import backend_of, resolve_all
from triton_gym.evaluation.backends.protocol import Backend
from triton_gym.evaluation.confine.layers import warn_of_missing
from triton_gym.evaluation.records.background import BackgroundStore
from triton_gym.evaluation.records.store import Key
from triton_gym.evaluation.service.future import Evaluation, Progress
from triton_gym.evaluation.service.options import check_answer, check_options, count_of, seed_of
from triton_gym.evaluation.service.protocol import EvaluationOptions
from triton_gym.evaluation.service.scheduler import Scheduler
from triton_gym.evaluation.service.slot import Slot, capacity_for
from triton_gym.evaluation.service.transport import ProcessTransport, Work
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import Outcome, Status
from triton_gym.task import Task

PENDING = 4096
"""Evaluations that may wait and run at the same time, unless given."""
WORKERS_A_JUDGE = 6
"""Workers that one judge's process keeps busy: its threads, which draw inputs and compare results,
share one interpreter. With more, a device has several judges; those of a GPU take turns."""

Path = str | os.PathLike[str]


class Evaluator:
    """Evaluates answers on the devices of this machine, in processes of its own.

    Args:
        device: `auto`, `cuda`, `cuda:<ordinal>`, `cuda:all`, `simulated` or `simulated:<gpu>`.
        devices: several of these instead, each with a judge of its own.
        workers: evaluations at the same time on each device; by default what the processors bear
            (`Backend.workers`). On a GPU their timed parts take turns.
        pending: evaluations that may wait and run at the same time; `submit` waits beyond that.
        store: file of outcomes that were found before (`store.py`), made if it is not there.

    The processes start with the first evaluation and end with this object, or with the program.
    A judge that dies is started again and its work done again; a device on which that happens
    over and over is drained, with a `RuntimeWarning`, and the others do its work.

    Raises:
        InvalidOptionError: an argument is outside what is allowed.
        DeviceError: a device is not there.
        StoreError: the store cannot be opened.
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        devices: Sequence[str] | None = None,
        workers: int | None = None,
        pending: int = PENDING,
        store: Path | None = None,
    ) -> None:
        named = (devices,) if isinstance(devices, str) else devices or (device,)
        chosen = tuple(one for text in named for one in resolve_all(text))
        backend = _backend_of_all(chosen)
        if workers is not None:
            workers = count_of("workers", workers)
        self.workers = workers or backend.workers(len(chosen))
        self._devices = chosen
        shares = _shares(self.workers)
        slots = [
            Slot(str(one), capacity_for(share), _transport_maker(one, share, len(shares)))
            for one in chosen
            for share in shares
        ]
        self._set_up(chosen[0], Scheduler(slots, count_of("pending", pending)), pending, store)

    def _set_up(
        self, device: Device, scheduler: Scheduler, pending: int, store: Path | None
    ) -> None:
        self.device = device
        self.deterministic = backend_of(device).deterministic
        self.pending = pending
        self.store = None if store is None else BackgroundStore(store)
        self._scheduler = scheduler
        self._pickles: OrderedDict[bytes, bytes] = OrderedDict()
        self._pickling = threading.Lock()
        self._end = weakref.finalize(self, _end, scheduler, self.store)

    # -- evaluations --------------------------------------------------------------------------

    def evaluate(self, task: Task, source: str, **options: Unpack[EvaluationOptions]) -> Outcome:
        """Evaluate one answer, a source or a reply, and wait for its outcome. See `submit`."""
        if self._scheduler.inside:
            raise EvaluatorError(
                "evaluate() was called by a future's callback, which would wait for itself; "
                "use submit() there."
            )
        future = self.submit(task, source, **options)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupted caller wants no more of it
            raise

    def submit(
        self,
        task: Task,
        source: str,
        *,
        seed: int | None = None,
        baseline: str = "eager",
        limits: Limits | None = None,
        priority: int = 0,
        wait: bool | float = True,
        fresh: bool = False,
        tested: bool = False,
    ) -> Evaluation:
        """Start an evaluation.

        Args:
            task: what the answer is for.
            source: the answer: a Python module, or a reply that `triton_gym.extract` finds one in.
                Where there is none, the outcome is `invalid_action`.
            seed: decides inputs and hidden shapes, an integer of 64 bits. None for one that nobody
                knows; on the simulated device, where outcomes are reproducible, None means 0.
            baseline: `eager` or `compile`.
            limits: time and memory.
            priority: what waits with a higher one is started earlier.
            wait: if `pending` evaluations are under way, wait for room (True), raise at once
                (False), or wait so many seconds at most. A future's callback never waits.
            fresh: evaluate even if the store has the answer.
            tested: only time it, since it passed the hidden shapes before, as a recording's
                configurations have. What timed calls return is compared all the same; the store
                does not keep the outcome.

        Returns:
            A future of the outcome (`Evaluation`). It raises `EvaluatorError` only if the
            evaluation service itself fails, and `InvalidTaskError` if the task is at fault.

        Raises:
            InvalidOptionError, InvalidTaskError: an argument is wrong.
            QueueFullError: there was no room within `wait`.
            EvaluatorError: the evaluator is closed, or no judge is left.
        """
        check_answer(task, source)
        check_options(baseline, limits, priority, wait)
        seed = seed_of(seed)
        bounds = limits or Limits()
        invalid = ""
        try:
            source = extract(source, task)
        except InvalidAction as error:
            invalid = str(error)
        future = Evaluation(
            self._scheduler.number(), task.name, source, priority, self._scheduler.withdraw, self
        )
        if invalid:
            self._scheduler.recorded()
            future.set_result(Outcome(status=Status.INVALID_ACTION, message=invalid))
            return future
        key = None
        if self.store is not None and not tested:
            key = self.store.key(task, source, baseline, bounds)
        if key is not None and not fresh and (outcome := self._recorded(key)) is not None:
            self._scheduler.recorded()
            future.set_result(outcome)
            return future
        warn_of_missing()
        work = Work(self._pickled(task), source, seed, baseline, bounds, tested)
        self._scheduler.add(future, work, self._recorder(key, task.name, work), wait)
        return future

    def submit_each(
        self, task: Task, source: str, *, tested: bool = False
    ) -> Future[tuple[Outcome, ...]]:
        """Start the evaluation of one answer on each of a task's timed cases, briefly.

        The cases share what does not depend on their sizes: on a GPU the answer is recorded by one
        process, and a kernel that several cases launch with the same specialisation is compiled
        once. Fewer calls are timed than by `submit` (`backends/cuda/bench.py` says how many), and
        every one's result is compared. The store keeps none of it.

        Args:
            task: all cases of its `bench` are timed.
            source: the answer, a Python module.
            tested: whether it passed the hidden shapes before; otherwise it is tested on them with
                the first case.

        Returns:
            A future of the outcomes, in the order of the cases. It raises what that of `submit`
            does.

        Raises:
            InvalidOptionError, InvalidTaskError: an argument is wrong.
        """
        check_answer(task, source)
        future = Evaluation(
            self._scheduler.number(), task.name, source, 0, self._scheduler.withdraw, self
        )
        warn_of_missing()
        work = Work(self._pickled(task), source, None, "eager", Limits(), tested, each=True)
        self._scheduler.add(future, work, None)
        return cast("Future[tuple[Outcome, ...]]", future)

    def submit_work(self, work: Work) -> Evaluation:
        """Start an evaluation that another evaluator has prepared."""
        number = self._scheduler.number()
        future = Evaluation(number, "", work.source, 0, self._scheduler.withdraw, self)
        self._scheduler.add(future, work, None)
        return future

    def map(
        self,
        task: Task | Iterable[Task],
        sources: Iterable[str],
        *,
        seeds: Iterable[int | None] = (),
        progress: Callable[[Progress], None] | None = None,
        **options: Any,
    ) -> Iterator[Outcome]:
        """Evaluate many answers and yield their outcomes in the order of `sources`.

        No more than `pending` are taken from `sources` ahead of what was yielded, so `sources`
        may be endless. What is left is cancelled when the iterator is closed.

        Args:
            task: what all answers are for, or a task for each.
            sources: the answers.
            seeds: one for each answer, as far as they go.
            progress: called with `self.progress()` before each outcome is yielded.
            options: of `submit`.
        """
        tasks = itertools.repeat(task) if isinstance(task, Task) else iter(task)
        given = zip(tasks, sources, itertools.chain(seeds, itertools.repeat(None)), strict=False)
        futures: deque[Evaluation] = deque()
        try:
            for one, source, seed in given:
                futures.append(self.submit(one, source, seed=seed, **options))
                while futures and (futures[0].done() or len(futures) >= self.pending):
                    yield self._next(futures, progress)
            while futures:
                yield self._next(futures, progress)
        finally:
            for future in futures:
                future.cancel()

    def _next(
        self, futures: deque[Evaluation], progress: Callable[[Progress], None] | None
    ) -> Outcome:
        outcome = futures[0].result()
        futures.popleft()
        if progress is not None:
            progress(self.progress())
        return outcome

    def progress(self) -> Progress:
        """How the evaluations and the judges stand."""
        return self._scheduler.progress()

    def describe(self) -> str:
        """The device in a word, e.g. `cuda:0` or `simulated:h100`; the first of several."""
        return str(self.device)

    def hardware(self) -> str:
        """The model of the devices, as their judges say; starts one if none is up.

        Raises:
            EvaluatorError: no judge can be had.
        """
        return ", ".join(sorted(self._scheduler.hardware()))

    def close(self) -> None:
        """End the processes. Evaluations that are under way fail with `EvaluatorError`."""
        _end(self._scheduler, self.store)

    # -- the store ----------------------------------------------------------------------------

    def _recorded(self, key: Key) -> Outcome | None:
        if self.store is None:
            return None
        model = backend_of(self.device).model(self.device)
        return self.store.get(key, {model} if model else self._scheduler.hardware())

    def _recorder(
        self, key: Key | None, task: str, work: Work
    ) -> Callable[[Outcome, str], None] | None:
        store = self.store
        if store is None or key is None:
            return None

        def record(outcome: Outcome, hardware: str) -> None:
            store.put(key, hardware, task, work.source, work.seed, outcome)

        return record

    def _pickled(self, task: Task) -> bytes:
        """The task's bytes, one copy for all equal ones that wait."""
        try:
            pickled: bytes = cloudpickle.dumps(task)
        except Exception as error:
            raise InvalidTaskError(
                f"Task {task.name!r} cannot be sent to a judge: {type(error).__name__}: {error}. "
                "Its functions must not hold open files, locks or generators."
            ) from error
        with self._pickling:
            same = self._pickles.setdefault(pickled, pickled)
            self._pickles.move_to_end(pickled)
            if len(self._pickles) > 64:
                self._pickles.popitem(last=False)
        return same

    # -- as an object -------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Evaluator:
        return self  # Gymnasium copies the arguments of an environment

    def __reduce__(self) -> tuple[Any, ...]:
        store = None if self.store is None else str(self.store.store.path)
        return (_again, (tuple(map(str, self._devices)), self.workers, self.pending, store))

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _end(scheduler: Scheduler, store: BackgroundStore | None) -> None:
    scheduler.close()
    if store is not None:
        store.close()


def _backend_of_all(devices: Sequence[Device]) -> Backend:
    """The backend of devices that one evaluator is to have.

    Raises:
        InvalidOptionError: it cannot have these.
    """
    told = list(map(str, devices))
    backend = backend_of(devices[0])
    different = len({device.kind for device in devices}) > 1
    if different or (not backend.exclusive and len(set(devices)) > 1):
        raise InvalidOptionError(f"The devices of one evaluator must be of one kind; got {told}.")
    if backend.exclusive and len(set(devices)) < len(devices):
        raise InvalidOptionError(f"A device is named twice in {told}.")
    return backend


def _shares(workers: int) -> tuple[int, ...]:
    """The workers of one device, over as many judges as they need."""
    judges = -(-workers // WORKERS_A_JUDGE)
    return tuple(workers // judges + (index < workers % judges) for index in range(judges))


def _transport_maker(device: Device, workers: int, judges: int) -> Callable[[], ProcessTransport]:
    return lambda: ProcessTransport(device, workers, judges)


def _again(devices: Sequence[str], workers: int, pending: int, store: str | None) -> Evaluator:
    """An evaluator like one that was pickled, with processes of its own."""
    return Evaluator(devices=devices, workers=workers, pending=pending, store=store)
