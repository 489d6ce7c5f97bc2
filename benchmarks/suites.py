"""A whole checkout of a suite: how many problems are listed, load, run on a GPU, can be judged.

    python benchmarks/suites.py kernelbench ../KernelBench --out benchmarks/results/….json
    python benchmarks/suites.py kernelbench ../KernelBench --device cuda --only level1 level2

A problem loads if its reference was judged on a case: when it was loaded (`judged_at_load`), or,
where its smallest case is too large for that, right after (`judged_later`). With `--device` its
reference also runs at the timed size (`reference_ran`), and what it returns on a test case is held against its own oracle (`judged`).

Without a device each problem is loaded in a process of its own, which is ended after `--seconds` of
a processor, and rows that the file given by `--out` has already are kept: a run that was stopped goes on. With
`--again` those that did not load, or whose reference was not judged, are tried once more; each row
has the commit that it is of.
`benchmarks/suites_table.py` makes the table of docs/suites.md from such files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record

from triton_gym import InvalidTaskError, suites

WRITTEN_S = 10.0
"""The file is written so often while the run lasts."""
_QUOTED = re.compile(r", `.*`(?=\))", re.DOTALL)
"""The line of source in where an error came from: `(file.py, line 3, ...)`."""
WALL = 10.0
"""Seconds of the clock for each of the processor that a problem may take, on a busy machine."""


def about(checkout: Path) -> dict[str, Any]:
    """The record's header, and where the checkout is from."""

    def told(*command: str) -> str:
        found = subprocess.run(
            ["git", "-C", str(checkout), *command], capture_output=True, text=True, check=False
        )
        return found.stdout.strip()

    if told("rev-parse", "--show-toplevel") != str(checkout.resolve()):
        return {**record.header(), "checkout": checkout.name, "checkout_commit": "unknown"}
    return {
        **record.header(), "checkout": checkout.name,
        "checkout_commit": told("rev-parse", "HEAD"),
        "checkout_date": told("log", "-1", "--format=%cs"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suite", choices=list(suites.SUITES))
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--device", default="", help="cuda, to run references on it")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of keys")
    parser.add_argument("--checkout-commit", default="", help="where the checkout is no git folder")
    parser.add_argument("--seconds", type=float, default=300.0, help="of a processor for each")
    parser.add_argument("--again", action="store_true", help="try what was not judged once more")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    suite = suites.load(options.suite, options.checkout)
    listing = {"seconds": time.perf_counter() - started, "torch_loaded": "torch" in sys.modules}
    head = {**about(options.checkout), "suite": suite.name, "listing": listing}
    head["checkout_commit"] = options.checkout_commit or head["checkout_commit"]
    if not options.device:
        _warm(suite.name)
    rows: list[dict[str, Any]] = []
    written = time.perf_counter()
    kept = {row["problem"]: row for row in _rows(options.out)} if not options.device else {}
    if options.again:
        kept = {k: row for k, row in kept.items() if row["loaded"] and _was_judged(row)}
    for problem in suite:
        if not problem.key.startswith(tuple(options.only)):
            continue
        if problem.key in kept:
            rows.append(_bare(kept[problem.key], options.checkout))
            continue
        if options.device:
            *_, row = _rows_of(problem, options.device)
        else:
            row = _alone(problem, options.seconds)
        rows.append(_bare({**row, "commit": head["commit"][:7]}, options.checkout))
        if len(rows) % 20 == 0:
            print(len(rows), rows[-1], flush=True)
        if options.out and time.perf_counter() - written > WRITTEN_S:
            done = {row["problem"] for row in rows}
            known = [*rows, *(row for key, row in kept.items() if key not in done)]
            record.write(options.out, known, **head, summary=_summary(known))
            written = time.perf_counter()
    if options.out:
        record.write(options.out, rows, **head, summary=_summary(rows))
    print(json.dumps(_summary(rows), indent=1))
    for row in rows:
        if not row["loaded"]:
            print(f"{row['problem']}: {row['why']}")


def _warm(name: str) -> None:
    """Import once what every problem's process would import, and scan PyTorch's own tests once."""
    import torch
    import torch._dynamo  # which following on `meta` imports
    import torch._subclasses.fake_tensor
    import torch.fx.experimental.proxy_tensor

    import triton_gym.evaluation.admission
    import triton_gym.suites.captured
    import triton_gym.suites.published
    import triton_gym.suites.trying  # noqa: F401

    torch.set_num_threads(1)
    if name == "backendbench":
        from triton_gym.suites.op_samples import source_of

        source_of("no_operator.default")  # looks through all


def _was_judged(row: dict[str, Any]) -> bool:
    return bool(row.get("judged_at_load") or row.get("judged_later"))


def _rows(path: Path | None) -> list[dict[str, Any]]:
    """Rows of a file that an earlier run wrote."""
    if path is None or not path.is_file():
        return []
    return list(json.loads(path.read_text(encoding="utf-8"))["rows"])


def _alone(problem: suites.Problem, seconds: float) -> dict[str, Any]:
    """The row of a problem that is loaded in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        limit = round(seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        with os.fdopen(write, "w") as out:
            try:
                for row in _rows_of(problem, ""):
                    print(json.dumps(row), file=out, flush=True)
            except BaseException as error:  # told in the table
                row = {"problem": problem.key, "loaded": False, "why": repr(error)[:300]}
                print(json.dumps({**row, "seconds": 0.0, "cpu_seconds": 0.0}), file=out)
        os._exit(0)
    os.close(write)
    late = signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, WALL * seconds)
    try:
        with os.fdopen(read) as text:
            found = text.read()
        os.waitpid(child, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, late)
    if not (lines := [line for line in found.splitlines(keepends=True) if line.endswith("\n")]):
        why = f"loading it takes more than {seconds:g} s of a processor, or ended its process"
        return {"problem": problem.key, "loaded": False, "why": why, "seconds": seconds,
                "cpu_seconds": 0.0}  # fmt: skip
    row: dict[str, Any] = json.loads(lines[-1])
    return row


def _bare(row: dict[str, Any], checkout: Path) -> dict[str, Any]:
    """A row without what is another's or this machine's: lines of the problem's source that errors
    quote, and where the checkout lies."""

    def bare(text: str) -> str:
        return _QUOTED.sub("", text).replace(f"{checkout.resolve()}/", "")

    why = {"why": bare(row["why"])} if "why" in row else {}
    notes = {"notes": [bare(note) for note in row["notes"]]} if "notes" in row else {}
    return {**row, **why, **notes}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    parts: dict[str, Counter[str]] = {}
    for row in rows:
        count = parts.setdefault(row["problem"].partition("/")[0] if "/" in row["problem"] else "all",
                                 Counter())  # fmt: skip
        count["listed"] += 1
        for name in ("loaded", "judged_at_load", "judged_later", "reference_ran", "judged"):
            count[name] += bool(row.get(name))
    seconds, cpu = (sum(row[name] for row in rows) for name in ("seconds", "cpu_seconds"))
    total = Counter[str]()
    for count in parts.values():
        total.update(count)
    return {
        "total": dict(total), "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1),
        "parts": {name: dict(count) for name, count in parts.items()},
    }  # fmt: skip


def _rows_of(problem: suites.Problem, device: str) -> Iterator[dict[str, Any]]:
    """What is known of a problem: when it is loaded, and again after what takes longer."""
    started, cpu = time.perf_counter(), time.process_time()
    row: dict[str, Any] = {"problem": problem.key, "loaded": False}
    try:
        task = problem.task()
    except InvalidTaskError as error:
        row["why"] = str(error).replace(str(problem.path), problem.path.name)
    else:
        untried = any("too many to try" in note for note in task.notes)
        row |= {"loaded": True, "judged_at_load": not untried, "notes": list(task.notes)}
    row |= _since(started, cpu)
    yield row
    if device and row["loaded"]:
        yield row | _on_device(task, device)
    elif row["loaded"] and not row["judged_at_load"]:
        row |= _tried(task)
        yield row | _since(started, cpu)


def _since(started: float, cpu: float) -> dict[str, float]:
    """Seconds since then, of the clock and of the processor."""
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }


def _tried(task: Any) -> dict[str, Any]:
    """Judges a reference whose smallest case is too large for loading, as its first answer does."""
    import torch

    from triton_gym.evaluation.admission import admit

    try:
        admit(task, torch.device("cpu"))
    except InvalidTaskError as error:
        return {"loaded": False, "why": str(error)}
    return {"judged_later": True}


def _on_device(task: Any, device: str) -> dict[str, Any]:
    """Whether the reference runs at the timed size, and a test case can be judged."""
    import torch

    from triton_gym.evaluation import check
    from triton_gym.evaluation.modules import bind

    found: dict[str, Any] = {}
    place = torch.device(device)
    for name, case in (("reference_ran", task.bench[0]), ("judged", task.draw(random.Random(0), tiny=False))):  # fmt: skip
        try:
            bound = bind(task, case, 0, place)
            inputs = check.draw_inputs(task, case, 0, place)
            plain = check.returned(bound, inputs)
            found[name] = True
            if name == "judged":
                expected = check.expect(bound, case, inputs, plain)
                found[name] = check.compare(plain.tensors, expected, str(case)).ok
            torch.cuda.synchronize()
        except Exception as error:  # told in the table
            found[name] = False
            found[f"{name}_why"] = f"{type(error).__name__}: {error}"[:300]
        finally:
            bound = inputs = plain = expected = None
            torch.cuda.empty_cache()
    found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    torch.cuda.reset_peak_memory_stats()
    return found


if __name__ == "__main__":
    main()
