"""`triton_gym.optimize` on functions that people have: speed, correctness, the caller's latency.

    python benchmarks/optimize.py --parts functions --seconds 90 --at-once 6 --most 235
    python benchmarks/optimize.py --parts null latency overhead       # adds to the same file
    python benchmarks/optimize.py --device simulated --seconds 20     # search and report alone

Parts: `functions` (search, drawn shapes, times of eager, torch.compile and the swapped function in
turn; what each search did lies in a folder beside the results), `null` (candidates that are no
faster: the running kernel against itself), `latency` (a caller's, without a search, with one on its
GPU, with one on the simulated device, which takes processors alone, and with one on another GPU if
there is one), `overhead` (of a gate, in eager mode). Each part, and each function's row, is written
as soon as it is done, and what there is when the program is interrupted.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import record
import torch
from optimize_functions import SUBJECTS
from optimize_overhead import host, overhead
from optimize_search import search_all, summary

import triton_gym
from triton_gym.optimization.decision import Decision
from triton_gym.optimization.pairs import compare, cuda_clock
from triton_gym.optimization.running import compiling, load

PARTS = ("functions", "null", "latency", "overhead")


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


def latency(options: argparse.Namespace, work: Path) -> Iterator[dict[str, Any]]:
    """A caller's latency, call by call, without and with a search: on its GPU, on the processors
    alone, and on another GPU if there is one."""
    subject = SUBJECTS[0]
    arguments = subject.example("cuda:0")
    places = ["cuda:0", "simulated"] + (["cuda:1"] if torch.cuda.device_count() > 1 else [])
    for repetition in range(options.repetitions):
        yield {"search": "none", **called(subject.function, arguments, options.caller_s)}
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
            function.stop()
            yield {
                "search": place, "share": share, **row, "tried": dict(report.tried),
                "says": report.search_says,
            }  # fmt: skip


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


def main() -> None:
    options = _options()
    simulated = options.device.startswith("simulated")
    content: dict[str, Any] = {}
    if options.out.exists():
        content = json.loads(options.out.read_text(encoding="utf-8")).get("rows", {})
    work = options.keep or Path(tempfile.mkdtemp(prefix="optimize-"))
    work.mkdir(parents=True, exist_ok=True)
    for ends in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(ends, signal.default_int_handler)  # as if interrupted by hand
    signal.setitimer(signal.ITIMER_REAL, options.most)

    commit = record.header()["commit"]  # of each part: others in the file may be older

    def write() -> None:
        content["summary"] = summary(list(content.get("functions", {}).values()))
        record.write(options.out, content, device=options.device)

    def tell(row: dict[str, Any]) -> None:
        content.setdefault("functions", {})[row["name"]] = {**row, "commit": commit}
        shown = ("runs", "speedup", "first_swap_s", "device_over_eager", "wrong", "cases")
        print(json.dumps({key: row.get(key) for key in shown}), flush=True)
        write()

    try:
        if "overhead" in options.parts:
            device = "cuda:0" if torch.cuda.is_available() else "cpu"
            content["overhead"] = {**overhead(device), "commit": commit}
            if device != "cpu":
                content["overhead"]["host"] = host(device, work / "host")
            print(json.dumps(content["overhead"]), flush=True)
            write()
        if "functions" in options.parts:
            chosen = [one for one in SUBJECTS if one.name in options.functions]
            content["functions"] = {}  # rows of another commit would say nothing of this one
            search_all(chosen, options, work, tell)
        if "null" in options.parts and not simulated:
            content["null"] = {**null(options.null, work), "commit": commit}
            print({k: v for k, v in content["null"].items() if k != "noise_us"}, flush=True)
            write()
        if "latency" in options.parts and not simulated:
            content["latency"] = {"rows": [], "caller_s": options.caller_s, "commit": commit}
            for row in latency(options, work):
                content["latency"]["rows"].append(row)
                print(json.dumps(row), flush=True)
                write()
    except KeyboardInterrupt:
        write()
        print("interrupted; what was done is written", flush=True)
        raise SystemExit(130) from None
    finally:
        print(json.dumps(content.get("summary", {}), indent=2), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--functions", nargs="*", default=[one.name for one in SUBJECTS])
    parser.add_argument("--seconds", type=float, default=90.0, help="of search, each function")
    parser.add_argument("--at-once", type=int, default=6, help="searches at the same time")
    parser.add_argument("--cases", type=int, default=100, help="drawn shapes, each function")
    parser.add_argument("--cases-s", type=float, default=25.0, help="most time for them")
    parser.add_argument("--null", type=int, default=200, help="candidates that are no faster")
    parser.add_argument("--caller-s", type=float, default=15.0, help="of the caller's calls")
    parser.add_argument("--repetitions", type=int, default=2, help="of the latencies")
    parser.add_argument("--share", type=float, default=0.005, help="of the caller's GPU")
    parser.add_argument("--most", type=float, default=0.0, help="seconds of it all; 0 for no bound")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--keep", type=Path, help="folder for run folders and the cache")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "optimize-h200.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
