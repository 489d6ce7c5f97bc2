"""The part `functions` of `optimize.py`: searches, what they came to, and times beside eager."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import torch
import torch._inductor.config
from optimize_functions import Subject

import triton_gym
from triton_gym.evaluation import check
from triton_gym.evaluation.comparison import compare
from triton_gym.evaluation.judging.sharing import gpu_lock
from triton_gym.evaluation.trees import flatten
from triton_gym.optimization.binding import Binding
from triton_gym.optimization.pairs import Ratio, cuda_clock
from triton_gym.optimization.shadow import unlike
from triton_gym.outcome import geometric_mean

ROUNDS = 40
"""Calls of each kind that are timed in turn."""
LATE_S = 60.0
"""How long after its time a search is ended."""
KEPT = ("events.jsonl", "search.log", "trial.log", "best.py", "taken-back.json")
"""Files of a run folder that are kept beside the results."""


@dataclass(slots=True)
class Running:
    """A function under search."""

    subject: Subject
    function: Any
    arguments: tuple[Any, ...]
    began: float = field(default_factory=time.monotonic)
    first_swap_s: float | None = None
    """Time from the beginning to the first call that a kernel could answer."""
    ended_s: float | None = None

    def call(self) -> None:
        """A call of the user's: a kernel is tried on one, and answers the next."""
        with torch.no_grad():
            self.function(*self.arguments)
        if self.first_swap_s is None and self.function.optimization.swap.active is not None:
            self.first_swap_s = time.monotonic() - self.began


class Caller:
    """Calls functions again and again, as their program would."""

    def __init__(self) -> None:
        self.running: list[Running] = []
        self.failed: dict[str, str] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._call, daemon=True).start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No calls: something is timed."""
        with self._lock:
            yield

    def _call(self) -> None:
        while True:
            for one in list(self.running):
                with self._lock:
                    try:
                        one.call()
                    except Exception as error:  # told in the row; others go on
                        self.failed[one.subject.name] = f"{type(error).__name__}: {error}"
            time.sleep(0.3)


def search_all(
    subjects: Sequence[Subject], options: argparse.Namespace, work: Path,
    tell: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    """Optimise functions, some at once, and measure each as it is done.

    Args:
        subjects: what to optimise.
        options: of the command line.
        work: where caches and run folders go.
        tell: takes each function's row; those of unfinished ones if this is interrupted.
    """
    simulated = options.device.startswith("simulated")
    device = "cpu" if simulated else "cuda:0"
    waiting, caller = list(subjects), Caller()
    done: list[Running] = []
    try:
        while waiting or caller.running or done:
            while waiting and len(caller.running) < options.at_once:
                caller.running.append(_begun(waiting.pop(0), device, options, work))
            for one in list(caller.running):
                late = time.monotonic() - one.began > options.seconds + LATE_S
                if one.function.wait(0) or late or one.subject.name in caller.failed:
                    one.function.stop()
                    done.append(one)
                    one.ended_s = time.monotonic() - one.began
                    time.sleep(0.3)  # what was found last is tried on calls
                    caller.running.remove(one)
            if waiting and len(caller.running) < options.at_once:
                continue  # nothing is measured while a search could begin
            if done:
                one = done[0]
                tell(_row(one, caller, options, measure=True))
                done.remove(one)
            else:
                time.sleep(0.1)
    except KeyboardInterrupt:
        for one in (*done, *caller.running):
            tell(_row(one, caller, options, measure=False))
        raise


def _begun(
    subject: Subject, device: str, options: argparse.Namespace, work: Path
) -> Running:  # fmt: skip
    arguments = subject.example(device, small=device == "cpu")
    function = triton_gym.optimize(
        subject.function, examples=[arguments], dynamic=subject.dynamic, seconds=options.seconds,
        share=1.0, device=options.device, start="now", cache=work / "cache", folder=work / "runs",
    )  # fmt: skip
    return Running(subject, function, arguments)


def _row(
    one: Running, caller: Caller, options: argparse.Namespace, *, measure: bool
) -> dict[str, Any]:
    """A function's row: what it came to, why, and whether it is right."""
    report, subject = one.function.report(), one.subject
    folder = Path(report.run_folder) if report.run_folder else None
    row: dict[str, Any] = {
        "name": subject.name, "product": subject.product, "runs": str(report.runs),
        "route": report.route, "speedup": ratio(report.device), "speedup_wall": ratio(report.wall),
        "speedup_over_compile": ratio(report.compiled), "evalue": report.evalue,
        "first_swap_s": rounded(one.first_swap_s), "ended_s": rounded(one.ended_s),
        "compile_is_faster": "torch.compile is faster" in report.search_says,
        "reason": report.reason, "search": str(report.search), "says": report.search_says,
        "tried": dict(report.tried), "routes": dict(report.routes), "seconds": options.seconds,
        "at_once": options.at_once, "notes": list(report.notes),
        "call_failed": caller.failed.get(subject.name, ""),
    }  # fmt: skip
    if folder is not None:
        row |= told(folder)
        kept = options.out.with_name(f"{options.out.stem}-runs") / subject.name
        for name in KEPT:
            if (folder / name).exists():
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / name, kept / name)
    if measure and torch.cuda.is_available():
        try:
            with caller.paused():
                row |= times(subject.function, one.function, one.arguments)
            row |= correctness(one.function, folder, options.cases, options.cases_s)
        except Exception as error:  # one function's fault must not cost the others' rows
            row["measuring_failed"] = f"{type(error).__name__}: {error}"
        row["report_after"] = str(one.function.report())
    print(f"\n== {subject.name}\n{report}", flush=True)
    return row


def told(folder: Path) -> dict[str, Any]:
    """What a search said: its starts, its candidates, and when."""
    events = []
    with contextlib.suppress(OSError):
        for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last one may be half written
                events.append(json.loads(line))
    first = next((one["at"] for one in events if one["event"] == "traced"), 0.0)
    since_begun = {
        one["event"]: one["after_s"] for one in events if one["event"] in ("traced", "judge")
    }
    steps = [one for one in events if one["event"] == "step"]
    return {
        "ready_s": since_begun,
        "starts": [_without(one, first) for one in events if one["event"] == "start"],
        "candidates": [_without(one, first) for one in events if one["event"] == "candidate"],
        "swaps": [round(one["at"] - first, 1) for one in events if one["event"] == "swap"],
        "steps": len(steps),
        "steps_correct": sum(one["status"] == "correct" for one in steps),
        "fastest_step": max((one["speedup"] or 0.0 for one in steps), default=None),
        "notes_of_agents": [one["text"] for one in events if one["event"] == "note"],
        "log_end": _end_of(folder / "search.log"), "trial_log_end": _end_of(folder / "trial.log"),
    }  # fmt: skip


def _without(event: Mapping[str, Any], first: float) -> dict[str, Any]:
    kept = {key: value for key, value in event.items() if key not in ("event", "at", "choices")}
    return {"after_traced_s": round(event["at"] - first, 1), **kept}


def _end_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[-600:]
    except OSError:
        return ""


def times(original: Any, function: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Eager, torch.compile and the swapped function, in turn, with the GPU alone."""
    torch._dynamo.reset()
    # Here, not in a pool of processes that compete with searches: nothing is waited for.
    torch._inductor.config.compile_threads = 1
    began = time.perf_counter()
    compiled = torch.compile(original)
    alone = gpu_lock(torch.device("cuda:0"))
    with torch.no_grad():
        compiled(*arguments)
        compile_s = time.perf_counter() - began
        kinds = {"eager": original, "compile": compiled, "ours": function}
        found: dict[str, list[Any]] = {name: [] for name in kinds}
        rng = random.Random(0)
        with alone(alone=True):
            for one in kinds.values():
                cuda_clock(lambda one=one: one(*arguments))
        for _ in range(ROUNDS):
            with alone(alone=True):
                for name in rng.sample(list(kinds), len(kinds)):
                    found[name] += cuda_clock(lambda name=name: kinds[name](*arguments))
    row: dict[str, Any] = {"compile_s": round(compile_s, 2)}
    for name, some in found.items():
        row[f"{name}_device_us"] = statistics.median(one.device_us for one in some)
        row[f"{name}_wall_us"] = statistics.median(one.wall_us for one in some)
    for kind in ("device", "wall"):
        for name in ("eager", "compile"):
            pairs = zip(found[name], found["ours"], strict=True)
            values = [getattr(a, f"{kind}_us") / getattr(b, f"{kind}_us") for a, b in pairs]
            row[f"{kind}_over_{name}"] = ratio(Ratio.of(values))
    return row


def correctness(
    function: Any, folder: Path | None, cases: int, seconds: float
) -> dict[str, Any]:  # fmt: skip
    """The swapped function against the original on drawn shapes, as many as the time allows."""
    file = folder / "trial.pkl" if folder is not None else None
    if file is None or not file.exists():
        return {"cases": 0}
    traced = cloudpickle.loads(file.read_bytes())["traced"]
    binding, task, original = Binding.of(traced), traced.task, function.__wrapped__
    rng, wrong, skipped, seen = random.Random(1), [], [], 0
    before, until = function.report(), time.monotonic() + seconds
    for number in range(cases):
        if time.monotonic() > until:
            break
        # The example first: kernels may be made for its very sizes.
        case = task.draw(rng, tiny=number % 4 == 0) if number else task.bench[0]
        try:
            drawn = check.draw_inputs(task, case, number, torch.device(binding.device))
            named = dict(zip(binding.guard.arguments, drawn, strict=False))
            given = binding.answer_arguments(original, (), named)
            plain = check.returned(task, given, case)
            timed = check.timed(task, case, given, plain)
            with torch.no_grad():
                found = flatten(function(**named), numbers=True)[0]
                expected = flatten(original(**named), numbers=True)[0]
            why = unlike(found, expected)
            verdict = None if why else compare(found, timed.of(tuple(expected)), str(case))
            if why or (verdict is not None and not verdict.ok):
                wrong.append(f"{case}: {why or verdict.message}")  # type: ignore[union-attr]
            seen += 1
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        except triton_gym.TritonGymError as error:  # a draw that nothing can be judged by
            skipped.append(f"{case}: {error}")
    after = function.report()
    return {
        "cases": seen, "cases_asked": cases, "wrong": len(wrong), "wrong_first": wrong[:3],
        "skipped": skipped[:3], "cases_outside": after.outside - before.outside,
        "cases_not_compiled": after.not_compiled - before.not_compiled,
    }  # fmt: skip


def ratio(found: Ratio | None) -> list[float] | None:
    """A ratio as JSON: median, and its 95% interval."""
    return None if found is None else [found.median, found.low, found.high]


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The geometric means that matter."""
    timed = [row for row in rows if "device_over_eager" in row]
    found: dict[str, Any] = {
        "of": len(rows), "timed": len(timed),
        "swapped": sum(row["runs"] == "kernel" for row in rows),
        "first_swap_s": sorted(row["first_swap_s"] for row in rows if row.get("first_swap_s")),
    }  # fmt: skip
    if not timed:
        return found
    plain = [row for row in timed if not row["product"]] or timed

    def mean(some: Sequence[Mapping[str, Any]], key: str) -> float:
        return geometric_mean([row[key][0] for row in some])

    return found | {
        "device_over_eager": mean(timed, "device_over_eager"),
        "wall_over_eager": mean(timed, "wall_over_eager"),
        "device_over_compile": mean(timed, "device_over_compile"),
        "device_over_compile_no_products": mean(plain, "device_over_compile"),
        "least_over_eager": min(row["device_over_eager"][0] for row in timed),
        "least_over_compile": min(row["device_over_compile"][0] for row in timed),
        "wrong": sum(row.get("wrong", 0) for row in timed),
        "cases": sum(row.get("cases", 0) for row in timed),
    }
