"""Hold the modelled times of PyTorch's references against measured ones, family by family.

    python benchmarks/eager.py --show
    python benchmarks/eager.py --fit
    python benchmarks/eager.py --speedups benchmarks/results/simulator-h200.json \\
        --catalogue benchmarks/results/catalogue-simulated-h200.json \\
        --out benchmarks/results/eager-h200.json

`--fit` fits the constants of PyTorch's operators to one half of the references, told apart by a
hash of their names, and prints them for `rates.py`; the other half only judges, and is told apart.
What the model holds of PyTorch's kernels, and how the constants start, was written knowing both
halves: measured later is what nobody knew (`eager_measure.py`).

`--speedups` takes what `benchmarks/simulator.py` wrote: the modelled times of the corpus's answers.
`--catalogue` takes what `benchmarks/catalogue.py --device simulated:h200` wrote: those of starters
and experts. A simulated speedup is modelled over modelled, a measured one measured over measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import eager_times
import numpy as np
import record
import scoring
from eager_times import Timed
from scipy.optimize import least_squares

from triton_gym.device import Gpu, gpu_named
from triton_gym.evaluation.simulate.time_model.constants import CONSTANTS
from triton_gym.evaluation.simulate.time_model.eager.baseline import Launched, launches_of
from triton_gym.evaluation.simulate.time_model.eager.rates import RATES, Rates

HELD = 0.15
"""How much a constant's logarithm is held to where it started, beside errors of the same size."""
BEND = 0.15
"""Error, as a logarithm, from which on the fit counts it less."""
FIXED = ("sharpness", "wait_us", "fused", "fused_rows", "fused_math_ps", "fused_op_ps")
"""Constants that are not fitted."""


@dataclass(frozen=True, slots=True)
class Row:
    """A reference, what it launches, and its modelled time."""

    timed: Timed
    launched: Launched

    def us(self, gpu: Gpu, rates: Rates, baseline: str = "eager") -> float:
        """Modelled."""
        return self.launched.us(gpu, baseline, rates, CONSTANTS)

    @property
    def fitted(self) -> bool:
        """Whether constants may be fitted to it."""
        return hashlib.sha256(self.timed.name.encode()).digest()[0] % 2 == 0


def fit(rows: Sequence[Row], gpu: Gpu, start: Rates) -> Rates:
    """Constants that lie near where they started and fit measured times."""
    names = [f.name for f in dataclasses.fields(start) if f.name not in FIXED]
    first = np.log([getattr(start, name) for name in names])

    def rates(x: np.ndarray) -> Rates:
        return dataclasses.replace(start, **dict(zip(names, map(float, np.exp(x)), strict=True)))

    def errors(x: np.ndarray) -> np.ndarray:
        now = rates(x)
        off = [math.log(row.us(gpu, now) / row.timed.eager_us) for row in rows]
        return np.array([*off, *(HELD * (x - first))])

    found = least_squares(errors, first, loss="soft_l1", f_scale=BEND, max_nfev=12,
                          diff_step=1e-3)  # fmt: skip
    return rates(found.x)


def line(name: str, ratios: Sequence[float]) -> dict[str, object]:
    """Print and return how far modelled over measured is off."""
    errors = [math.expm1(abs(math.log(r))) for r in ratios]
    found = {
        "name": name, "n": len(errors), "median": statistics.median(errors),
        "p90": scoring.quantile(errors, 0.9), "worst": max(errors), "bias": statistics.median(ratios),
    }  # fmt: skip
    print("{name:34}{n:5}{median:8.1%}{p90:8.1%}{worst:8.0%}{bias:7.2f}".format(**found))
    return found


def report(
    title: str, items: Sequence[tuple[str, bool, float]], halves: tuple[str, str]
) -> list[dict[str, object]]:
    """Families, each half, and all.

    Args:
        title: of the table.
        items: family, whether it was fitted to, and modelled over measured.
        halves: what the halves are called.
    """
    print(f"\n{title:34}{'n':>5}{'median':>8}{'p90':>8}{'worst':>8}{'bias':>7}")
    found = []
    for family in dict.fromkeys(f for f, _, _ in items):
        found.append(line(family, [r for f, _, r in items if f == family]))
    chosen: tuple[tuple[str, Callable[[bool], bool]], ...] = (
        (halves[0], lambda fitted: fitted), (halves[1], lambda fitted: not fitted),
        ("all", lambda fitted: True),
    )  # fmt: skip
    for name, which in chosen:
        some = [r for _, fitted, r in items if which(fitted)]
        if name and some:
            found.append(line(name, some))
    return found


def speedups(path: Path, modelled: dict[str, float]) -> list[tuple[str, bool, float]]:
    """Simulated over measured speedup of every configuration of the corpus."""
    known = {(r["task"], r["name"]): r for r in json.loads(path.read_text())["rows"]}
    found = []
    corpus = json.loads((eager_times.RESULTS / "corpus-h200.json").read_text())["rows"]
    for kernel in corpus:
        for one in kernel["configurations"]:
            knobs = " ".join(
                f"{k}={v}" for k, v in zip(kernel["knobs"], one["config"], strict=True)
            )
            row = known.get((kernel["task"], f"{kernel['kernel']} {knobs}"))
            if row and "baseline_us" in one and kernel["task"] in modelled:
                simulated = modelled[kernel["task"]] / row["modelled_us"]
                measured = one["baseline_us"] / one["runtime_us"]
                found.append((kernel["family"], bool(row["fitted"]), simulated / measured))
    return found


def speedups_of_catalogue(path: Path) -> list[tuple[str, bool, float]]:
    """The same of the catalogue's starters and experts, which no constant was fitted to."""
    rows = json.loads(path.read_text())["rows"]
    known = {
        (r["task"], r["answer"]): r["baseline_us"] / r["runtime_us"]
        for r in rows if r.get("status") == "correct" and r["baseline"] == "eager"
    }  # fmt: skip
    found = []
    for name in eager_times.SUITES:
        for row in json.loads((eager_times.RESULTS / name).read_text())["rows"]:
            times = {kind: one["us"] for kind, one in row["times"].items()}
            for answer, kind in (("starter", "starter"), ("expert", "ours")):
                simulated = known.get((row["task"], answer))
                if simulated and kind in times and "eager" in times:
                    measured = times["eager"] / times[kind]
                    found.append((f"{answer}s", False, simulated / measured))
    return sorted(found, key=lambda one: one[0])


def main() -> None:
    """Trace, fit if asked, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", default="h200", help="key of the GPU that was measured")
    parser.add_argument("--fit", action="store_true", help="fit constants, and print them")
    parser.add_argument(
        "--show", action="store_true", help="print every reference, the worst first"
    )
    parser.add_argument("--speedups", type=Path, help="JSON of benchmarks/simulator.py")
    parser.add_argument("--catalogue", type=Path, help="JSON of benchmarks/catalogue.py")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    gpu = gpu_named(args.gpu)
    rows = [Row(t, launches_of(t.task, t.task.bench[0], gpu)) for t in eager_times.timed()]
    rates = RATES
    if args.fit:
        rates = fit([row for row in rows if row.fitted], gpu, rates)
        for field in dataclasses.fields(rates):
            print(f"    {field.name}: float = {getattr(rates, field.name):.4g}")
    us = {row.timed.name: row.us(gpu, rates) for row in rows}
    if args.show:
        for row in sorted(rows, key=lambda r: -abs(math.log(us[r.timed.name] / r.timed.eager_us))):
            t = row.timed
            print(f"{us[t.name] / t.eager_us:6.2f}{us[t.name]:10.1f}{t.eager_us:10.1f} "
                  f"{'fitted' if row.fitted else 'held  '} {t.family}: {t.name}")  # fmt: skip
    items = [(r.timed.family, r.fitted, us[r.timed.name] / r.timed.eager_us) for r in rows]
    tables = {"eager": report("eager", items, ("the half fitted to", "the other half"))}
    compiled = [(r.timed.family, r.fitted, r.us(gpu, rates, "compile") / r.timed.compile_us)
                for r in rows if math.isfinite(r.timed.compile_us)]  # fmt: skip
    tables["compile"] = report("torch.compile", compiled, ("the half fitted to", "the other half"))
    if args.speedups:
        found = speedups(args.speedups, us)
        tables["speedup"] = report("speedup of the corpus", found, ("families fitted", "never fitted"))  # fmt: skip
    if args.catalogue:
        found = speedups_of_catalogue(args.catalogue)
        tables["catalogue"] = report("speedup of the catalogue", found, ("", ""))
    if args.out:
        record.write(
            args.out,
            [{"family": r.timed.family, "name": r.timed.name, "fitted": r.fitted,
              "eager_us": round(r.timed.eager_us, 2), "modelled_us": round(us[r.timed.name], 2)}
             for r in rows],
            rates=dataclasses.asdict(rates), tables=tables,
        )  # fmt: skip


if __name__ == "__main__":
    main()
