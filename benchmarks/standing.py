"""docs/standing.md and the table of best known times, from what suite_score.py measured.

    python benchmarks/standing.py h200 benchmarks/results/suites-*-h200.json

Of every task: the expert's time beside the best known, the share of the speed of light that it
reaches, and what bounds it there. What was tried where one falls short is kept in `TRIED`. The
package ships each task's best known time as a share of eager's, which `triton-gym score` reads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import record

import triton_gym
from triton_gym.benchmark.suite_score import SHIPPED, compact
from triton_gym.device import gpu_named
from triton_gym.evaluation.profile import speed_of_light

PAGE = record.RESULTS.parents[1] / "docs" / "standing.md"
TARGETS = {"core": 0.95, "mlperf": 0.95, "spec": 0.90, "backward": 0.95}
TRIED = {
    "batched_matmul": (
        "The matrix units. A product has 16 steps along k only, so filling and storing a tile is a "
        "larger share than of the large product, whose kernel this is (0.99 there). A persistent "
        "grid with one pipeline over all tiles, and tiles stored in halves, are in."
    ),
    "causal_attention": (
        "The matrix units and the exponential between two products: the vector units work while "
        "the matrix units wait. PyTorch's kernel gives both to groups of warps by turns, which "
        "this version of Triton does for plain products only: its pass for groups of warps was "
        "tried on eight forms of this kernel and fails on all. Smaller tiles with two programs on "
        "a multiprocessor, longest programs first, are in. Beside eager's SDPA alone it is at 0.87."
    ),
    "conv2d": (
        "The matrix units: factors of tiles of 128 by 128 are read from shared memory twice as "
        "often as those of 256 by 128, which were tried and are slower (0.72), since a "
        "multiprocessor holds one of them only."
    ),
    "grouped_gemm": (
        "The matrix units. Times of this kernel vary from run to run: 0.83 here, 1.01 in the "
        "run before, with the same source."
    ),
    "llama_gqa_attention": (
        "As `causal_attention`, whose kernel it is: the matrix units wait for exponentials."
    ),
    "softmax_backward": (
        "Memory: both read their inputs once. Its loads were marked as good for one use, which cost "
        "other kernels up to 8 %; they are not any longer."
    ),
    "two_simplicial_attention_backward": (
        "Latency: rows of a product are 16 heads, for which the matrix units of groups of warps are "
        "too wide, and 128 programs go one after the other through all queries that see their "
        "keys, a program on a multiprocessor; the second window's keys are handled 32 at a time, "
        "of which a query sees 8. One pass over the queries with shares of all gradients, "
        "summed by a second kernel, is to be tried."
    ),
    "hotspot": (
        "Memory: a value is loaded five times, four of them as a neighbour out of cache, by "
        "programs of 1,024 values. What other tiles reach was not recorded."
    ),
    "unet3d_instance_norm": (
        "Memory: the volume is read twice, which a result that follows from all of it needs where "
        "a multiprocessor cannot hold a channel. Chunks that stay in L2 between two launches "
        "took 14 launches, whose queueing on the host was longer than their work; two are left."
    ),
    "matmul_fp32": (
        "The vector units of PyTorch's product against three products on the matrix units, "
        "whose factors are split in the loop, through registers. Splitting them once before it "
        "was tried: one chain of sums through all products rounds too often on the matrix "
        "units, and 23 of 16.8 million values were out of tolerance."
    ),
}
"""What bounds a task whose time was over the best known by more than its suite allows, and what was
tried; of the tasks' experts when the report was written."""
_HEAD = """# Where the experts stand

Times of the experts on a GPU, of PyTorch eager, `torch.compile` and of liger-kernel's and
conch-triton-kernels' operators, one after the other in one process with a cold L2 cache
(`benchmarks/suite_score.py`). The range holds three fifths of the calls. The speed of light is the
larger of the case's bytes at the datasheet's bandwidth and its operations at the datasheet's peak;
where it is far away, what is named there is not what bounds the kernel: latency or the order of
accesses is. Below each table stand the tasks under their suite's target, what bounds them and what
was tried. Written by `benchmarks/standing.py`.
"""
_SOURCE = (
    "One {gpu}, {date}, commit {commit}, torch {torch}, Triton {triton}, `torch.compile`'s mode "
    "{mode} (benchmarks/results/{file})."
)


def main() -> None:
    gpu = gpu_named(sys.argv[1])
    reports = {path.name: json.loads(path.read_text(encoding="utf-8"))
               for path in map(Path, sys.argv[2:])}  # fmt: skip
    text = [_HEAD]
    suites = list(TARGETS)
    for name, report in sorted(
        reports.items(), key=lambda item: min(map(suites.index, item[1]["scores"]))
    ):
        text += _sections(report, name, gpu)
    PAGE.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    _ship(gpu.name, list(reports.values()))


def _ship(gpu: str, reports: list[Mapping[str, Any]]) -> None:
    """Put the best known times of a GPU in place of those that the package has."""
    tables = json.loads(SHIPPED.read_text(encoding="utf-8")) if SHIPPED.is_file() else {}
    found = [compact(report) for report in reports]
    shares = {name: share for one in found for name, share in one["shares"].items()}
    told = "; ".join(dict.fromkeys(one["told"] for one in found))
    tables[gpu] = {"told": told, "shares": dict(sorted(shares.items()))}
    SHIPPED.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sections(report: Mapping[str, Any], file: str, gpu: Any) -> list[str]:
    """The suites of a report."""
    versions = report["versions"]
    source = _SOURCE.format(
        gpu=report["gpu"].partition(",")[0], mode=report["mode"], commit=report["commit"][:7],
        date=report["date"][:10], torch=versions["torch"], triton=versions["triton"], file=file,
    )  # fmt: skip
    text = []
    rows = {row["task"]: row for row in report["rows"]}
    for suite, found in report["scores"].items():
        names = [name for name in triton_gym.tasks(tag=suite) if name in rows]
        text.append(
            f"## {suite}\n\nScore {found['score']:.3f} (each task capped at 1; uncapped "
            f"{found['uncapped']:.3f}) of {found['tasks']} of {found['of']} tasks. {source} "
            f"{report.get('note', '')}".rstrip()
            + "\n"
        )
        text.append("| task | expert, µs | best known, µs | ratio | of light | bound by |")
        text.append("|---|---|---|---|---|---|")
        text += [_line(name, rows[name], gpu) for name in names]
        text += _older(report["commit"], [rows[name] for name in names])
        short = [n for n in names if rows[n]["ratio"] < TARGETS.get(suite, 0.95)]
        text += ["", *_short(short, rows)]
    return text


def _line(name: str, row: Mapping[str, Any], gpu: Any) -> str:
    times = row.get("times", {})
    if "ours" not in times:
        return f"| `{name}` | – | – | – | – | {row.get('error', 'out of tolerance')[:80]} |"
    ours, best = times["ours"], row["best_known"]
    task = triton_gym.load(name)
    light = speed_of_light(task, task.bench[0], gpu)
    known = f"{times[best]['us']:.1f} ({best}){_range(times[best])}" if best else "–"
    spread = _range(ours)
    return (
        f"| `{name}` | {ours['us']:.1f}{spread} | {known} | "
        f"{row['ratio']:.2f} | {light.roofline(ours['us']):.2f} | {light.bound(ours['us'])} |"
    )


def _older(commit: str, rows: list[Mapping[str, Any]]) -> list[str]:
    """What is to be said of rows that are not of the report's commit."""
    others: dict[str, list[str]] = {}
    for row in rows:
        if (of := row.get("commit", commit)[:7]) != commit[:7]:
            others.setdefault(of, []).append(f"`{row['task']}`")
    return [f"\nTimed at {of}: {', '.join(names)}." for of, names in others.items()]


def _range(time: Mapping[str, float]) -> str:
    return f" ({time['low_us']:.1f} … {time['high_us']:.1f})" if "low_us" in time else ""


def _short(names: list[str], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is to be said of tasks under the target."""
    said = []
    for name in names:
        reason = TRIED.get(name, "Not looked into yet.")
        said.append(f"- `{name}`, {rows[name]['ratio']:.2f}: {reason}")
    return [*said, ""] if said else []


if __name__ == "__main__":
    main()
