"""Whether an answer does its work at full size too, on a device that cannot run all of it there.

Programs that the answer cannot foresee have run to their end in the worker, on arguments of full
size (`simulate/tracing/evidence.py`). Here what they stored is compared with the reference;
how much of the result the whole grid stores is inferred from them, or counted where that looks too
little; and what they really moved and multiplied is held against what the time was estimated from.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.evaluation import check
from triton_gym.evaluation.backends.simulated import reports
from triton_gym.evaluation.backends.simulated.client import Interpreter
from triton_gym.evaluation.backends.simulated.fullsize import FullSize, part_of, whole_tolerance
from triton_gym.evaluation.backends.simulated.independent import independent
from triton_gym.evaluation.comparison import bits, imprecise
from triton_gym.evaluation.exchange.arena import HostArena, Slot
from triton_gym.evaluation.judging.returned import Part
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status
from triton_gym.task import Task

FINDINGS_BYTES = 32 << 20
"""Shared memory for what the replayed programs stored."""
PIECES = 48
"""Most stores of one result that are compared."""
PART_FLOPS = 2.5e9
"""Work of the reference after which no further store is compared."""
COVERED = 0.98
"""Share of a result that must be stored, where it is inferred from some programs; below it the rest
is not being computed. Where programs of each path were seen to store alike all of it must be."""
SAME_WORK = 1.05
"""Above this ratio of real to traced work the estimated time is corrected."""
MANY = 64
"""Values of a store from which on the root mean square of their errors is looked at."""
OFTEN = 0.5
"""Share of the programs looked at that may store where another one does, by split sums, say."""
_NEAR = 4096
MOST_VALUES = 1 << 20
"""Values of the reference that are computed to compare one store."""
_TOO_MUCH = "the reference is too much to compute there"


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
        doubts.append(_compared(task, full, number, record, arena, seed, tested))
        ratio = max(ratio, _beside_traces(record, looked.traces))
    doubt = next((doubt for doubt in doubts if doubt), "")
    return Proof(doubt, bool(doubt) and doubt != _TOO_MUCH, ratio)


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


def _compared(
    task: Task, full: FullSize, number: int, record: dict[str, Any], arena: HostArena, seed: int,
    tested: Mapping[str, float],
) -> str:  # fmt: skip
    """Raise if what was stored is wrong; why it was not compared, or nothing."""
    pieces = record.get("pieces")
    if not isinstance(pieces, list):
        raise reports.forged("pieces is not a list")
    slot = full.outputs[number]
    rng = random.Random(seed)
    rng.shuffle(pieces)
    work = 0.0
    whole: tuple[bool, ...] | None = None
    for piece in pieces[:PIECES]:
        positions, values = _read(piece, slot, arena)
        if whole is None and (whole := _taken_whole(task, full, number, positions[0])) is None:
            return _TOO_MUCH
        for chosen in _boxed(positions, slot.shape, whole, rng):
            index = torch.unravel_index(positions[chosen], slot.shape)
            ranges = [slice(int(i.min()), int(i.max()) + 1) for i in index]
            volume = _computed(index, slot.shape, whole)
            work += task.flops(full.case) * volume / math.prod(slot.shape)
            if not _agrees(task, full, number, index, ranges, values[chosen], tested):
                return _TOO_MUCH
        if work > PART_FLOPS:
            break
    return ""


def _read(piece: Any, slot: Slot, arena: HostArena) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and values of one store, copied out of shared memory and then looked at."""
    try:
        at, of = (Slot.read(message) for message in piece)
        inside = all(s.offset >= 0 and s.offset + s.bytes <= arena.size for s in (at, of))
        alike = at.shape == of.shape and len(at.shape) == 1 and at.shape[0] > 0
        if not (inside and alike and at.dtype == "int64" and of.dtype == slot.dtype):
            raise ValueError
        positions, values = arena.view(at).clone(), arena.view(of).clone()
    except (TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError):
        raise reports.forged("a piece of a result is not one") from None
    if int(positions.min()) < 0 or int(positions.max()) >= math.prod(slot.shape):
        raise reports.forged("a piece of a result lies outside")
    return positions, values


def _taken_whole(
    task: Task, full: FullSize, number: int, position: torch.Tensor
) -> tuple[bool, ...] | None:
    """Which axes a part of the reference always has whole, as a softmax has rows; None if there is
    no reference."""
    shape = full.outputs[number].shape
    ranges = [slice(int(i), int(i) + 1) for i in torch.unravel_index(position, shape)]
    found = part_of(task, full, number, ranges)
    return None if found is None else tuple(size > 1 for size in found[0].shape)


def _computed(
    index: Sequence[torch.Tensor], shape: tuple[int, ...], whole: tuple[bool, ...]
) -> int:
    """How many values of the reference are computed for some places: the box around them."""
    return math.prod(
        size if all_ else int(i.max() - i.min()) + 1
        for i, size, all_ in zip(index, shape, whole, strict=True)
    )


def _boxed(
    positions: torch.Tensor, shape: tuple[int, ...], whole: tuple[bool, ...], rng: random.Random
) -> list[torch.Tensor]:
    """Which positions to compare together: all, or, where they are scattered, some neighbours."""
    index = torch.unravel_index(positions, shape)
    none = (False,) * len(shape)
    close = _computed(index, shape, none) <= max(16 * len(positions), 1 << 16)
    if close and _computed(index, shape, whole) <= MOST_VALUES:
        return [torch.ones(len(positions), dtype=torch.bool)]
    width = shape[-1] if len(shape) > 1 else _NEAR
    chosen = []
    for _ in range(4):
        anchor = rng.randrange(len(positions))
        at = int(positions[anchor])
        near = (positions // width == at // width) & ((positions - at).abs() < _NEAR)
        if _computed([i[near] for i in index], shape, whole) > MOST_VALUES:
            for i, all_ in zip(index, whole, strict=True):
                near &= all_ | (i == i[anchor])
        chosen.append(near)
    return chosen


def _agrees(
    task: Task, full: FullSize, number: int, index: tuple[torch.Tensor, ...],
    ranges: list[slice], values: torch.Tensor, tested: Mapping[str, float],
) -> bool:  # fmt: skip
    """Raise if values differ from the reference; whether there is a reference."""
    shape = full.outputs[number].shape
    found = part_of(task, full, number, ranges)
    if found is None:
        return False
    exact, plain = found
    begins = [
        0 if exact.shape[axis] == size else ranges[axis].start for axis, size in enumerate(shape)
    ]
    got = exact.clone()
    here = tuple(i - begin for i, begin in zip(index, begins, strict=True))
    if exact.is_complex():
        got[here] = values.to(exact.dtype)
    else:  # as whole numbers: PyTorch stores few dtypes at places
        bits(got)[here] = bits(values.to(exact.dtype))
    error, place = check.largest(got, exact)
    tolerance = 0.0
    if exact.is_floating_point():
        tolerance = tested.get(full.case.dtype, 0.0)
        if error > tolerance:
            ((own, _),) = check.limits(task, full.case, (plain(),), (exact,))
            tolerance = max(own, tolerance)
        if error > tolerance:
            tolerance = max(tolerance, whole_tolerance(task, full, number))
    if error <= tolerance:
        _hold_usual(task, full, values, exact, plain, got)
        return True
    at = [int(i) + b for i, b in zip(torch.unravel_index(torch.tensor(place), exact.shape), begins,
                                     strict=True)]  # fmt: skip
    raise Ended(
        Status.INCORRECT,
        f"Wrong result on {full.case}, the timed case, of which some programs were run: at index "
        f"{tuple(at)} of shape {tuple(shape)} the value is {got.flatten()[place].item():.6g}, "
        f"expected {exact.flatten()[place].item():.6g}; the relative error {error:.3g} is above "
        f"the tolerance {tolerance:.3g}.",
        max_error=error,
        tolerance=tolerance,
    )


def _hold_usual(
    task: Task, full: FullSize, values: torch.Tensor, exact: torch.Tensor,
    plain: Callable[[], torch.Tensor], got: torch.Tensor,
) -> None:  # fmt: skip
    """Raise if many values are off by more than their number of bits makes them."""
    if len(values) < MANY or not exact.is_floating_point():
        return
    # Of the part some values are the answer's; the others are not off at all.
    square = check.errors_of(got, exact).double().square().sum() / len(values)
    usual = float(square.sqrt())
    # A narrow reference takes longer than the oracle: it is only asked where it matters.
    if usual <= check.floor(values, task.reduction(full.case)) / 3:
        return
    ((_, allowed),) = check.limits(task, full.case, (plain(),), (exact,))
    if usual > 1.25 * allowed:  # few values have more of it by chance
        raise Ended(
            Status.INCORRECT,
            f"Wrong result on {full.case}, the timed case, of which some programs were run: the "
            f"values are off by {imprecise(usual)}, above the {1.25 * allowed:.3g} that is "
            "allowed: too few bits somewhere.",
            max_error=usual,
            tolerance=1.25 * allowed,
        )
