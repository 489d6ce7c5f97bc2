"""How often `optimize` would swap a kernel in that is no faster, and how soon one that is.

    python benchmarks/false_swaps.py --runs 200 --recorded benchmarks/results/optimize-h200.json

Each run tests 1,000 candidates, one after the other, as a search does: pairs in random order until
the decision is over. Noise is drawn, or taken from times that were recorded on a GPU: both calls
of a pair are drawn from the times of equal kernels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record

from triton_gym.optimization.decision import ALPHA, MOST_PAIRS, evalue, level

Noise = Callable[[np.random.Generator, tuple[int, int]], tuple[Any, Any]]
"""Times of both calls of pairs, without any difference in speed."""


def lognormal(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Any, Any]:
    return rng.lognormal(0, 0.03, shape), rng.lognormal(0, 0.03, shape)


def heavy(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Any, Any]:
    one, other = (1 + 0.01 * np.abs(rng.standard_t(1.5, shape)) for _ in range(2))
    return one, other


def spikes(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Any, Any]:
    def draw() -> Any:
        spike = np.where(rng.random(shape) < 0.05, rng.uniform(1.2, 3, shape), 1)
        return rng.lognormal(0, 0.01, shape) * spike

    return draw(), draw()


def drift(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Any, Any]:
    walk = np.exp(np.cumsum(rng.normal(0, 0.004, shape), 1))
    return walk * rng.lognormal(0, 0.01, shape), walk * rng.lognormal(0, 0.01, shape)


def quantized(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Any, Any]:
    """A clock of half a microsecond at 10 µs: many ties."""
    one, other = (np.round(20 * rng.lognormal(0, 0.02, shape)) / 2 for _ in range(2))
    return one, other


def recorded(times: np.ndarray[Any, Any]) -> Noise:
    """Pairs drawn from times of equal kernels, a series of each."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Any, Any]:
        return rng.choice(times, shape), rng.choice(times, shape)

    return draw


def times_in(path: Path) -> np.ndarray[Any, Any] | None:
    """Device times of equal kernels in the results of `optimize.py` or `steps.py`."""
    if not path.exists():
        return None
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    if isinstance(rows, dict):
        noise = rows.get("null", {}).get("noise_us")
        return None if not noise else np.array([[a, b] for a, b, *_ in noise]).ravel()
    found = [np.array(row["runtime_us"]) for row in rows]
    return np.concatenate([some / np.median(some) for some in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--recorded", type=Path, nargs="*", default=[
        record.RESULTS / "steps-h200.json", record.RESULTS / "optimize-h200.json",
    ])  # fmt: skip
    parser.add_argument("--out", type=Path, default=record.RESULTS / "false-swaps.json")
    options = parser.parse_args()
    kinds: dict[str, Noise] = {
        "lognormal": lognormal, "heavy": heavy, "spikes": spikes, "drift": drift,
        "quantized": quantized,
    }  # fmt: skip
    for path in options.recorded:
        if (times := times_in(path)) is not None:
            kinds[f"recorded in {path.stem}"] = recorded(times)
    table = np.array([
        [float(evalue(n, min(s, n))) for s in range(MOST_PAIRS + 1)]
        for n in range(1, MOST_PAIRS + 1)
    ])  # fmt: skip
    needed = np.array([1 / level(k) for k in range(1, options.candidates + 1)])[:, None]
    rows = []
    for name, noise in kinds.items():
        rng = np.random.default_rng(0)
        swaps = 0
        for _ in range(options.runs):
            now, candidate = noise(rng, (options.candidates, MOST_PAIRS))
            values = table[np.arange(MOST_PAIRS), np.cumsum(candidate < now, 1)]
            swaps += bool((values >= needed).any())
        row: dict[str, Any] = {
            "noise": name, "runs": options.runs, "candidates": options.candidates,
            "swapped": swaps, "share": swaps / options.runs, "allowed": ALPHA,
        }  # fmt: skip
        for speed in (1.01, 1.02, 1.05, 1.15):
            now, candidate = noise(rng, (2000, MOST_PAIRS))
            passed = (
                table[np.arange(MOST_PAIRS), np.cumsum(candidate / speed < now, 1)] >= needed[0]
            )
            first = np.where(passed.any(1), passed.argmax(1) + 1, MOST_PAIRS)
            row[f"at {speed}"] = {
                "taken": float(passed.any(1).mean()), "median_pairs": float(np.median(first)),
                "p90_pairs": float(np.quantile(first, 0.9)),
            }  # fmt: skip
        print(row, flush=True)
        rows.append(row)
    record.write(options.out, rows)


if __name__ == "__main__":
    main()
