"""Why mutants survive, by measurement: what their results differ in from those of the answer.

    python benchmarks/mutant_reasons.py --found benchmarks/results/mutants-h200.json

Each survivor and the answer that it was made of are interpreted on the same drawn cases, as the
simulated device does with every answer. A program that does another one's work is not among them:
what it leaves out may show on large grids alone. A survivor that loads outside of a tensor there reads what
nothing uses; one with the same bits in all results computes the same in so many cases; of one whose
results differ it is told how much of the tolerance they use. The texts go to
`mutant_measured.json`, which `mutants.py --annotate` reads. What nothing of that explains stays open.
"""

from __future__ import annotations

import argparse
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutants
import mutators
import torch

import triton_gym
from triton_gym.device import gpu_named
from triton_gym.evaluation import trees
from triton_gym.evaluation.backends.simulated.fullsize import secret
from triton_gym.evaluation.backends.simulated.recording import Setting
from triton_gym.evaluation.backends.simulated.testing import Tests
from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache, Compiler
from triton_gym.evaluation.judging.judge import Request
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended
from triton_gym.evaluation.workers.worker_pool import WorkerPool, with_pools


class Watched(Tests):
    """Tests that keep what an answer returned."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.seen: list[torch.Tensor] = []
        """Bytes of all results, in order."""
        self.calls = 0
        self.real = True
        """Whether all results have floating-point values."""

    def _results(self, *args: Any) -> list[torch.Tensor]:
        results = super()._results(*args)
        self.seen += [trees.memory(one).view(torch.uint8).clone() for one in results if one.numel()]
        self.calls += 1
        self.real &= all(one.is_floating_point() for one in results)
        return results


@dataclass(frozen=True, slots=True)
class Observation:
    """What an answer did on the cases of a seed."""

    seen: list[torch.Tensor]
    calls: int
    real: bool
    share: float
    """Largest part of a tolerance that it used."""
    message: str
    """What refused it; empty if nothing did."""


class Laboratory:
    """Interprets answers.

    Args:
        pools: where recorders, interpreters and compilers come from.
    """

    def __init__(self, pools: tuple[WorkerPool, ...]) -> None:
        self._recorders, self._interpreters, self._compilers = self.pools = pools
        self._gpu = gpu_named("h200")
        self._artifacts = ArtifactCache()
        self.original = functools.cache(self.observe)
        torch.set_num_threads(1)

    def observe(self, name: str, source: str, seed: int) -> Observation:
        """Run an answer on the cases that a seed draws."""
        limits = Limits(seconds=120.0)
        request = Request(task=triton_gym.load(name), source=source, seed=seed, limits=limits)
        target = Target(self._gpu.capability, lines=True)
        with (
            Scratch(source) as scratch,
            Compiler(self._compilers, target, self._artifacts, request.limits) as compiler,
            ThreadPoolExecutor(1) as threads,
        ):
            setting = Setting(
                request, scratch, self._gpu, self._recorders, self._interpreters, compiler,
                threads, seed, secret(source, seed),
            )  # fmt: skip
            tests = Watched(setting)
            try:
                share, message = tests.run().share, ""
            except Ended as end:
                share, message = float("nan"), end.message
        return Observation(tests.seen, tests.calls, tests.real, share, message)


def reason(laboratory: Laboratory, name: str, source: str, mutant: str, seeds: list[int]) -> str:
    """Why a mutant survives; empty if that is not known."""
    cases, same, real, worst, before = 0, True, True, 0.0, 0.0
    for seed in seeds:
        one = laboratory.original(name, source, seed)
        other = laboratory.observe(name, mutant, seed)
        if "out-of-bounds load" in other.message:
            return "Reads beyond a tensor what nothing uses; the simulated device refuses the load."
        if one.message or other.message:
            return ""
        cases += other.calls
        same &= len(one.seen) == len(other.seen) and all(
            torch.equal(a, b) for a, b in zip(one.seen, other.seen, strict=False)
        )
        real &= one.real
        worst, before = max(worst, other.share), max(before, one.share)
    if same:
        return f"The same bits as the answer's in {cases} drawn calls."
    if not real:  # an index that differs is not within anything
        return ""
    return (
        f"Within the tolerance in {cases} drawn calls: at most {worst:.0%} of it, where the answer "
        f"uses {before:.0%}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--found", type=Path, nargs="+", required=True, help="files of results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101], help="of the cases")
    parser.add_argument("--per-operator", type=int, default=1, help="as in the results")
    options = parser.parse_args()
    wanted = {
        mutants.key(row)
        for path in options.found
        for row in json.loads(path.read_text())["rows"]
        if not row["caught"]
    }
    known = json.loads(mutants.MEASURED.read_text()) if mutants.MEASURED.exists() else {}
    laboratory = with_pools(("record", "simulate", "lower"), Laboratory)
    try:
        for name, answer, source in mutants.answers(list(triton_gym.tasks())):
            for mutant in mutators.mutants(source, options.per_operator):
                key = f"{name}/{answer}: {mutant.change}"
                if key not in wanted or key in known or mutant.operator == "wrong program":
                    continue
                found = reason(laboratory, name, source, mutant.source, options.seeds)
                print(f"{key}: {found or 'open'}", flush=True)
                if found:
                    known[key] = found
                    mutants.MEASURED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    finally:
        for pool in laboratory.pools:
            pool.close()


if __name__ == "__main__":
    main()
