"""`triton_gym.optimize` on functions that people have: speed, correctness, the caller's latency.

    python benchmarks/optimize.py --seconds 90 --at-once 4
    python benchmarks/optimize.py --parts null latency overhead       # adds to the same file
    python benchmarks/optimize.py --device simulated --seconds 20     # search and report alone

Parts: `functions` (search, 100 drawn shapes, times of eager, torch.compile and the swapped function
in turn), `null` (candidates that are no faster: the running kernel against itself), `latency` (a
caller's, without a search, with one on its GPU, and on another GPU if there is one), `overhead` (of
a gate, in eager mode). Each is written as soon as it is done.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import record
import torch
from optimize_functions import SUBJECTS, Subject

import triton_gym
from triton_gym.evaluation import check
from triton_gym.evaluation.comparison import compare as compare_results
from triton_gym.evaluation.trees import flatten
from triton_gym.optimization.binding import Binding
from triton_gym.optimization.decision import Decision
from triton_gym.optimization.pairs import Ratio, compare, cuda_clock
from triton_gym.optimization.running import compiling, load
from triton_gym.optimization.shadow import unlike
from triton_gym.outcome import geometric_mean

ROUNDS = 40
"""Calls of each kind that are timed in turn."""
PARTS = ("functions", "null", "latency", "overhead")


# -- functions -----------------------------------------------------------------------------------


def search_all(subjects: Sequence[Subject], options: argparse.Namespace, work: Path) -> list[Any]:
    """Optimise functions, some at once; those that are done."""
    simulated = options.device.startswith("simulated")
    device = "cpu" if simulated else "cuda:0"
    done, waiting, running = [], list(subjects), []
    while waiting or running:
        while waiting and len(running) < options.at_once:
            subject = waiting.pop(0)
            arguments = subject.example(device, small=simulated)
            function = triton_gym.optimize(
                subject.function, examples=[arguments], dynamic=subject.dynamic,
                seconds=options.seconds, share=1.0, device=options.device, start="now", cache=work / "cache", folder=work / "runs",
            )  # fmt: skip
            running.append((subject, function, arguments, time.monotonic()))
        for one in list(running):
            subject, function, arguments, began = one
            function(*arguments)  # a kernel is tried on a call
            late = time.monotonic() - began > options.seconds + 240
            if function.wait(0) or late:
                running.remove(one)
                settle(function, arguments)
                took = time.monotonic() - began
                print(f"\n== {subject.name}, {took:.0f} s\n{function.report()}", flush=True)
                if late:
                    function.stop()
                done.append((subject, function, arguments, took))
        time.sleep(0.2)
    return done


def settle(function: Any, arguments: tuple[Any, ...]) -> None:
    """Call until what was found last has been tried."""
    for _ in range(20):
        function(*arguments)
        time.sleep(0.1)


def measured(subject: Subject, function: Any, arguments: tuple[Any, ...], cases: int) -> Any:
    """A function's row: what it came to, and whether it is right."""
    report = function.report()
    row: dict[str, Any] = {
        "name": subject.name, "product": subject.product, "runs": str(report.runs),
        "reason": report.reason, "search": str(report.search), "says": report.search_says,
        "tried": dict(report.tried), "routes": dict(report.routes), "route": report.route,
        "evalue": report.evalue, "found_device": ratio(report.device),
        "found_wall": ratio(report.wall), "found_compiled": ratio(report.compiled),
    }  # fmt: skip
    if torch.cuda.is_available():
        row |= times(subject.function, function, arguments)
        row |= correctness(function, Path(report.run_folder), cases)
        row["report_after"] = str(function.report())
    return row


def times(original: Any, function: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Eager, torch.compile and the swapped function, in turn."""
    torch._dynamo.reset()
    began = time.perf_counter()
    compiled = torch.compile(original)
    with torch.no_grad():
        compiled(*arguments)
        compile_s = time.perf_counter() - began
        kinds = {"eager": original, "compile": compiled, "ours": function}
        found: dict[str, list[Any]] = {name: [] for name in kinds}
        for one in kinds.values():
            cuda_clock(lambda one=one: one(*arguments))
        rng = random.Random(0)
        for _ in range(ROUNDS):
            for name in rng.sample(list(kinds), len(kinds)):
                found[name].append(cuda_clock(lambda name=name: kinds[name](*arguments)))
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


def correctness(function: Any, folder: Path, cases: int) -> dict[str, Any]:
    """The swapped function against the original on drawn shapes."""
    file = folder / "trial.pkl"
    if not file.exists():
        return {"cases": 0}
    traced = cloudpickle.loads(file.read_bytes())["traced"]
    binding, task, original = Binding.of(traced), traced.task, function.__wrapped__
    rng, wrong, skipped, seen = random.Random(1), [], [], 0
    before = function.report()
    for number in range(cases):
        case = task.draw(rng, tiny=number % 4 == 0)
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
            verdict = None if why else compare_results(found, timed.of(tuple(expected)), str(case))
            if why or (verdict is not None and not verdict.ok):
                wrong.append(f"{case}: {why or verdict.message}")  # type: ignore[union-attr]
            seen += 1
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        except triton_gym.TritonGymError as error:  # a draw that nothing can be judged by
            skipped.append(f"{case}: {error}")
    after = function.report()
    return {
        "cases": seen, "wrong": len(wrong), "wrong_first": wrong[:3], "skipped": skipped[:3],
        "cases_outside": after.outside - before.outside,
        "cases_not_compiled": after.not_compiled - before.not_compiled,
    }  # fmt: skip


def ratio(found: Ratio | None) -> list[float] | None:
    """A ratio as JSON."""
    return None if found is None else [found.median, found.low, found.high]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The geometric means that matter."""
    timed = [row for row in rows if "device_over_eager" in row]
    if not timed:
        return {}
    plain = [row for row in timed if not row["product"]]
    return {
        "swapped": sum(row["runs"] == "kernel" for row in timed),
        "of": len(timed),
        "device_over_eager": geometric_mean([row["device_over_eager"][0] for row in timed]),
        "wall_over_eager": geometric_mean([row["wall_over_eager"][0] for row in timed]),
        "device_over_compile": geometric_mean([row["device_over_compile"][0] for row in timed]),
        "device_over_compile_no_products": geometric_mean(
            [row["device_over_compile"][0] for row in plain] or [1.0]
        ),
        "least_over_eager": min(row["device_over_eager"][0] for row in timed),
        "least_over_compile": min(row["device_over_compile"][0] for row in timed),
        "wrong": sum(row.get("wrong", 0) for row in timed),
        "cases": sum(row.get("cases", 0) for row in timed),
    }


# -- candidates that are no faster ------------------------------------------------------------------

NULL = """
import torch
import triton
import triton.language as tl


@triton.jit
def _scale(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) * 2.0, mask=i < n)


def scale(x):
    y = torch.empty_like(x)
    _scale[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
    return y
"""


def null(count: int, work: Path) -> dict[str, Any]:
    """Equal kernels tried as candidates of one function: how many would have been swapped in."""
    x = [torch.randn(1 << 20, device="cuda") for _ in range(4)]
    now = load(NULL, "scale", work / "null")
    swaps, pairs, noise = 0, 0, []
    rng = random.Random(0)
    with compiling(), torch.no_grad():
        for number in range(1, count + 1):
            candidate = load(NULL + f"\n# candidate {number}\n", "scale", work / "null")

            def make(loaded: Any) -> Callable[[int], Callable[[], Any]]:
                return lambda i: lambda: loaded.call(x[i % len(x)])

            trial = compare(
                make(now), make(candidate), clock=cuda_clock, decision=Decision(number), rng=rng
            )
            swaps += trial.decision.faster
            pairs += trial.decision.pairs
            noise += [[p.now.device_us, p.candidate.device_us, p.now.wall_us, p.candidate.wall_us]
                      for p in trial.pairs[:10]]  # fmt: skip
    return {
        "candidates": count, "swaps": swaps, "pairs": pairs,
        "noise_us": [[round(t, 3) for t in one] for one in noise[:2000]],
    }  # fmt: skip


# -- the caller's latency -----------------------------------------------------------------------------


def latency(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """A caller's latency, call by call, without and with a search."""
    subject = SUBJECTS[0]
    arguments = subject.example("cuda:0")
    rows = []
    places = ["cuda:0"] + (["cuda:1"] if torch.cuda.device_count() > 1 else [])
    for repetition in range(options.repetitions):
        rows.append({"search": "none", **called(subject.function, arguments, options.caller_s)})
        for place in places:
            share = options.share if place == "cuda:0" else 1.0
            function = triton_gym.optimize(
                subject.function, examples=[arguments], dynamic=subject.dynamic,
                seconds=options.caller_s + 60,
                share=share, device=place, start="now", seed=repetition,
                cache=work / f"latency-{repetition}-{place}",
            )  # fmt: skip
            function.disable()  # the same function answers: only the search differs
            wait_for_steps(function, 60)
            row = called(function, arguments, options.caller_s)
            report = function.report()
            rows.append({"search": place, "share": share, **row, "tried": dict(report.tried)})
            function.stop()
        print(rows[-1 - len(places) :], flush=True)
    return {"rows": rows, "caller_s": options.caller_s}


def wait_for_steps(function: Any, seconds: float) -> None:
    """Wait until a search evaluates: what comes before is imports."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not function.report().tried and not function.wait(0):
        time.sleep(0.5)


def called(function: Any, arguments: tuple[Any, ...], seconds: float) -> dict[str, Any]:
    """Latencies of calls, one every 2 ms, each until its result is there."""
    found = []
    with torch.no_grad():
        for _ in range(50):
            function(*arguments)
        torch.cuda.synchronize()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            function(*arguments)
            torch.cuda.synchronize()
            found.append((time.perf_counter() - began) * 1e6)
            time.sleep(0.002)
    found.sort()
    at = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
    told = {name: found[min(len(found) - 1, int(q * len(found)))] for name, q in at.items()}
    return {"calls": len(found), **told, "most_us": found[-1]}


# -- what a gate costs --------------------------------------------------------------------------------


def overhead() -> dict[str, Any]:
    """Host time that wrapper and gate add to a call of a function that does nothing."""
    from optimize_overhead import gate_of

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    found = {}
    for tensors in (1, 2, 4):
        wrapped, swap, plain, arguments = gate_of(tensors, device)

        def cost(call: Callable[..., Any]) -> float:
            taken = timeit.repeat(lambda: call(*arguments), number=20_000, repeat=9)  # noqa: B023
            return min(taken) / 20_000 * 1e9

        inside = cost(wrapped) - cost(plain)
        swap.disable()
        found[f"{tensors} tensors"] = {
            "kernel_ns": round(inside), "original_ns": round(cost(wrapped) - cost(plain)),
        }  # fmt: skip
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--functions", nargs="*", default=[one.name for one in SUBJECTS])
    parser.add_argument("--seconds", type=float, default=90.0, help="of search, each function")
    parser.add_argument("--at-once", type=int, default=4, help="searches at the same time")
    parser.add_argument("--cases", type=int, default=100, help="drawn shapes, each function")
    parser.add_argument("--null", type=int, default=200, help="candidates that are no faster")
    parser.add_argument("--caller-s", type=float, default=15.0, help="of the caller's calls")
    parser.add_argument("--repetitions", type=int, default=2, help="of the latencies")
    parser.add_argument("--share", type=float, default=0.01, help="of the caller's GPU")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--keep", type=Path, help="folder for run folders and the cache")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "optimize-h200.json")
    options = parser.parse_args()
    simulated = options.device.startswith("simulated")
    content: dict[str, Any] = {}
    if options.out.exists():
        content = json.loads(options.out.read_text(encoding="utf-8")).get("rows", {})
    work = options.keep or Path(tempfile.mkdtemp(prefix="optimize-"))
    work.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        content["summary"] = summary(list(content.get("functions", {}).values()))
        record.write(options.out, content, device=options.device)

    if "overhead" in options.parts:
        content["overhead"] = overhead()
        write()
    if "functions" in options.parts:
        chosen = [one for one in SUBJECTS if one.name in options.functions]
        for subject, function, arguments, took in search_all(chosen, options, work):
            row = measured(subject, function, arguments, options.cases)
            row |= {"seconds": options.seconds, "took_s": round(took, 1),
                    "at_once": options.at_once}  # fmt: skip
            content.setdefault("functions", {})[subject.name] = row
            print(json.dumps({k: v for k, v in row.items() if "over" in k or "wrong" in k}))
            write()
    if "null" in options.parts and not simulated:
        content["null"] = null(options.null, work)
        print({k: v for k, v in content["null"].items() if k != "noise_us"}, flush=True)
        write()
    if "latency" in options.parts and not simulated:
        content["latency"] = latency(options, work)
        write()
    print(json.dumps(content.get("summary", {}), indent=2))


if __name__ == "__main__":
    main()
