"""Which judge does which evaluation when: a bounded queue in front of some judges.

Nothing is lost and nothing is answered twice: an evaluation is in the queue or at one judge, and
leaves the books under the lock before its future is told. A judge holds no more than its workers
can take and a small look-ahead, so priorities and cancellation reach what is still here (`line`).

A judge that dies is started again and what it had is done again, elsewhere if there is an
elsewhere. An evaluation that was there at two deaths runs alone the third time; if the judge dies
again it was to blame, and ends in an error. Deaths that no evaluation is to blame for are strikes
against the judge: at `STRIKES` in a row it is drained.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import InvalidStateError
from typing import cast

from triton_gym.errors import EvaluatorError, QueueFullError, TritonGymError, warn
from triton_gym.evaluation.service.evaluation_queue import EvaluationQueue, best
from triton_gym.evaluation.service.future import Evaluation, JudgeState, Progress, Result
from triton_gym.evaluation.service.slot import STRIKES, TRIES, Entry, Slot
from triton_gym.evaluation.service.transport import Transport, Work
from triton_gym.outcome import Outcome


class Scheduler:
    """The queue, and the books on every judge. Safe to use from several threads.

    Args:
        slots: the places for judges.
        bound: evaluations that may wait and run at the same time.
    """

    def __init__(self, slots: Iterable[Slot], bound: int) -> None:
        self._slots = list(slots)
        self._bound = bound
        # Garbage collection may close an evaluator in a thread that holds the lock.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._entries: dict[int, Entry] = {}
        self._queue = EvaluationQueue(self._entries)
        self._suspects: list[Entry] = []
        self._ids = itertools.count()
        self._closed = False
        self._owner = os.getpid()
        self._count = dict.fromkeys(("submitted", "done", "recorded", "failed", "cancelled"), 0)
        self._redone = 0
        self._transports: set[Transport] = set()
        self._ours = threading.local()

    # -- what the evaluator asks for ------------------------------------------------------------

    @property
    def inside(self) -> bool:
        """Whether this thread is telling a future its result, and so must not wait for others."""
        return bool(getattr(self._ours, "inside", False))

    def number(self) -> int:
        """The id of the next evaluation."""
        return next(self._ids)

    def recorded(self) -> None:
        """Count an evaluation that was answered from the store."""
        with self._lock:
            for name in ("submitted", "done", "recorded"):
                self._count[name] += 1

    def add(
        self,
        evaluation: Evaluation,
        work: Work,
        record: Callable[[Outcome, str], None] | None,
        wait: bool | float = True,
    ) -> None:
        """Put an evaluation in the queue.

        Args:
            evaluation: its future.
            work: what the judge is sent.
            record: told a fresh outcome before the future is.
            wait: whether to wait for room, or how many seconds at most.

        Raises:
            QueueFullError: there is no room.
            EvaluatorError: the evaluator is closed, in another process, or has no judge left.
        """
        entry = Entry(evaluation, work, record, (-evaluation.priority, evaluation.id))
        self._usable()
        deadline = None if wait is True else time.monotonic() + float(wait)
        with self._changed:
            # A callback of a future runs in a thread that must not wait for itself.
            while len(self._entries) >= self._bound and not self.inside:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise QueueFullError(
                        f"{self._bound} evaluations are waiting or under way, as many as "
                        f"`pending=` allows. Take results first, or submit with wait=True."
                    )
                self._changed.wait(left)
                self._usable()
            self._usable()
            self._entries[evaluation.id] = entry
            self._count["submitted"] += 1
            self._queue.join(entry)
            self._dispatch()
            try:
                self._usable()
            except EvaluatorError:  # no judge could be started
                self._entries.pop(evaluation.id, None)
                raise

    def withdraw(self, evaluation: Evaluation) -> None:
        """Forget a cancelled evaluation; its judge, if it has one, keeps its place until then."""
        with self._changed:
            entry = self._entries.pop(evaluation.id, None)
            if entry is None:
                return
            self._count["cancelled"] += 1
            if entry in self._suspects:
                self._suspects.remove(entry)
            for slot in self._slots:
                if evaluation.id in slot.running and slot.transport is not None:
                    slot.transport.drop(evaluation.id)
            self._dispatch()
            self._changed.notify_all()
        evaluation.set_running_or_notify_cancel()  # wakes those who wait for it

    def join_in(self, slot: Slot) -> None:
        """Add a place for a judge while others work."""
        with self._changed:
            self._slots.append(slot)
            self._dispatch()

    def hardware(self) -> set[str]:
        """What the judges that are up run on; waits for the first if none is.

        Raises:
            EvaluatorError: see `add`.
        """
        with self._changed:
            while not (found := {slot.hardware for slot in self._slots if slot.hardware}):
                self._usable()
                usable = [slot for slot in self._slots if not slot.drained]
                if usable and all(slot.transport is None for slot in usable):
                    self._start(usable[0])
                    continue
                self._changed.wait()
            return found

    def progress(self) -> Progress:
        """How everything stands."""
        with self._lock:
            running = sum(entry.evaluation.sent for entry in self._entries.values())
            return Progress(
                **self._count,
                waiting=len(self._entries) - running,
                running=running,
                redone=self._redone,
                judges=tuple(
                    JudgeState(s.device, s.state, len(s.running), s.done, s.deaths)
                    for s in self._slots
                ),
            )

    def close(self) -> None:
        """End all judges. What is not done fails with `EvaluatorError`."""
        if os.getpid() != self._owner:
            return  # a fork of the program must not end its parent's judges
        with self._changed:
            self._closed = True
            transports = list(self._transports)
            left = list(self._entries.values())
            self._entries.clear()
            self._count["failed"] += len(left)
            self._changed.notify_all()
        for transport in transports:
            transport.hang_up()
        for transport in transports:
            transport.join()
        self._tell(left, EvaluatorError("The evaluator was closed."))

    def _usable(self) -> None:
        if os.getpid() != self._owner:
            raise EvaluatorError(
                "An Evaluator cannot be used in a fork of the process that made it; "
                "make one in each process."
            )
        if self._closed:
            raise EvaluatorError("The evaluator is closed; make another.")
        if self._slots and all(slot.drained for slot in self._slots):
            reasons = "; ".join(f"{slot.device}: {slot.drained}" for slot in self._slots)
            raise EvaluatorError(f"No judge is left. {reasons}")

    # -- what transports tell ------------------------------------------------------------------

    def ready(self, transport: Transport, device: str) -> None:
        """A judge is up."""
        with self._changed:
            if slot := self._slot_of(transport):
                slot.hardware = device
                self._dispatch()
                self._changed.notify_all()

    def answered(
        self, transport: Transport, number: int, result: Result | TritonGymError | None
    ) -> None:
        """A judge is through with an evaluation."""
        with self._changed:
            slot = self._slot_of(transport)
            if slot is None or slot.running.pop(number, None) is None:
                return  # a judge that was given up; the evaluation is done elsewhere
            slot.strikes = 0
            slot.done += 1
            hardware = slot.hardware
            # None of an evaluation that was cancelled meanwhile.
            entry = self._entries.pop(number, None)
            if entry:
                self._count["failed" if isinstance(result, TritonGymError) else "done"] += 1
            self._dispatch()
            self._changed.notify_all()
        if entry is not None and result is not None:
            try:
                if entry.record is not None and isinstance(result, Outcome):
                    entry.record(result, hardware)
            except BaseException as error:
                warn(f"An outcome was not recorded: {error!r}")
            finally:  # whatever recording does, the future is told
                self._tell([entry], result)

    def again(self, transport: Transport, number: int, reason: str) -> None:
        """A judge could not do an evaluation this time."""
        with self._changed:
            slot = self._slot_of(transport)
            if slot is None or slot.running.pop(number, None) is None:
                return
            guilty = self._redo(self._entries.get(number), slot)
            self._dispatch()
            self._changed.notify_all()
        self._tell(guilty, EvaluatorError(reason))

    def lost(self, transport: Transport, reason: str) -> None:
        """A judge died."""
        with self._changed:
            slot = self._slot_of(transport)
            if slot is None:
                return
            had = [self._entries.get(number) for number in slot.vacate()]
            slot.deaths += 1
            slot.strikes += 1
            guilty = [one for entry in had for one in self._redo(entry, slot)]
            told = self._judge_slot(slot, reason)
            doomed = [] if any(not s.drained for s in self._slots) else list(self._entries.values())
            if doomed:
                self._entries.clear()
            self._count["failed"] += len(doomed)
            self._dispatch()
            self._changed.notify_all()
        transport.join()
        with self._lock:
            self._transports.discard(transport)
        died = f"The judge died {TRIES} times while it had this evaluation: {reason}"
        self._tell(guilty, EvaluatorError(died))
        self._tell(doomed, EvaluatorError(f"No judge is left. {told}"))
        if told:
            warn(told)

    # -- with the lock held ---------------------------------------------------------------------

    def _slot_of(self, transport: Transport) -> Slot | None:
        return (
            next((s for s in self._slots if s.transport is transport), None)
            if not self._closed
            else None
        )

    def _judge_slot(self, slot: Slot, reason: str) -> str:
        if slot.strikes < STRIKES:
            return ""
        slot.drained = reason
        others = ", ".join(s.device for s in self._slots if not s.drained)
        return (
            f"The judge of {slot.device} is given up after {slot.strikes} failures in a row: "
            f"{reason}. " + (f"Its work is done by {others}." if others else "There is no other.")
        )

    def _redo(self, entry: Entry | None, slot: Slot) -> list[Entry]:
        """Put an evaluation back; returns it instead if it was tried often enough."""
        if entry is None:
            return []  # cancelled meanwhile
        entry.deaths += 1
        entry.died_at.append(slot)
        entry.evaluation.sent = False
        if entry.deaths >= TRIES:
            self._entries.pop(entry.evaluation.id, None)
            self._count["failed"] += 1
            for other in entry.died_at:  # the evaluation was to blame, not the judges
                other.strikes = max(0, other.strikes - 1)
            return [entry]
        self._redone += 1
        if entry.deaths == TRIES - 1:
            self._suspects.append(entry)
        else:
            self._queue.join(entry)
        return []

    def _dispatch(self) -> None:
        """Give judges what they can take, and start those that are needed."""
        if self._closed:
            return
        for slot in self._slots:
            slot.alone = slot.alone and bool(slot.running)
        self._isolate()
        while free := [s for s in self._open() if len(s.running) < s.capacity]:
            entry = self._queue.next(free, self._open())
            if entry is None:
                break
            self._send(entry, best(free, entry))
        self._start_needed()

    def _isolate(self) -> None:
        """Give each suspect a judge of its own, as soon as one is empty."""
        while self._suspects and (ready := self._open()):
            entry = self._suspects[0]
            slot = best(ready, entry)
            if slot.running:
                slot.alone = True  # it gets nothing new until it is empty
                break
            self._suspects.pop(0)
            self._send(entry, slot)
            slot.alone = True

    def _open(self) -> list[Slot]:
        return [
            s for s in self._slots if s.hardware and s.transport and not s.drained and not s.alone
        ]

    def _send(self, entry: Entry, slot: Slot) -> None:
        entry.evaluation.sent = True
        slot.take(entry)
        if slot.transport is None:  # `_open` saw to it
            return
        try:
            slot.transport.send(entry.evaluation.id, entry.work)
        except Exception as error:  # whoever dispatches must go on, and the future be told
            reason = f"an evaluation could not be sent: {type(error).__name__}: {error}"
            threading.Thread(target=self.lost, args=(slot.transport, reason), daemon=True).start()

    def _start_needed(self) -> None:
        """Start as many judges as there is work for."""
        waiting = len(self._queue) + len(self._suspects)
        for slot in self._slots:
            if slot.drained or waiting <= 0:
                continue
            if slot.transport is None:
                self._start(slot)
            if not slot.hardware:
                waiting -= slot.capacity

    def _start(self, slot: Slot) -> None:
        transport = slot.make()
        try:
            transport.start(self)
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            slot.drained = f"it cannot be started: {error}"
            return
        slot.transport = transport
        self._transports.add(transport)

    # -- with the lock free ---------------------------------------------------------------------

    def _tell(self, entries: list[Entry], result: Result | TritonGymError) -> None:
        """Give futures their result; what they call in turn may submit, but never waits."""
        self._ours.inside = True
        try:
            for entry in entries:
                try:
                    _finish(entry.evaluation, result)
                except BaseException as error:  # a callback's, `SystemExit` too: not this thread's
                    warn(f"A callback of evaluation {entry.evaluation.id} failed: {error!r}")
        finally:
            self._ours.inside = False


def _finish(evaluation: Evaluation, result: Result | TritonGymError) -> None:
    try:
        if isinstance(result, TritonGymError):
            evaluation.set_exception(result)
        else:
            evaluation.set_result(cast(Outcome, result))  # see `Evaluator.submit_each`
    except InvalidStateError:  # cancelled after it had left the books
        with contextlib.suppress(InvalidStateError):
            evaluation.set_running_or_notify_cancel()
