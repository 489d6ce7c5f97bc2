"""A search for a faster kernel, in a process of its own (`begin.py` starts it).

The folder holds what to do (`spec.Spec`). The search writes all that it does there, so that one
that was ended goes on where it stood, and tells who started it by lines of JSON: `traced`, `judge`
(it can evaluate), `start`, `step`, `candidate`, `swap`, `refused`, `finished`. It ends when its
input closes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triton_gym import registration
from triton_gym.errors import NotOptimizableError, TritonGymError
from triton_gym.evaluation.backends import resolve
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.optimization.bench_process import TrialProcess
from triton_gym.optimization.candidates import Candidates, Say
from triton_gym.optimization.judges import judge_of, workers_of
from triton_gym.optimization.remembering import Remembering
from triton_gym.optimization.search_folder import SearchFolder
from triton_gym.optimization.spec import AGENTS, Call, Spec, calls
from triton_gym.optimization.throttle import Throttled
from triton_gym.optimization.traced import Start, TracedFunction
from triton_gym.optimization.tracing import trace
from triton_gym.optimization.tracing_process import TracingProcess
from triton_gym.outcome import Outcome
from triton_gym.runs.execution import execute, machine
from triton_gym.runs.folder import RunFolder
from triton_gym.runs.records import Config, Step
from triton_gym.task import Task

STEPS = 1_000_000
"""Steps of an agent's run: time ends it."""
TRACING_S = 120.0
"""What tracing may take at least, whatever time the search has: a busy machine imports for long."""
GRACE_S = 3.0
"""What an end in good order may take once nobody listens any more."""
TRIAL_S = 5.0
"""Kept at the end, at least, to try the best kernel; more where trials have taken longer."""
CLOSE_BY = 0.7
"""Speed of a start, as a share of the fastest one's, from which on its variants are tried too."""
_TUNERS = ("annealing",)
"""Agents that search a task's knobs, before others."""


class _TimeIsUp(Exception):
    """The search has used its time."""


class SearchRun:
    """One search in its folder.

    Args:
        folder: holds the spec, and what an earlier process of this search left.
        spec: what to do.
        say: tells an event: its name and plain values.
        began: when, by `time.monotonic()`.
        judge: makes what evaluates answers, on a device, so many at a time.
        live: whether kernels can run here as in the user's program; if None, where there is a GPU.
        tracing: the process that traces, if it was started early.
        trial: the same of the process that tries candidates.
    """

    def __init__(
        self, folder: Path, spec: Spec, say: Say, *, began: float | None = None,
        judge: Callable[[str, int], EvaluatorLike] = judge_of, live: bool | None = None,
        tracing: TracingProcess | None = None, trial: TrialProcess | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.spec, self._say = SearchFolder(folder, began), spec, say
        self._deadline = self.folder.began + spec.seconds - self.folder.spent_before
        self.device = str(resolve(spec.device))
        self._judge, self._tracing, self._trial = judge, tracing, trial
        self._live = self.device.startswith("cuda") if live is None else live
        self._examples: list[Call] = calls(spec.examples)
        self._tried: dict[str, int] = {}

    # -- the whole --------------------------------------------------------------------------------

    def run(self) -> None:
        """Search until the time is up.

        Raises:
            NotOptimizableError: the function cannot be optimised.
        """
        trial = self._trial or TrialProcess(self.folder.path)
        shared = self._live and self.spec.share < 1
        evaluator = self._judge(self.device, workers_of(shared=shared))
        if shared:
            evaluator = Throttled(evaluator, self.spec.share, self._deadline)
        try:
            if self._live:
                trial.start()
            self._run(evaluator, trial)
        finally:
            trial.close()
            evaluator.close()
            if self._tracing is not None:
                self._tracing.close()

    def _run(self, inner: EvaluatorLike, trial: TrialProcess) -> None:
        traced = self._traced()
        if self._live:
            trial.prepare()
        task = self._named(traced.task)
        self._say(
            "traced", guard=traced.guard.describe(), routes=dict(traced.routes),
            starts=[start.route for start in traced.starts], device=self.device,
            after_s=self._spent,
        )  # fmt: skip
        candidates = Candidates(
            self.folder, self.spec, traced, self._say, self.device, trial if self._live else None
        )
        evaluator = Remembering(inner)
        try:
            candidates.again()
            starts = self._starts(traced, task, evaluator, candidates)
            if not starts and self.spec.agents:  # a model needs nothing to start from
                starts = [Start(task.starter, "task")]
            self._agents(task, starts, evaluator, candidates)
            inner.close()
            candidates.settle(max(self._left, TRIAL_S))
        finally:
            candidates.close()
        self._finish(candidates)

    def _traced(self) -> TracedFunction:
        given = [_named_arguments(self.spec.function, one) for one in self._examples]
        traced = trace(
            self.spec.function, given, dynamic=self.spec.dynamic, draw=self.spec.draw,
            reference=self.spec.reference, device=self.device, seconds=max(self._left, TRACING_S),
            process=self._tracing,
        )  # fmt: skip
        if self._live:
            self.folder.write_trial({"traced": traced})
        return traced

    @staticmethod
    def _named(task: Task) -> Task:
        taken = task.name in registration.catalogue() or task.name in registration.families()
        return dataclasses.replace(task, name=f"{task.name}_optimized") if taken else task

    # -- what starts it ---------------------------------------------------------------------------

    def _starts(
        self, traced: TracedFunction, task: Task, evaluator: Remembering, candidates: Candidates
    ) -> list[Start]:
        """Evaluate what there is to start from, side by side.

        Returns:
            The fastest, and those whose variants are worth a look.
        """
        given = [Start(source, "cache") for source in self.spec.sources] + list(traced.starts)
        given += [Start(one, "task") for one in (task.expert, task.starter) if one]
        unique: list[Start] = []
        for start in given:
            if all(start.source != one.source for one in unique):
                unique.append(start)
        kept = self.folder.state.get("starts")  # an earlier process has judged them
        if kept:
            unique = [start for start in unique if start.source in kept]
        seed = self.spec.seed if evaluator.deterministic else None
        begun = [evaluator.submit(task, start.source, seed=seed) for start in unique]
        right: list[tuple[float, Start]] = []
        for start, future in zip(unique, begun, strict=True):
            if right and self._left <= 0 and not future.done():
                future.cancel()
                continue
            outcome = future.result()
            self._count(outcome)
            self._say(
                "start", route=start.route, status=str(outcome.status), message=outcome.message,
                speedup=_number(outcome.speedup), runtime_us=_number(outcome.runtime_us),
                phases=_phases(outcome), after_s=self._spent,
            )  # fmt: skip
            candidates.found(start.source, start.route, outcome)
            evaluator.tell(start.source, outcome)
            if outcome.correct and outcome.speedup > 0:
                right.append((outcome.speedup, start))
        right.sort(key=lambda one: -one[0])
        chosen = [start for speedup, start in right[:2] if speedup >= CLOSE_BY * right[0][0]]
        self.folder.remember(starts=[start.source for start in chosen])
        return chosen

    # -- agents -----------------------------------------------------------------------------------

    def _agents(
        self, task: Task, starts: list[Start], evaluator: Remembering, candidates: Candidates
    ) -> None:
        """Let agents search, each from the fastest start; the first also from the second one."""
        agents = self.spec.agents or ((*_TUNERS, *AGENTS) if task.knobs else AGENTS)
        runs = [(agent, starts[0]) for agent in agents if starts]
        runs += [(agents[0], start) for start in starts[1:]]
        for place, (agent, start) in enumerate(runs):
            share = max(self._left - self._reserve(candidates), 0.0) / (len(runs) - place)
            until = time.monotonic() + share
            last = place == len(runs) - 1
            name = task.name if start is starts[0] else f"{task.name}_{place + 1}"
            ident = registration.register(
                dataclasses.replace(task, name=name, starter=start.source)
            )
            tunes = agent in _TUNERS and task.knobs
            env = ident.replace("TritonKernel", "TritonTune") if tunes else ident
            path = self.folder.of_agent(agent if start is starts[0] else f"{agent}-{place + 1}")
            self._one_agent(agent, env, path, evaluator, candidates, math.inf if last else until)

    def _reserve(self, candidates: Candidates) -> float:
        """Seconds of the search to keep for trials, at its end."""
        if not self._live:
            return 0.0
        return min(max(TRIAL_S, candidates.trial_s), 0.2 * self.spec.seconds)

    def _one_agent(
        self, agent: str, env: str, path: Path, evaluator: EvaluatorLike,
        candidates: Candidates, until: float,
    ) -> None:  # fmt: skip
        config = Config(agent, env, STEPS, self.spec.seed, {"device": self.device})
        opened = (path / "config.json").exists()
        run = (
            RunFolder.open(path) if opened else RunFolder.create(path, config, machine(self.device))
        )
        recorded = len(run.steps)

        def watch(step: Step, best: Step) -> None:
            if step.step >= recorded:
                self._count(step.outcome)
                self._say(
                    "step", agent=agent, step=step.step, status=str(step.outcome.status),
                    speedup=_number(step.outcome.speedup), left=round(self._left, 1),
                    phases=_phases(step.outcome),
                )  # fmt: skip
            source = _source(step, path if step is best else None)
            if source and step.outcome.correct:
                candidates.found(source, agent, step.outcome)
            self.folder.spend()
            if time.monotonic() >= until or self._left <= self._reserve(candidates):
                raise _TimeIsUp

        with run:
            try:
                execute(run, evaluator=evaluator, watch=watch)
            except _TimeIsUp:
                return
            except TritonGymError as error:
                self._say("note", text=f"{agent}: {error}")

    # -- how it stands ----------------------------------------------------------------------------

    def _finish(self, candidates: Candidates) -> None:
        says = candidates.summary()
        self.folder.spend()
        candidates.keep(finished=True, says=says)
        speedup = candidates.best[0] if candidates.best is not None else None
        self._say("finished", says=says, tried=self._tried, judged=speedup, device=self.device)

    @property
    def _spent(self) -> float:
        """Seconds since this process began."""
        return round(time.monotonic() - self.folder.began, 2)

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _count(self, outcome: Outcome) -> None:
        status = str(outcome.status)
        self._tried[status] = self._tried.get(status, 0) + 1


def _named_arguments(function: Any, call: Call) -> Any:
    """A call as tracing takes it: positional arguments, or all of them by name."""
    args, kwargs = call
    if not kwargs:
        return args
    return dict(inspect.signature(function).bind(*args, **kwargs).arguments)


def _source(step: Step, best: Path | None) -> str:
    """The kernel of a step; that of the best one lies in its run's folder."""
    if best is not None and (best / "best.py").exists():
        return (best / "best.py").read_text(encoding="utf-8")
    return step.action if isinstance(step.action, str) and "@triton.jit" in step.action else ""


def _phases(outcome: Outcome) -> dict[str, float]:
    return {name: round(seconds, 2) for name, seconds in outcome.phases}


def _number(value: float) -> float | None:
    return value if value == value else None  # NaN is no JSON


def _end_with_input() -> None:
    """End this process when who started it is gone."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    if os.getpgrp() == os.getpid():  # with all that it started, if it leads them
        os.killpg(0, signal.SIGKILL)


def _told_when_ready(evaluator: Any, say: Say, began: float) -> None:
    """Say when the judge can evaluate: before that, no start can have been judged."""
    with contextlib.suppress(TritonGymError, OSError, ValueError):
        say("judge", name=evaluator.hardware(), after_s=round(time.monotonic() - began, 2))


def main(
    folder: Path, began: float, judge: Callable[[], EvaluatorLike], tracing: TracingProcess,
    trial: TrialProcess,
) -> None:  # fmt: skip
    """Run the search of a folder; see `begin.py`."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the user's module prints is no event
    log = (folder / "events.jsonl").open("a", encoding="utf-8")
    saying = threading.Lock()

    def say(event: str, **values: Any) -> None:
        line = json.dumps({"event": event, "at": round(time.time(), 3), **values}, default=str)
        with saying:
            print(line, file=log, flush=True)
            print(line, file=events, flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        evaluator = judge()
        threading.Thread(target=_told_when_ready, args=(evaluator, say, began), daemon=True).start()
        SearchRun(
            folder, Spec.read(folder), say, began=began, judge=lambda *_: evaluator,
            tracing=tracing, trial=trial,
        ).run()  # fmt: skip
    except NotOptimizableError as error:
        say("refused", reason=str(error))
    except BrokenPipeError:
        return
    except TritonGymError as error:
        say("failed", reason=str(error))
