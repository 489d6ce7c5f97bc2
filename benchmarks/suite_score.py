"""The score of a suite: the mean over its tasks of min(1, best known time / ours).

    python benchmarks/suite_score.py --tag mlperf spec core --warm 8
    python benchmarks/standing.py h200 benchmarks/results/suites-*-h200.json

Best known is the fastest of PyTorch eager (which calls the vendors' libraries), `torch.compile`
(`--mode`: max-autotune takes half a minute for each product, the default two seconds), and the
operators of other libraries that are installed (library_operators.py). All of them and ours are timed one after the other in one process, each call with a cold L2 cache, at the
task's timed size; a candidate whose results are out of the task's tolerance does not count. Beside
the score stands the same mean without the cap. Ours is the expert, or with `--answers FOLDER` the
files `<task>.py` of a folder, such as the best kernels of an agent's runs.

`--warm 8` first compiles the tasks' references in 8 processes side by side, which fills Inductor's
cache on disk; nothing is timed meanwhile except what max-autotune itself chooses by. They stop after
`--warm-seconds`.

Each suite has a file of its own, `suites-<tag>-<gpu>.json` in the folder `--out`, which is written
after every task: a run that is stopped keeps its rows. Called again, it goes on with the tasks that
the files do not have at this commit, and keeps the others' older rows until theirs come (each row
has its commit). `--most` seconds after the start no other task begins. With `--tasks` the file is
`suites-chosen-<gpu>.json`, with `--answers` the folder's name comes after the GPU's. `standing.py` makes docs and the package's table of these files.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import library_operators
import record
import torch

import triton_gym
from triton_gym.device import gpu_matching
from triton_gym.evaluation import check

SEED = 1
QUANTILES = (0.5, 0.2, 0.8)


def answer_of(task: Any, source: str, folder: Path) -> Callable[..., Any]:
    """The host function of an answer, which Triton wants to read from a file."""
    name = f"answer_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"No loader for {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: Callable[..., Any] = getattr(module, task.entry.name)
    return found


def outputs(result: Any) -> Sequence[torch.Tensor]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def timed(call: Callable[[], Any], milliseconds: int) -> dict[str, float]:
    """Median and the quantiles around it, in microseconds; the L2 cache is cold before each."""
    from triton.testing import do_bench

    found = do_bench(call, warmup=milliseconds // 4, rep=milliseconds, quantiles=QUANTILES)
    return dict(zip(("us", "low_us", "high_us"), (1e3 * t for t in found), strict=True))


def compiled_reference(task: Any, mode: str) -> Callable[..., Any]:
    made: Callable[..., Any] = torch.compile(task.reference, mode=mode, dynamic=False)
    return made


def compile_only(names: Sequence[str], mode: str) -> None:
    """Fill Inductor's cache on disk; what does not compile is told when it is timed."""
    for name in names:
        task = triton_gym.load(name)
        inputs = check.draw_inputs(task, task.bench[0], SEED, torch.device("cuda"))
        with torch.no_grad(), contextlib.suppress(Exception):
            compiled_reference(task, mode)(*inputs)
        torch.cuda.empty_cache()
        torch._dynamo.reset()


def warm(names: Sequence[str], mode: str, processes: int, seconds: float) -> None:
    """Compile the references of `names` in so many processes at once, for so long at most."""
    command = [sys.executable, __file__, "--compile-only", "--mode", mode, "--tasks"]
    parts = [names[k::processes] for k in range(processes)]
    running = [subprocess.Popen([*command, *part]) for part in parts if part]
    end = time.monotonic() + seconds
    for one in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.wait(max(0.0, end - time.monotonic()))
    for one in running:
        one.kill()
        one.wait()


def row(name: str, source: str, folder: Path, milliseconds: int, mode: str) -> dict[str, Any]:
    """Times of all candidates on one task, and the ratios."""
    task = triton_gym.load(name)
    case = task.bench[0]
    inputs = check.draw_inputs(task, case, SEED, torch.device("cuda"))
    expected = check.expect(task, case, inputs)
    answer = answer_of(task, source, folder)
    starter = answer_of(task, task.starter, folder)
    others, missing = library_operators.of(name, inputs)
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: answer(*inputs),
        "starter": lambda: starter(*inputs),
        "eager": lambda: task.reference(*inputs),
        **others,
    }
    if mode:
        fast = compiled_reference(task, mode)
        calls["compile"] = lambda: fast(*inputs)
    times: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        for who, call in calls.items():
            try:
                verdict = check.compare(outputs(call()), expected, str(case))
                if not verdict.ok and who != "eager":
                    missing.append(f"{who}: {verdict.message}"[:300])
                    continue
                times[who] = timed(call, milliseconds)
            except Exception as error:  # what one candidate does must not end the table
                missing.append(f"{who}: {type(error).__name__}: {error}"[:300])
    known = {who: one["us"] for who, one in times.items() if who not in ("ours", "starter")}
    best = min(known, key=known.__getitem__, default="")
    ratio = known[best] / times["ours"]["us"] if best and "ours" in times else 0.0
    found = {
        "task": name, "case": str(case), "best_known": best, "ratio": ratio,
        "capped": min(1.0, ratio), "times": times, "left_out": missing,
    }  # fmt: skip
    shown = "  ".join(f"{who} {one['us']:.1f}" for who, one in times.items())
    print(f"{name:28s} {ratio:5.2f} of {best or 'nothing':8s} µs: {shown}", flush=True)
    for reason in missing:
        print(f"    left out: {reason}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tag", nargs="*", default=["mlperf"], help="the suites: core, mlperf, spec, backward"
    )
    parser.add_argument("--tasks", nargs="*", help="these in place of a suite's")
    parser.add_argument("--answers", type=Path, help="a folder of <task>.py in place of experts")
    parser.add_argument("--milliseconds", type=int, default=200, help="spent on each candidate")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--warm", type=int, default=0, metavar="N", help="compile first, N at once")
    parser.add_argument("--warm-seconds", type=float, default=600.0)
    parser.add_argument("--mode", default="max-autotune-no-cudagraphs", help="of torch.compile")
    parser.add_argument("--compile-only", action="store_true", help="time nothing")
    parser.add_argument("--most", type=float, default=math.inf, help="seconds in all")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="a folder")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("A suite's score is of times on a GPU, and there is none here.")
    end = time.monotonic() + options.most
    suites = {tag: list(triton_gym.tasks(tag=tag)) for tag in options.tag}
    if options.tasks:
        suites = {"chosen": options.tasks}
    if options.compile_only:
        compile_only(
            sorted({name for members in suites.values() for name in members}), options.mode
        )
        return
    found = gpu_matching(torch.cuda.get_device_name())
    of = "-".join(
        filter(None, [found.name if found else "gpu", options.answers and options.answers.name])
    )
    files = {suite: SuiteFile(options.out / f"suites-{suite}-{of}.json", options.mode)
             for suite in suites}  # fmt: skip
    missing = sorted({name for suite, members in suites.items() for name in members
                      if not files[suite].has(name)})  # fmt: skip
    if options.warm and not options.no_compile and missing:
        warm(missing, options.mode, options.warm, options.warm_seconds)
    for suite, members in suites.items():
        for name in members:
            if files[suite].has(name) or time.monotonic() > end:
                continue
            files[suite].add(answered(name, options), suite, members)
            torch.cuda.empty_cache()
            torch._dynamo.reset()
        for shown, score in scores({suite: members}, files[suite].rows).items():
            print(f"{shown}: score {score['score']:.3f}, uncapped {score['uncapped']:.3f} "
                  f"({score['tasks']:.0f} of {score['of']:.0f} tasks)")  # fmt: skip


class SuiteFile:
    """The rows of a suite, on disk after each.

    Args:
        path: of the file; what it has already is kept, unless another mode compiled it.
        mode: of torch.compile.

    Raises:
        SystemExit: the file is not one that this script wrote.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self._path, self._mode, self._commit = path, mode, record.header()["commit"]
        self.rows: dict[str, dict[str, Any]] = {}
        if not path.is_file():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["mode"] == mode:
                older = {"commit": found["commit"]}
                self.rows = {one["task"]: {**older, **one} for one in found["rows"]}
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{path} has no rows of this script: {error!r}.") from None

    def has(self, name: str) -> bool:
        """Whether a task was timed at this commit, with its spreads."""
        row = self.rows.get(name, {})
        spread = all("low_us" in time for time in row.get("times", {}).values())
        return row.get("commit") == self._commit and "error" not in row and spread

    def add(self, row: dict[str, Any], suite: str, members: Sequence[str]) -> None:
        """Write the file with one more row."""
        self.rows[row["task"]] = {**row, "commit": self._commit}
        kept = [self.rows[name] for name in members if name in self.rows]
        record.write(self._path, kept, mode=self._mode, scores=scores({suite: members}, self.rows))


def answered(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A task's row; one that nothing answers counts as nothing."""
    path = options.answers and options.answers / f"{name}.py"
    mode = "" if options.no_compile else options.mode
    try:
        source = path.read_text() if path else triton_gym.load(name).expert
        with tempfile.TemporaryDirectory() as folder:
            return row(name, source, Path(folder), options.milliseconds, mode)
    except Exception as error:
        print(f"{name:28s} failed: {type(error).__name__}: {error}", flush=True)
        return {"task": name, "ratio": 0.0, "capped": 0.0, "error": str(error)[:500]}


def scores(
    suites: Mapping[str, Sequence[str]], rows: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """The score of each suite over those of its tasks that have a row."""
    found = {}
    for suite, members in suites.items():
        done = [rows[name] for name in members if name in rows]
        if done:
            found[suite] = {
                "score": statistics.mean(one["capped"] for one in done),
                "uncapped": statistics.mean(one["ratio"] for one in done),
                "tasks": len(done), "of": len(members),
            }  # fmt: skip
    return found


if __name__ == "__main__":
    main()
