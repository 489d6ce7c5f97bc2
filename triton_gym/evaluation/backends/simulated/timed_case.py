"""The timed case of one evaluation: recorded, compiled, followed in part, and verified."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from triton_gym.evaluation.backends.simulated.client import sparse
from triton_gym.evaluation.backends.simulated.fullsize import FullSize
from triton_gym.evaluation.backends.simulated.pricing import price
from triton_gym.evaluation.backends.simulated.proof import Looked, Proof, prove
from triton_gym.evaluation.backends.simulated.recording import Recording, Setting, Zone
from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.judging.judge import Phases
from triton_gym.evaluation.judging.returned import Form, Part, lies_well, parts_of
from triton_gym.evaluation.plan.plan import Plan
from triton_gym.evaluation.plan.step import Copy, Launch, Step
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


@dataclass(frozen=True, slots=True)
class Followed:
    """What a call at full size does, for whoever holds the time model against measurements."""

    builds: list[Build]
    artifacts: list[Artifact]
    """Of the same launches."""
    traces: list[LaunchTrace]
    steps: list[Step]
    """All that the call does, in order."""
    dense: list[Copy]
    """What results need besides."""


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
        self._hurried = self._looking = False
        self._looks: list[Looked | Ended] = []
        """Of the first call, if it does something else, and of the one that counts."""

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
        for looked in self._looks:
            if isinstance(looked, Looked):
                looked.close()

    def abandon(self) -> None:
        """Have `prepare` end soon: nobody waits for what it finds."""
        with self._lock:
            self._abandoned = True
            if self._recording is not None:
                self._recording.kill()

    def prepare(self) -> TimedCase:
        """Record the case, and have its programs looked at while what it launches is compiled.

        Raises:
            Ended: the answer failed.
        """
        with self._phases("compile"):
            plan = self._plan = self._recorded()
        with self._phases("profile"):
            self._look(plan)
        return self

    def hurry(self) -> None:
        """Have `prepare` look at nothing any more."""
        with self._lock:
            self._hurried = True
            if self._looking:
                self._opened.interpreter.kill()

    def build(self) -> list[Build]:
        """Wait for the machine code of all launches; that of the call that counts.

        Raises:
            Ended: a kernel does not compile.
        """
        with self._phases("compile"):
            plan, recording = self._recorded_plan, self._opened
            start = len(plan.setup) + len(plan.first.steps) + 1
            builds = [
                recording.build(start + place, "", step, plan)
                for place, step in enumerate(plan.call.steps)
                if isinstance(step, Launch)
            ]
            for step in (*plan.setup, *plan.first.steps):
                if isinstance(step, Launch):
                    recording.build(0, "", step, plan)
        return builds

    def judge(self, tolerances: Mapping[str, float]) -> Found:
        """Hold what programs of the case stored to the reference, and price what it launches.

        Args:
            tolerances: of the tests, by dtype.

        Raises:
            Ended: it does not compile, is wrong, or cannot be followed.
        """
        try:
            with self._phases("profile"):
                looked, proof = self._proved(tolerances)
        except Ended:
            self.build()  # that a kernel does not compile is told first
            raise
        builds = self.build()
        with self._phases("profile"):
            plan = self._recorded_plan
            dense = self._made_dense(looked.parts)
            estimate = price(builds, looked.traces, plan.call.steps, self._setting.gpu, dense)
        return Found(estimate, proof, bool(plan.setup) or plan.first.steps != plan.call.steps)

    def _proved(self, tolerances: Mapping[str, float]) -> tuple[Looked, Proof]:
        """The call that counts, and what was verified of it.

        Raises:
            Ended: see `judge`.
        """
        for look in self._looks:
            if isinstance(look, Ended):
                raise look
            found = (
                look,
                prove(
                    self._setting.request.task, self._full, look, self._setting.secret, tolerances
                ),
            )
        return found

    def followed(self) -> Followed:
        """Record and compile the case, and follow the call that counts; verify nothing.

        Raises:
            Ended: it cannot be followed.
        """
        plan, task = self._recorded(), self._setting.request.task
        self._plan = plan
        form = Form(self._full.tree, task.same_strides, task.entry.name, str(self._full.case))
        builds = self.build()
        artifacts = [
            self._opened.artifact(step, plan)
            for step in plan.call.steps
            if isinstance(step, Launch)
        ]
        traces = self._opened.interpreter.trace(plan, [])
        dense = self._made_dense(parts_of(plan.call.result, form))
        return Followed(builds, artifacts, traces, list(plan.call.steps), dense)

    def _made_dense(self, parts: Sequence[Part]) -> list[Copy]:
        """Copies of results that do not lie as one may expect."""
        same = self._setting.request.task.same_strides
        return [
            Copy(part, _dense(part), 0)
            for part, leaf in zip(parts, leaves(self._full.tree), strict=True)
            if isinstance(part, View) and not (same or lies_well(part, leaf))
        ]

    def _look(self, plan: Plan) -> None:
        """Follow what the case launches, and have programs replayed, up to the first failure."""
        with self._lock:
            self._looking = not self._hurried
        try:
            for first in (True, False):
                if self._looking and not (first and plan.first == plan.call):
                    self._looks.append(self._looked(plan, first=first))
        except Ended as end:
            self._looks.append(end)
        finally:
            with self._lock:
                self._looking = False

    def _looked(self, plan: Plan, *, first: bool) -> Looked:
        """What a call's programs do.

        Raises:
            Ended: it cannot be followed, or its result has another form than the task's.
        """
        full, task = self._full, self._setting.request.task
        call = plan.first if first else plan.call
        form = Form(full.tree, task.same_strides, task.entry.name, str(full.case))
        parts = parts_of(call.result, form)
        views = [part for part in parts if isinstance(part, View)]
        interpreter = self._opened.interpreter
        traces = interpreter.trace(plan, views, first=first)
        looked = Looked(parts, traces)
        if full.block is not None:
            looked.verify(interpreter)
        return looked

    @property
    def _recorded_plan(self) -> Plan:
        if self._plan is None:
            raise RuntimeError("the timed case was not recorded")
        return self._plan

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
            zone = Zone((file, size), private=full.block is not None)
            recording = Recording(self._setting, full.case, zone, full=True, seed=full.seed)
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
