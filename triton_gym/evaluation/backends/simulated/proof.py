"""Whether an answer does its work at full size too, on a device that cannot run all of it there.

Programs that the answer cannot foresee have run to their end in the worker, on arguments of full
size (`simulate/tracing/evidence.py`). Here what they stored is compared with the reference;
how much of the result the whole grid stores is inferred from them, or counted where that looks too
little; and what they really moved and multiplied is held against what the time was estimated from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_gym.evaluation.backends.simulated import reports
from triton_gym.evaluation.backends.simulated.agreement import TOO_MUCH, compared
from triton_gym.evaluation.backends.simulated.client import Interpreter
from triton_gym.evaluation.backends.simulated.fullsize import FullSize
from triton_gym.evaluation.backends.simulated.independent import independent
from triton_gym.evaluation.exchange.arena import HostArena
from triton_gym.evaluation.judging.returned import Part
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status
from triton_gym.task import Task

FINDINGS_BYTES = 32 << 20
"""Shared memory for what the replayed programs stored."""
COVERED = 0.98
"""Share of a result that must be stored, where it is inferred from some programs; below it the rest
is not being computed. Where programs of each path were seen to store alike all of it must be."""
SAME_WORK = 1.05
"""Above this ratio of real to traced work the estimated time is corrected."""
OFTEN = 0.5
"""Share of the programs looked at that may store where another one does, by split sums, say."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of an answer's work at full size."""

    doubt: str
    """Why not all of it could be held against the reference, or empty."""
    withheld: bool
    """Whether the doubt is the answer's doing: then its speed is not credited."""
    work: float
    """How many times what its time was estimated from it really does, 1 or more."""


@dataclass(slots=True)
class Looked:
    """What an interpreter found out about a call at full size."""

    parts: list[Part]
    """The call's result."""
    traces: list[LaunchTrace]
    findings: dict[str, Any] | None = None
    """Of replayed programs, if any were; see `tracing.evidence.Evidence.reply`."""
    arena: HostArena | None = None
    """What they stored."""

    def verify(self, interpreter: Interpreter) -> None:
        """Have programs replayed of what was followed last.

        Raises:
            Ended: one failed.
        """
        self.arena = HostArena(FINDINGS_BYTES)
        try:
            self.findings = interpreter.verify(self.arena)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give back the memory."""
        if self.arena is not None:
            self.arena.close()


def prove(
    task: Task, full: FullSize, looked: Looked, seed: int, tested: Mapping[str, float]
) -> Proof:
    """Hold what replayed programs did against the reference.

    Args:
        task: the task.
        full: its timed case.
        looked: what is known of the call.
        seed: decides which parts are compared.
        tested: tolerances of the tests by dtype, which are not undercut.

    Raises:
        Ended: a result is wrong, or is not computed, or an argument was changed.
    """
    findings, arena = looked.findings, looked.arena
    if findings is None or arena is None:
        return Proof("the timed case is too large for the judge to draw", False, 1.0)
    traced = [number for number, part in enumerate(looked.parts) if isinstance(part, View)]
    # Results that no kernel has to write are left out.
    results = {number: place for place, number in enumerate(traced) if number not in full.handed}
    outputs = findings.get("outputs")
    if not isinstance(outputs, list) or len(outputs) < len(results):
        raise reports.forged("other results than the task has")
    if findings.get("changed") is not False:
        raise Ended(Status.INCORRECT, f"The answer changed one of its arguments on {full.case}.")
    doubts = [str(findings.get("reason", ""))[:200]]
    ratio = _work(reports.numbers(findings, "work"))
    for number, place in results.items():
        record = outputs[place]
        if _unwritten(record) and number in _constant(task, full):
            continue
        doubts.append(_covered(full, record))
        doubts.append(compared(task, full, number, record, arena, seed, tested))
        ratio = max(ratio, _beside_traces(record, looked.traces))
    doubt = next((doubt for doubt in doubts if doubt), "")
    return Proof(doubt, bool(doubt) and doubt != TOO_MUCH, ratio)


def _work(numbers: list[float]) -> float:
    """How many times the traced work the replayed programs have really done."""
    if len(numbers) != 4:
        raise reports.forged("work is not four numbers")
    moved, flops, traced_moved, traced_flops = numbers
    ratio = max(_ratio(moved, traced_moved), _ratio(flops, traced_flops))
    return ratio if ratio > SAME_WORK else 1.0


def _ratio(real: float, traced: float) -> float:
    if real <= 0:
        return 1.0
    return real / traced if traced > 0 else math.inf


def _beside_traces(record: dict[str, Any], traces: Sequence[LaunchTrace]) -> float:
    """The same for the replayed programs of one launch against those that were sampled."""
    trace = next((t for t in traces if t.index == record["index"]), None)
    moved, flops = (reports.numbers(record, name) for name in ("moved", "flops"))
    if trace is None or not moved or len(moved) != len(flops):
        return 1.0
    ratio = max(
        _ratio(sum(moved) / len(moved), sum(site.bytes for site in trace.sites)),
        _ratio(sum(flops) / len(flops), sum(dot.flops for dot in trace.dots)),
    )
    # Few programs of a launch whose programs differ say little about their mean.
    return ratio if ratio > SAME_WORK * max(trace.imbalance, 1.0) else 1.0


def _unwritten(record: Any) -> bool:
    """Whether no launch writes a result, and no copy."""
    return isinstance(record, dict) and record.get("launches") == 0 and not record.get("copied")


def _constant(task: Task, full: FullSize) -> frozenset[int]:
    """Results that do not depend on the arguments."""
    if not full.constant:
        full.constant.append(independent(task, full.seed))
    return full.constant[0]


def _covered(full: FullSize, record: Any) -> str:
    """Raise if a result is not stored as a whole; why that is unknown, or nothing."""
    if not isinstance(record, dict):
        raise reports.forged("a result is not a record")
    for name in ("launches", "index", "programs"):
        if type(record.get(name)) is not int:
            raise reports.forged(f"{name} is not a whole number")
    if record["launches"] < 1:
        if record.get("copied") is True:
            return "the result is put together by copies"
        raise Ended(Status.INCORRECT, f"No kernel of the answer writes its result at {full.case}.")
    share, twice = record.get("share"), record.get("twice")
    if not isinstance(share, float) or not isinstance(twice, float):
        raise reports.forged("a share is not a number")
    if share < 0:
        return "the programs take too long to look at"
    if twice > OFTEN and record["programs"] > 1:
        share = min(share, 1 - twice)
    if share >= (1 - 1e-9 if record.get("exact") is True else COVERED):
        return ""
    if record["launches"] > 1:
        return "several launches write the result"
    if record.get("known") is not True:
        return "which programs store it depends on what other kernels compute"
    told = f"{share:.2%}" if share > COVERED else f"{share:.0%}"
    # Most often a block is too small for the timed size.
    raise Ended(
        Status.INCORRECT,
        f"At {full.case} the kernels store {told} of the result: the rest is not computed.",
    )
