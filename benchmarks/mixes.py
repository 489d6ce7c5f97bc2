"""Batches as they come: answers that are right, wrong, slow to compile, faulting and hanging.

`outside` is like what people and language models hand in, `training` like the replies of a policy
that is learning. Every answer is written here or by the audit's suites, and says how it must end.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from answers import distinct

import triton_gym
from triton_gym import Evaluator, Limits
from triton_gym.audit.honest import Honest, all_honest
from triton_gym.audit.victims import VICTIMS, Victim
from triton_gym.outcome import Status

OUTSIDE = {"correct": 40, "tuned": 4, "screened": 18, "uncompiled": 12, "wrong": 12, "faulting": 9,
           "accused": 4, "hanging": 1}  # fmt: skip
"""Of a hundred answers from outside."""
TRAINING = {"correct": 50, "tuned": 10, "wrong": 33, "faulting": 5, "hanging": 2}
"""Of a hundred replies in training."""
ENDS: dict[str, frozenset[Status]] = {
    "correct": frozenset({Status.CORRECT}),
    "tuned": frozenset({Status.CORRECT}),
    "screened": frozenset({Status.REJECTED, Status.INVALID_ACTION}),
    "uncompiled": frozenset({Status.COMPILE_ERROR}),
    "wrong": frozenset({Status.INCORRECT}),
    "faulting": frozenset({Status.RUNTIME_ERROR}),
    "accused": frozenset({Status.CHEATING, Status.REJECTED}),
    "hanging": frozenset({Status.TIMEOUT}),
}
"""How answers of a kind may end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a mix."""

    kind: str
    """A key of `ENDS`."""
    name: str
    task: str
    source: str


def clean(tasks: Sequence[str], count: int, tag: str) -> list[Answer]:
    """What a mix is held against: the tasks' starters and experts, nothing else."""
    bases = itertools.cycle(
        Answer("correct", part, name, getattr(triton_gym.load(name), part))
        for part in ("expert", "starter") for name in tasks
    )  # fmt: skip
    return [_told_apart(next(bases), f"{tag}{n}") for n in range(count)]


def mixed(mix: dict[str, int], tasks: Sequence[str], count: int, tag: str) -> list[Answer]:
    """Distinct answers to `tasks` (victims of the audit) in the mix's shares, in a random order.

    Args:
        mix: how many of each kind a hundred hold.
        tasks: names of `audit.victims.VICTIMS`.
        count: how many answers; of each kind at least one.
        tag: goes into the names of the kernels, so that no two batches are alike.
    """
    rng = random.Random(tag)
    styles = mix is OUTSIDE
    found = []
    for kind, share in mix.items():
        pool = _pool(kind, tasks, rng, styles)
        found += [next(pool) for _ in range(max(1, round(share * count / 100)))]
    rng.shuffle(found)
    return [_told_apart(answer, f"{tag}{n}") for n, answer in enumerate(found)]


def measured(evaluator: Evaluator, tasks: Sequence[str], count: int) -> dict[str, Any]:
    """Rates of clean batches and of both mixes on one evaluator, in turns: clean at both ends."""
    batches = {
        "clean": clean(tasks, count, "a"), "outside": mixed(OUTSIDE, tasks, count, "b"),
        "training": mixed(TRAINING, tasks, count, "c"), "clean again": clean(tasks, count, "d"),
    }  # fmt: skip
    warm = clean(tasks, evaluator.workers + 2 * len(tasks) * len(evaluator.progress().judges), "w")
    _evaluated(evaluator, warm)
    rows = {name: _evaluated(evaluator, batch) for name, batch in batches.items()}
    both = [rows["clean"], rows["clean again"]]
    seconds = sum(row["seconds"] for row in both)
    rate = sum(row["evaluations"] for row in both) / seconds
    for name in ("outside", "training"):
        rows[name]["of_clean"] = rows[name]["evaluations_a_second"] / rate
    return {"tasks": list(tasks), "clean_a_second": rate, "batches": rows}


def _evaluated(evaluator: Evaluator, batch: Sequence[Answer]) -> dict[str, Any]:
    started = time.perf_counter()
    futures = [evaluator.submit(triton_gym.load(a.task), a.source, limits=Limits()) for a in batch]
    outcomes = [future.result() for future in futures]
    seconds = time.perf_counter() - started
    ends: dict[str, Counter[str]] = {}
    took: dict[str, list[float]] = {}
    unlike = []
    for answer, outcome in zip(batch, outcomes, strict=True):
        ends.setdefault(answer.kind, Counter())[str(outcome.status)] += 1
        if outcome.evaluation_s == outcome.evaluation_s:  # a simulated device measures none
            took.setdefault(answer.kind, []).append(outcome.evaluation_s)
        if outcome.status not in ENDS[answer.kind]:
            told = f"{answer.task}/{answer.kind}/{answer.name}: {outcome.status}"
            unlike.append(f"{told}: {outcome.message[:200]}")
    return {
        "evaluations": len(batch), "seconds": seconds,
        "evaluations_a_second": len(batch) / seconds,
        "statuses": {kind: dict(found) for kind, found in ends.items()},
        "evaluation_mean_s": {k: statistics.fmean(seconds) for k, seconds in took.items()},
        "ended_unlike_their_kind": unlike,
    }  # fmt: skip


def _told_apart(answer: Answer, tag: str) -> Answer:
    try:
        source = distinct(answer.source, tag)
    except (SyntaxError, ValueError):
        source = answer.source
    return Answer(answer.kind, answer.name, answer.task, f"{source}\n# {tag}\n")


def _pool(kind: str, tasks: Sequence[str], rng: random.Random, styles: bool) -> Iterator[Answer]:
    """Answers of a kind without end, every one of them before any comes again."""
    if kind == "correct" and not styles:
        return iter(itertools.cycle(clean(tasks, 2 * len(tasks), "c")))
    if kind in ("correct", "tuned"):
        honest = [h for h in all_honest() if h.task in tasks and _tuned(h) == (kind == "tuned")]
        found = [Answer(kind, h.name, h.task, h.source) for h in honest]
    else:
        found = [
            Answer(kind, name, task, source) for task in tasks
            for name, source in _MADE[kind](VICTIMS[task])
        ]  # fmt: skip
    rng.shuffle(found)
    return itertools.cycle(found)


def _tuned(honest: Honest) -> bool:
    return "autotune" in honest.source


def _screened(victim: Victim) -> Iterator[tuple[str, str]]:
    honest = victim.honest
    yield "prose around it", f"Here is the kernel you wanted:\n\n{honest}"
    yield "cut off", honest[: honest.index("tl.store") + 12]
    yield "a bracket too few", honest.replace("tl.load(", "tl.load((", 1)
    yield (
        "indented wrongly",
        honest.replace("    mask", "   mask", 1).replace("    acc", "   acc", 1),
    )
    yield (
        "no kernel",
        f"import torch\n\n\ndef {victim.task}({victim.args}):\n    return {_torch(victim)}\n",
    )
    yield "a null byte", honest.replace("import torch", "import torch\x00", 1)
    yield "nothing", "\n\n"
    yield "another language", "__global__ void kernel(float* x) { x[threadIdx.x] = 0; }\n"
    yield "a kernel that is not called", victim.answer("return $torch")


def _uncompiled(victim: Victim) -> Iterator[tuple[str, str]]:
    def edited(*edits: tuple[str, str]) -> str:
        return victim.answer("y = $make\n$launch\nreturn y", edits=edits)

    store = r"    tl\.store\("
    yield "a name that is nowhere", edited((store, "    scale = factor * 2\n    tl.store("))
    yield "no such function", edited((store, "    z = tl.fast_exp(1.0)\n    tl.store("))
    yield (
        "a range of no constant",
        edited((store, "    z = tl.arange(0, tl.program_id(0))\n    tl.store(")),
    )
    yield (
        "shapes that do not meet",
        edited(
            (
                store,
                "    z = tl.zeros((16,), tl.float32) + tl.zeros((32,), tl.float32)\n    tl.store(",
            )
        ),
    )
    yield "a width of no power of two", edited((store, "    z = tl.arange(0, 48)\n    tl.store("))
    yield "a missing import", edited().replace("import triton.language as tl\n", "", 1)
    yield "no entry point", edited().replace(f"def {victim.task}(", "def run(", 1)
    for name, package in (("a package that is not there", "flash_fused_ops"),
                          ("an import of another version", "triton.ops.blocksparse")):  # fmt: skip
        used = f"{package}.prepare($args)\ny = $make\n$launch\nreturn y"
        yield name, victim.answer(used, imports=f"import {package}")


def _wrong(victim: Victim) -> Iterator[tuple[str, str]]:
    store = r"(tl\.store\([^,]*, )(\w+)(\.to)"
    for name, edit in (
        ("scaled", (store, r"\1(\2 * 1.1)\3")),
        ("taken from one", (store, r"\1(1.0 - \2)\3")),
        ("of low precision", (store, r"\1\2.to(tl.float8e5)\3")),
        ("negated", (store, r"\1(-\2)\3")),
        ("zeros", (store, r"\1(\2 * 0.0)\3")),
    ):
        yield name, victim.answer("y = $make\n$launch\nreturn y", edits=(edit,))
    half = victim.launch.replace(
        f"{victim.first}.shape[0]", f"({victim.first}.shape[0] + 1) // 2", 1
    )
    yield "half of the programs", victim.answer(f"y = $make\n{half}\nreturn y")
    yield "transposed", victim.answer("y = $make\n$launch\nreturn y.t().contiguous()")
    yield "a row too few", victim.answer("y = $make\n$launch\nreturn y[:-1]")


def _faulting(victim: Victim) -> Iterator[tuple[str, str]]:
    wild = "@triton.jit\ndef wild_kernel(y_ptr, far):\n    tl.store(y_ptr + far.to(tl.int64), 1.0)"
    for name, far in (("a store far away", 1 << 44), ("a store before its tensor", -(1 << 43))):
        body = f"y = $make\n$launch\nwild_kernel[(1,)](y, {far})\nreturn y"
        yield name, victim.answer(body, module=wild)
    yield "a load without a mask", victim.answer(
        "y = $make\n$launch\nreach_kernel[(64,)]($x, y, 1 << 34)\nreturn y",
        module="@triton.jit\ndef reach_kernel(x_ptr, y_ptr, step):\n"
        "    i = (tl.program_id(0) + 1).to(tl.int64) * step + tl.arange(0, 128)\n"
        "    tl.store(y_ptr + tl.arange(0, 128), tl.load(x_ptr + i))",
    )  # fmt: skip
    yield "a wrong argument", victim.answer("y = $make\n$launch\nreturn y.fill(1)")
    yield (
        "shapes that do not divide",
        victim.answer("y = $make\n$launch\nreturn y.view(-1, 1000003)"),
    )
    yield (
        "raises",
        victim.answer("raise NotImplementedError($x.shape)\ny = $make\n$launch\nreturn y"),
    )


def _accused(victim: Victim) -> Iterator[tuple[str, str]]:
    yield (
        "PyTorch computes, Triton copies",
        victim.answer(
            "z = $torch\ny = torch.empty_like(z)\n"
            "copy_kernel[(triton.cdiv(z.numel(), 512),)](z, y, z.numel(), BLOCK=512)\nreturn y",
            module="@triton.jit\ndef copy_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):\n"
            "    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
            "    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < n), mask=i < n)",
        ),
    )
    yield "a decoy launched", victim.answer("y = $make\n$launch\nreturn $torch")
    yield "the rest by PyTorch", victim.answer("y = $make\n$launch\nreturn y * 1.0")


def _hanging(victim: Victim) -> Iterator[tuple[str, str]]:
    yield (
        "an endless loop in a kernel",
        victim.answer(
            "y = $make\n$launch\nspin_kernel[(1,)](y)\nreturn y",
            module="@triton.jit\ndef spin_kernel(y_ptr):\n    v = tl.load(y_ptr)\n"
            "    while (v != v) | (v < 1e30):\n        v = tl.load(y_ptr, volatile=True)\n"
            "    tl.store(y_ptr, v)",
        ),
    )


_MADE = {"screened": _screened, "uncompiled": _uncompiled, "wrong": _wrong, "faulting": _faulting,
         "accused": _accused, "hanging": _hanging}  # fmt: skip


def _torch(victim: Victim) -> str:
    return victim.fill("$torch")
