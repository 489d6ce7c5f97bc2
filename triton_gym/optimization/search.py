"""A search for a faster kernel, in a process of its own.

    python -m triton_gym.optimization.search FOLDER

The folder holds what to do (`spec.Spec`). The search writes all that it does there, so that one
that was ended goes on where it stood, and tells who started it by lines of JSON: `traced`, `start`,
`step`, `candidate`, `swap`, `compiled`, `refused`, `finished`. It ends when its input closes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import json
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
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.optimization.bench_process import TrialProcess
from triton_gym.optimization.cache import COMPILED
from triton_gym.optimization.candidates import Candidates, Say
from triton_gym.optimization.search_folder import SearchFolder
from triton_gym.optimization.spec import AGENTS, Call, Spec, calls
from triton_gym.optimization.throttle import Throttled
from triton_gym.optimization.traced import Start, TracedFunction
from triton_gym.optimization.tracing import trace
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
COMPILE_S = 20.0
"""Kept at the end, at most, to see what a kernel comes to beside `torch.compile`."""
_TUNERS = ("annealing",)
"""Agents that search a task's knobs, before others."""


class _TimeIsUp(Exception):
    """The search has used its time."""


def one_at_a_time(device: str) -> EvaluatorLike:
    """An evaluator for a search, which waits for each answer: one worker is enough.

    Its judge starts at once, while the function is traced.
    """
    evaluator = Evaluator(device, workers=1)

    def start() -> None:
        with contextlib.suppress(TritonGymError):  # the first evaluation will say so
            evaluator.hardware()

    threading.Thread(target=start, daemon=True).start()
    return evaluator


class SearchRun:
    """One search in its folder.

    Args:
        folder: holds the spec, and what an earlier process of this search left.
        spec: what to do.
        say: tells an event: its name and plain values.
        began: when, by `time.monotonic()`.
        judge: makes what evaluates answers, on a device.
        live: whether kernels can run here as in the user's program; if None, where there is a GPU.
    """

    def __init__(
        self, folder: Path, spec: Spec, say: Say, *, began: float | None = None,
        judge: Callable[[str], EvaluatorLike] = one_at_a_time, live: bool | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.spec, self._say = SearchFolder(folder, began), spec, say
        self._deadline = self.folder.began + spec.seconds - self.folder.spent_before
        self.device = str(resolve(spec.device))
        self._judge = judge
        self._live = self.device.startswith("cuda") if live is None else live
        self._examples: list[Call] = calls(spec.examples)
        self._tried: dict[str, int] = {}

    # -- the whole --------------------------------------------------------------------------------

    def run(self) -> None:
        """Search until the time is up.

        Raises:
            NotOptimizableError: the function cannot be optimised.
        """
        inner, trial = self._judge(self.device), TrialProcess(self.folder.path)
        try:
            if self._live:
                trial.start()
            self._run(inner, trial)
        finally:
            trial.close()
            inner.close()

    def _run(self, inner: EvaluatorLike, trial: TrialProcess) -> None:
        traced = self._traced()
        task = self._named(traced.task)
        self._say(
            "traced", guard=traced.guard.describe(), routes=dict(traced.routes),
            starts=[start.route for start in traced.starts], device=self.device,
        )  # fmt: skip
        candidates = Candidates(
            self.folder, self.spec, traced, self._say, self.device, trial if self._live else None
        )
        evaluator = Throttled(inner, self.spec.share if self._live else 1.0, self._deadline)
        with contextlib.suppress(_TimeIsUp):
            candidates.again()
            start = self._starts(traced, task, evaluator, candidates)
            if start is not None:
                task = dataclasses.replace(task, starter=start)
            if start is not None or self.spec.agents:  # a model needs nothing to start from
                self._agents(task, evaluator, candidates)
        inner.close()
        candidates.compare_with_compile()
        self._finish(candidates)

    def _traced(self) -> TracedFunction:
        given = [_named_arguments(self.spec.function, one) for one in self._examples]
        traced = trace(
            self.spec.function, given, dynamic=self.spec.dynamic, draw=self.spec.draw,
            reference=self.spec.reference, device=self.device, seconds=max(self._left, TRACING_S),
        )  # fmt: skip
        if self._live:
            content = {
                "function": self.spec.function, "traced": traced, "examples": self._examples,
                "share": self.spec.share,
                "compiled": Path(self.spec.cache, COMPILED) if self.spec.cache else None,
            }  # fmt: skip
            self.folder.write_trial(content)
        return traced

    @staticmethod
    def _named(task: Task) -> Task:
        taken = task.name in registration.catalogue() or task.name in registration.families()
        return dataclasses.replace(task, name=f"{task.name}_optimized") if taken else task

    # -- what starts it ---------------------------------------------------------------------------

    def _starts(
        self, traced: TracedFunction, task: Task, evaluator: Throttled, candidates: Candidates
    ) -> str | None:
        """Evaluate what there is to start from; the source of the fastest."""
        given = [Start(source, "cache") for source in self.spec.sources] + list(traced.starts)
        given += [Start(one, "task") for one in (task.expert, task.starter) if one]
        chosen, kept = self.folder.state.get("start"), ""
        seen: set[str] = set()
        for start in given:
            if start.source in seen:
                continue
            seen.add(start.source)
            if chosen is not None and start.source != chosen:
                continue  # an earlier process has judged them
            outcome = evaluator.evaluate(task, start.source)
            self._count(outcome)
            self._say(
                "start", route=start.route, status=str(outcome.status), message=outcome.message,
                speedup=_number(outcome.speedup), runtime_us=_number(outcome.runtime_us),
            )  # fmt: skip
            if candidates.found(start.source, start.route, outcome):
                kept = start.source
            if self._left <= 0:
                break
        if kept:
            self.folder.remember(start=kept)
        return kept or None

    # -- agents -----------------------------------------------------------------------------------

    def _agents(self, task: Task, evaluator: Throttled, candidates: Candidates) -> None:
        agents = self.spec.agents or ((*_TUNERS, *AGENTS) if task.knobs else AGENTS)
        ident = registration.register(task)
        compares = self._live and self.spec.against != "compile"
        kept = min(COMPILE_S, 0.2 * self.spec.seconds) if compares else 0.0
        for place, agent in enumerate(agents):
            share = max(self._left - kept, 0.0) / (len(agents) - place)
            until = time.monotonic() + share
            tunes = agent in _TUNERS and task.knobs
            env = ident.replace("TritonKernel", "TritonTune") if tunes else ident
            self._one_agent(agent, env, evaluator, candidates, until)

    def _one_agent(
        self, agent: str, env: str, evaluator: Throttled, candidates: Candidates, until: float
    ) -> None:
        path = self.folder.of_agent(agent)
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
                )  # fmt: skip
            source = _source(step, path if step is best else None)
            if source and step.outcome.correct:
                candidates.found(source, agent, step.outcome)
            self.folder.spend()
            if time.monotonic() >= until or self._left <= 0:
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


def main(folder: Path) -> None:
    """Run the search of a folder."""
    began = time.monotonic()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the user's module prints is no event
    log = (folder / "events.jsonl").open("a", encoding="utf-8")

    def say(event: str, **values: Any) -> None:
        line = json.dumps({"event": event, "at": round(time.time(), 3), **values}, default=str)
        print(line, file=log, flush=True)
        print(line, file=events, flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_input, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)  # the program that is served comes first
    try:
        SearchRun(folder, Spec.read(folder), say, began=began).run()
    except NotOptimizableError as error:
        say("refused", reason=str(error))
    except BrokenPipeError:
        return
    except TritonGymError as error:
        say("failed", reason=str(error))


if __name__ == "__main__":
    sys.path[:0] = json.loads((Path(sys.argv[1]) / "path.json").read_text(encoding="utf-8"))
    importlib.import_module("triton_gym.optimization.search").main(Path(sys.argv[1]))
