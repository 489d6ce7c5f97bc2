"""The timed case of one evaluation: recorded, compiled, followed in part, and verified."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from triton_gym.evaluation.backends.simulated.client import sparse
from triton_gym.evaluation.backends.simulated.fullsize import FullSize
from triton_gym.evaluation.backends.simulated.pricing import price
from triton_gym.evaluation.backends.simulated.proof import Proof, prove
from triton_gym.evaluation.backends.simulated.recording import Recording, Setting
from triton_gym.evaluation.judging.judge import Phases
from triton_gym.evaluation.judging.returned import Form, Part, lies_well, parts_of
from triton_gym.evaluation.plan.plan import Call, Plan
from triton_gym.evaluation.plan.step import Copy, Launch
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.recording.session import CaseEntangled
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.time_model import model
from triton_gym.evaluation.trees import leaves
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the timed case."""

    estimate: model.Estimate
    proof: Proof
    prepared: bool
    """Whether something was prepared before the call that counts."""


class TimedCase:
    """The timed case. `prepare` runs beside the tests; the object is a context manager.

    Args:
        setting: of the evaluation.
        full: the case.
        phases: of the evaluation.
    """

    def __init__(self, setting: Setting, full: FullSize, phases: Phases) -> None:
        self._setting, self._full, self._phases = setting, full, phases
        self._lock = threading.Lock()
        self._undrawn = -1
        self._recording: Recording | None = None
        self._abandoned = False
        self._plan: Plan | None = None
        self._builds: list[Build] = []

    def __enter__(self) -> TimedCase:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End its processes."""
        if self._recording is not None:
            self._recording.close()
        if self._undrawn >= 0:
            os.close(self._undrawn)
            self._undrawn = -1

    def abandon(self) -> None:
        """Have `prepare` end soon: nobody waits for what it finds."""
        with self._lock:
            self._abandoned = True
            if self._recording is not None:
                self._recording.kill()

    def prepare(self) -> TimedCase:
        """Record the case, and compile what it launches.

        Raises:
            Ended: the answer failed, or does not compile.
        """
        with self._phases("compile"):
            plan = self._plan = self._recorded()
            recording = self._opened
            start = len(plan.setup) + len(plan.first.steps) + 1
            self._builds = [
                recording.build(start + place, "", step, plan)
                for place, step in enumerate(plan.call.steps)
                if isinstance(step, Launch)
            ]
            for step in (*plan.setup, *plan.first.steps):
                if isinstance(step, Launch):
                    recording.build(0, "", step, plan)
        return self

    def judge(self, tolerances: Mapping[str, float]) -> Found:
        """Follow what the case launches, price it, and hold programs of it to the reference.

        Args:
            tolerances: of the tests, by dtype.

        Raises:
            Ended: it is wrong, or cannot be followed.
        """
        with self._phases("profile"):
            plan, full, task = self._plan, self._full, self._setting.request.task
            if plan is None:
                raise RuntimeError("the timed case was not recorded")
            gpu, steady = self._setting.gpu, plan.first == plan.call
            if not steady:
                self._proved(plan.first, tolerances, first=True)
            parts, traces, proof = self._proved(plan.call, tolerances, first=False)
            dense = [
                Copy(part, _dense(part), 0)
                for part, leaf in zip(parts, leaves(full.tree), strict=True)
                if isinstance(part, View) and not (task.same_strides or lies_well(part, leaf))
            ]
            estimate = price(self._builds, traces, plan.call.steps, gpu, dense)
        return Found(estimate, proof, bool(plan.setup) or plan.first.steps != plan.call.steps)

    def followed(self) -> tuple[list[Build], list[LaunchTrace]]:
        """Machine code and traces of the call that counts, of which nothing is verified.

        Raises:
            Ended: it cannot be followed.
        """
        if self._plan is None:
            raise RuntimeError("the timed case was not recorded")
        return self._builds, self._opened.interpreter.trace(self._plan, [])

    def _proved(
        self, call: Call, tolerances: Mapping[str, float], *, first: bool
    ) -> tuple[list[Part], list[LaunchTrace], Proof]:
        """The tensors of a call's result, what it launches, and what was verified of it.

        Raises:
            Ended: it is wrong, or cannot be followed.
        """
        plan, full, task = self._plan, self._full, self._setting.request.task
        if plan is None:
            raise RuntimeError("the timed case was not recorded")
        form = Form(full.tree, task.same_strides, task.entry.name, str(full.case))
        parts = parts_of(call.result, form)
        views = [part for part in parts if isinstance(part, View)]
        interpreter = self._opened.interpreter
        traces = interpreter.trace(plan, views, first=first)
        where = [number for number, part in enumerate(parts) if isinstance(part, View)]
        written = {n: place for place, n in enumerate(where) if n not in full.handed}
        proof = prove(interpreter, task, full, written, traces, self._setting.secret, tolerances)
        return parts, traces, proof

    @property
    def _opened(self) -> Recording:
        if self._recording is None:
            raise RuntimeError("nothing is recorded")
        return self._recording

    def _recorded(self) -> Plan:
        full = self._full
        size = max(full.layout.nbytes, full.size, 1)
        if not full.block:
            self._undrawn = sparse(size)
        file = full.block.fd if full.block else self._undrawn
        for _ in range(2):
            recording = Recording(
                self._setting, full.case, (file, size), full=True, private=full.block is not None,
                seed=full.seed,
            )  # fmt: skip
            with self._lock:
                self._recording = recording
                if self._abandoned:
                    recording.kill()
            try:
                return recording.record(full.case, full.layout)
            except CaseEntangled:
                recording.close()
        raise Ended(
            Status.RUNTIME_ERROR, "The answer goes on with memory of a call that it never had."
        )


def _dense(view: View) -> View:
    """Where a result is written once more, as one may expect it to lie."""
    strides: list[int] = []
    count = 1
    for size in reversed(view.shape):
        strides.append(count)
        count *= max(size, 1)
    return View(view.dtype, view.address, view.shape, tuple(reversed(strides)))
