"""What a program executes in all: its instructions by how often their parts of the code run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.sass import Region
from triton_gym.evaluation.simulate.time_model.queueing import queue
from triton_gym.evaluation.simulate.time_model.trips import trips

_CACHED = 2048
"""Instructions that the inner instruction caches hold, 16 bytes each. Chosen on the fitted half of
a sweep on an H200: epilogues of 36 KiB of code are slowed by fetching, loops of 25 KiB are not."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What one warp of the average program executes."""

    instructions: dict[str, float]
    """By class."""
    shared_bytes: float
    spill_bytes: float
    products: Mapping[str, float]
    """FLOPs of matrix instructions, by their name."""
    iterations: float
    """Passes through loops that hold matrix instructions."""
    held_up: tuple[tuple[float, float, float], ...]
    """`stalls` of such loops: loads that are not asynchronous."""
    fetched: float
    """Instructions in parts too long for the inner instruction caches."""
    requests: Mapping[tuple[str, int], tuple[float, float]]
    """Global loads and stores by line of the source (`load` or `store`, and the line): how many,
    and bytes that they move, masked lanes too."""
    narrow: float
    """Stores across the order of a block in shared memory."""
    rounds: float
    """Groups of asynchronous loads, one after the other, that the average program waits for; 1 at
    least if it loads."""
    stalls: tuple[tuple[float, float, float], ...]
    """For each part of the code outside of such loops how often it runs, how many loads in a row a
    pass waits for as the compiler has put them in order, and how many it has."""
    outside: dict[str, float]
    """The instructions that are not in such loops: prologue, epilogue, everything else."""
    cycles: float
    """Cycles that a warp takes for those, if no other program is there."""
    pace: float
    """The same for each instruction in such loops."""
    conflicts: float
    """Cycles that shared memory takes longer, since lanes of a warp meet in banks."""
    splits: float
    """Branches outside of such loops where a warp's lanes part."""


def _rarer(region: Region, trace: LaunchTrace, count: float) -> dict[str, float]:
    """Instructions that passes of a loop skip, by class: of lines that store, and run less often.

    Compilers flatten loops over tiles, so that a tile's end stands in the loop of its products.
    """
    executed = dict(trace.passes)
    stores = {s.line: s.count for s in trace.sites if s.kind != "load"}
    found: dict[str, float] = defaultdict(float)
    for line, group, number in region.mix:
        if line in stores and 2 * executed.get(line, count) < count:
            found[group] += number * (count - executed[line])
    return found


def _rounds(
    build: Build, trace: LaunchTrace, stalls: Sequence[tuple[float, float, float]]
) -> float:
    """Groups of loads that are waited for beside those in the order of instructions.

    What is waited for of asynchronous loads is not there: they are as many as the source has loads
    after each other.
    """
    regions = build.code.regions
    if any(r.counts.get("copy") or r.counts.get("tma_load") for r in regions):
        return trace.rounds
    waited = sum(count * waits for count, waits, _ in stalls)
    return max(min(trace.rounds, 1.0) - waited, 0.0)


def _together(cycles: float, size: float, warps: int) -> float:
    """Cycles until all warps of a program have gone through a stretch of code.

    They share four schedulers, which issue an instruction in a cycle.

    Args:
        cycles: of a warp by itself.
        size: its instructions.
        warps: of the program.
    """
    each = -(-warps // 4)
    return each * queue(max(cycles - size, 0.0), (size,), each)


def execute(build: Build, trace: LaunchTrace) -> Execution:
    """What one warp of the average program executes."""
    everything: dict[str, float] = defaultdict(float)
    outside: dict[str, float] = defaultdict(float)
    products: dict[str, float] = defaultdict(float)
    requests: dict[tuple[str, int], float] = defaultdict(float)
    widths: dict[tuple[str, int], float] = defaultdict(float)
    shared = spilled = iterations = fetched = narrow = cycles = inside = many = 0.0
    conflicts = splits = 0.0
    counts = trips(build, trace)
    stalls: list[tuple[float, float, float]] = []
    held_up: list[tuple[float, float, float]] = []
    for region, count in zip(build.code.regions, counts, strict=True):
        multiplies = region.mma_flops > 0 and region.kind == "loop"
        rarely = _rarer(region, trace, count) if multiplies else {}
        for name, number in region.counts.items():
            seldom = rarely.get(name, 0.0)
            everything[name] += number * count - seldom
            # A tile's end in the loop of its products is as if it came after it.
            if not multiplies:
                outside[name] += number * count
        size = sum(region.counts.values())
        if not (build.across and region.mma_flops):  # what is laid across there counts as narrow
            conflicts += region.conflicts * count
        if multiplies:
            if region.waits and count:
                held_up.append((count, region.waits, float(region.counts.get("load", 0))))
            inside, many = inside + region.cycles * count, many + size * count
        else:
            if region.waits and count:
                stalls.append((count, region.waits, float(region.counts.get("load", 0))))
            cycles += count * _together(region.cycles, size, build.num_warps)
            splits += count * region.splits
        fetched += size * count if size > _CACHED else 0.0
        shared += region.shared_bytes * count
        spilled += region.spill_bytes * count
        if build.across and region.mma_flops:
            narrow += region.narrow * count
        for kind, line, number in region.issued:
            requests[kind, line] += number * count
        for kind, line, number in region.accesses:
            widths[kind, line] += number * count
        for name, _, flops in region.products:
            products[name] += flops * count
        if region.mma_flops and region.kind == "loop":
            iterations += count
    return Execution(
        instructions=dict(everything), shared_bytes=shared,
        spill_bytes=spilled, products=dict(products), iterations=iterations, fetched=fetched,
        requests={key: (count, widths[key]) for key, count in requests.items()},
        narrow=narrow, rounds=_rounds(build, trace, stalls),
        stalls=tuple(stalls), held_up=tuple(held_up),
        outside=dict(outside), cycles=cycles, pace=inside / many if many else 0.0,
        conflicts=conflicts, splits=splits,
    )  # fmt: skip
