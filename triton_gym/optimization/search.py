"""A search for a faster kernel, in a process of its own.

    python -m triton_gym.optimization.search FOLDER

The folder holds what to do (`spec.Spec`). The search writes all that it does there, so that one
that was ended goes on where it stood, and tells who started it by lines of JSON: `traced`, `start`,
`step`, `candidate`, `swap`, `compiled`, `refused`, `finished`. It ends when its input closes.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from triton_gym import registration
from triton_gym.errors import NotOptimizableError, TritonGymError
from triton_gym.evaluation.backends import resolve
from triton_gym.evaluation.check import Timed
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.optimization.admissible import objection
from triton_gym.optimization.bench_process import TrialProcess
from triton_gym.optimization.binding import Binding, Verified
from triton_gym.optimization.cache import Cache, Entry
from triton_gym.optimization.pairs import Ratio
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

Say = Callable[..., None]
STEPS = 1_000_000
"""Steps of an agent's run: time ends it."""
GAIN = 1.01
"""How much faster than the best so far a judge must find a candidate before it is tried."""
COMPILE_S = 20.0
"""Kept at the end, at most, to see what a kernel comes to beside `torch.compile`."""
_TUNERS = ("annealing",)
"""Agents that search a task's knobs, before others."""


class _TimeIsUp(Exception):
    """The search has used its time."""


def one_at_a_time(device: str) -> EvaluatorLike:
    """An evaluator for a search, which waits for each answer: one worker is enough."""
    return Evaluator(device, workers=1)


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
        self.best: tuple[float, str, str] | None = None
        """Judge's speedup, source and route of the best so far."""
        self._bar = 0.0
        """Judge's speedup of the fastest that could be swapped in, if pairs say so."""
        self._examples: list[Call] = calls(spec.examples)
        self._active: Verified | None = None
        self._tried: dict[str, int] = {}
        self._trial = TrialProcess(folder)

    # -- the whole --------------------------------------------------------------------------------

    def run(self) -> None:
        """Search until the time is up.

        Raises:
            NotOptimizableError: the function cannot be optimised.
        """
        traced = self._traced()
        task = self._named(traced.task)
        self._say(
            "traced", guard=traced.guard.describe(), routes=dict(traced.routes),
            starts=[start.route for start in traced.starts], device=self.device,
        )  # fmt: skip
        inner = self._judge(self.device)
        evaluator = Throttled(inner, self.spec.share if self._live else 1.0, self._deadline)
        try:
            self._again(traced)
            start = self._starts(traced, task, evaluator)
            if start is not None:
                task = dataclasses.replace(task, starter=start)
            if start is not None or self.spec.agents:  # a model needs nothing to start from
                self._agents(task, evaluator, traced)
        except _TimeIsUp:
            pass
        finally:
            inner.close()
        if self._active is not None and self.spec.against != "compile":
            self._compare_with_compile(self._active)
        self._trial.close()
        self._finish()

    def _traced(self) -> TracedFunction:
        given = [_named_arguments(self.spec.function, one) for one in self._examples]
        traced = trace(
            self.spec.function, given, dynamic=self.spec.dynamic, draw=self.spec.draw,
            reference=self.spec.reference, device=self.device, seconds=max(self._left, 30.0),
        )  # fmt: skip
        if self._live:
            content = {
                "function": self.spec.function, "traced": traced, "examples": self._examples,
                "share": self.spec.share,
            }  # fmt: skip
            self.folder.write_trial(content)
        return traced

    @staticmethod
    def _named(task: Task) -> Task:
        taken = task.name in registration.catalogue() or task.name in registration.families()
        return dataclasses.replace(task, name=f"{task.name}_optimized") if taken else task

    # -- what starts it ---------------------------------------------------------------------------

    def _starts(self, traced: TracedFunction, task: Task, evaluator: Throttled) -> str | None:
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
            if self._found(start.source, start.route, outcome, traced):
                kept = start.source
            if self._left <= 0:
                break
        if kept:
            self.folder.remember(start=kept)
        return kept or None

    def _again(self, traced: TracedFunction) -> None:
        """What an earlier process of this search had swapped in, if it still holds."""
        found = self.folder.active()
        if found is not None and found.binding.digest == traced.digest:
            self._active = found
            self._say("swap", path=str(self.folder.active_file), number=found.number)

    # -- agents -----------------------------------------------------------------------------------

    def _agents(self, task: Task, evaluator: Throttled, traced: TracedFunction) -> None:
        agents = self.spec.agents or ((*_TUNERS, *AGENTS) if task.knobs else AGENTS)
        ident = registration.register(task)
        compares = self._live and self.spec.against != "compile"
        kept = min(COMPILE_S, 0.2 * self.spec.seconds) if compares else 0.0
        for place, agent in enumerate(agents):
            share = max(self._left - kept, 0.0) / (len(agents) - place)
            until = time.monotonic() + share
            tunes = agent in _TUNERS and task.knobs
            env = ident.replace("TritonKernel", "TritonTune") if tunes else ident
            self._one_agent(agent, env, evaluator, traced, until)

    def _one_agent(
        self, agent: str, env: str, evaluator: Throttled, traced: TracedFunction, until: float
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
                self._found(source, agent, step.outcome, traced)
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

    # -- candidates -------------------------------------------------------------------------------

    def _found(self, source: str, route: str, outcome: Outcome, traced: TracedFunction) -> bool:
        """Take an outcome in; whether it is the best so far. A better one is tried."""
        if not outcome.correct or not outcome.speedup > 0:
            return False
        better = self.best is None or outcome.speedup >= GAIN * self.best[0]
        if better:
            self.best = (outcome.speedup, source, route)
            self.folder.write_best(source, outcome)
        if self._live and outcome.speedup >= GAIN * self._bar:
            if source not in self.folder.candidates:
                self._try(source, route, traced)
            if self.folder.candidates[source]["ok"]:  # what cannot be swapped in sets no bar
                self._bar = outcome.speedup
        return better

    def _try(self, source: str, route: str, traced: TracedFunction) -> None:
        """Pairs against what runs now; a candidate that shows that it is faster is handed over."""
        why = objection(source)
        number = len(self.folder.candidates) + 1
        now = None
        if self._active is not None:
            now = {"source": self._active.source, "choices": self._active.choices}
        found: dict[str, Any] = {"ok": False, "faster": False, "why": f"not swapped: {why}"}
        if why is None:
            found = self._trial.try_candidate({
                "source": source, "number": number, "now": now, "against": self.spec.against,
                "seed": self.spec.seed + number,
            })  # fmt: skip
        self.folder.candidates[source] = found
        self.folder.remember()
        if found.get("died") and self.spec.cache:
            Cache(Path(self.spec.cache)).ban(source, str(found["why"]))
        told = {k: v for k, v in found.items() if k not in ("device_us", "wall_us", "timed")}
        self._say("candidate", number=number, route=route, **told)
        if found["faster"]:
            self._swap(source, route, number, found, traced)

    def _swap(
        self, source: str, route: str, number: int, found: Mapping[str, Any], traced: TracedFunction
    ) -> None:
        device, wall = Ratio(*found["device"]), Ratio(*found["wall"])
        before = self._active
        verified = Verified(
            source=source, entry=traced.task.entry.name, binding=Binding.of(traced),
            choices=found["choices"], timed=_timed(found["timed"]),
            device=device if before is None else _times(before.device, device),
            wall=wall if before is None else _times(before.wall, wall),
            overall=device.median * (before.overall if before is not None else 1.0),
            against=self.spec.against, number=number, pairs=int(found["decided_after"]),
            evalue=float(found["evalue"]), route=route,
        )  # fmt: skip
        self._active = verified
        self.folder.write_active(verified)
        self._keep(finished=False)
        self._say("swap", path=str(self.folder.active_file), number=number)

    def _compare_with_compile(self, active: Verified) -> None:
        """What the kernel comes to beside `torch.compile`, for programs that are compiled."""
        found = self._trial.try_candidate({
            "source": active.source, "number": 1, "now": None, "against": "compile",
            "seed": self.spec.seed, "keep": active.choices,
        })  # fmt: skip
        if found.get("ok") and found.get("device"):
            self.folder.remember(compiled=found["device"])
            faster = bool(found["faster"])
            self._say("compiled", device=found["device"], wall=found["wall"], faster=faster)

    # -- what is kept -----------------------------------------------------------------------------

    def _finish(self) -> None:
        says = "nothing that is right and faster was found"
        if self.best is not None and self._live:
            tried: list[dict[str, Any]] = list(self.folder.candidates.values())
            last = tried[-1] if tried else {}
            says = (
                f"no kernel was shown to be faster; the judge's best was {self.best[0]:.2f} times "
                f"({self.best[2]}). " + (last.get("why") or _pairs_said(last))
            )  # fmt: skip
        if self._active is not None:
            says = f"{self._active.route}, {self._active.device} times on the device"
        elif not self._live and self.best is not None:
            says = (
                f"{self.best[2]}, {self.best[0]:.2f} times on {self.device}; not swapped: there "
                "is no GPU to run it on"
            )  # fmt: skip
        self.folder.spend()
        self._keep(finished=True, says=says)
        speedup = self.best[0] if self.best is not None else None
        self._say("finished", says=says, tried=self._tried, judged=speedup, device=self.device)

    def _keep(self, *, finished: bool, says: str = "") -> None:
        if self.spec.key and self._live:
            compiled = self.folder.state.get("compiled")
            entry = Entry(
                self._active,
                finished,
                str(self.folder.path),
                tuple(compiled) if compiled else None,
                says,
            )
            Cache(Path(self.spec.cache)).put(self.spec.key, entry)

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


def _pairs_said(found: Mapping[str, Any]) -> str:
    """What the pairs of a candidate came to."""
    if not found.get("device"):
        return ""
    device, wall = Ratio(*found["device"]), Ratio(*found["wall"])
    return (
        f"The last one's pairs: {device} on the device, {wall} of the caller's time, "
        f"{found['wins']} of {found['decided_after']} won."
    )


def _source(step: Step, best: Path | None) -> str:
    """The kernel of a step; that of the best one lies in its run's folder."""
    if best is not None and (best / "best.py").exists():
        return (best / "best.py").read_text(encoding="utf-8")
    return step.action if isinstance(step.action, str) and "@triton.jit" in step.action else ""


def _timed(told: Mapping[str, Any]) -> Timed:
    return Timed(
        tuple(told["tolerances"]),
        tuple(told["spared"]),
        bool(told["exact"]),
        tuple(told["typical"]),
    )


def _times(one: Ratio, other: Ratio) -> Ratio:
    """The ratio of two steps; the interval of the product holds it at least as often."""
    return Ratio(one.median * other.median, one.low * other.low, one.high * other.high)


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
