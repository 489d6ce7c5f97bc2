"""How often each part of a kernel's machine code runs, and what a program executes in all.

Machine code says what a loop holds but not how often it runs; the trace says how much a program
loads, stores and multiplies in all, but not in how many instructions. Together they give both.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.sass import Region

_CACHED = 2048
"""Instructions that the inner instruction caches hold, 16 bytes each. Chosen on the fitted half of
a sweep on an H200: epilogues of 36 KiB of code are slowed by fetching, loops of 25 KiB are not."""
_SKIPPED = 0.3
"""Share of a loop's iterations that run a part of it which some skip, where nothing tells."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What one warp of the average program executes."""

    instructions: dict[str, float]
    """By class."""
    shared_bytes: float
    global_bytes: float
    """Bytes of global loads and stores by instruction width, masked lanes too."""
    spill_bytes: float
    mma_flops: float
    iterations: float
    """Passes through loops that hold matrix instructions."""
    fetched: float
    """Instructions in parts too long for the inner instruction caches."""
    outside: dict[str, float]
    """The instructions that are not in such loops: prologue, epilogue, everything else."""

    @property
    def issued(self) -> float:
        """All instructions."""
        return sum(self.instructions.values())


def trips(build: Build, trace: LaunchTrace) -> list[float]:
    """How often the average program runs each region of its code.

    In order: loops of matrix products by the FLOPs traced; parts with loads and stores by how
    often the lines of the source were executed that they stand for; the rest by what is around.
    """
    regions = build.code.regions
    result: list[float] = []
    for region in regions:
        never = region.kind == "rare" or (region.parent >= 0 and result[region.parent] == 0)
        result.append(0.0 if never else 1.0 if region.kind == "body" else -1.0)
    _by_products(build, trace, result)
    _by_bulk_stores(build, trace, result)
    _by_lines(build, trace, result)
    for i, region in enumerate(regions):
        if result[i] < 0:
            outer = result[region.parent] if region.parent >= 0 else 1.0
            inner = [result[j] for j, r in enumerate(regions) if r.parent == i and result[j] > 0]
            if region.kind == "branch" and inner:
                result[i] = outer
            elif region.kind == "branch":
                # Beside a part that stores a tile, most likely it moves on to the next.
                beside = [result[j] for j, r in enumerate(regions)
                          if r.parent == region.parent and r.kind == "branch" and j != i
                          and (r.counts.get("tma_store") or r.store_bytes)]  # fmt: skip
                result[i] = min([outer * (_SKIPPED if outer > 1 else 1.0), *beside])
            else:
                # A loop around loops runs at most as often as they do.
                result[i] = min(inner) / _shortest(trace) if inner else max(outer, 1.0)
    return result


def _shortest(trace: LaunchTrace) -> float:
    """Length of the shortest loop around an access."""
    return max(min((s.burst for s in trace.sites if s.burst > 1), default=1.0), 1.0)


def _by_products(build: Build, trace: LaunchTrace, result: list[float]) -> None:
    regions = build.code.regions
    total = sum(dot.flops for dot in trace.dots)
    static = [region.mma_flops * build.num_warps for region in regions]
    body = sum(s for s, r in zip(static, regions, strict=True) if r.kind == "body")
    inner = sum(static) - body
    for i, flops in enumerate(static):
        if flops and result[i] < 0:
            result[i] = max(total - body, 0.0) / inner
    # A loop with stores ahead of all products serves the case that there is nothing to multiply.
    first = min((r.start for r in regions if r.mma_flops), default=0)
    for i, region in enumerate(regions):
        stores = region.counts.get("store") or region.counts.get("tma_store")
        if region.kind == "loop" and region.start < first and stores and total:
            if not _multiplies(regions, i):
                result[i] = 0.0


def _by_bulk_stores(build: Build, trace: LaunchTrace, result: list[float]) -> None:
    bulk = [site.count for site in trace.sites if site.bulk and site.kind == "store"]
    for i, region in enumerate(build.code.regions):
        if bulk and result[i] < 0 and region.counts.get("tma_store"):
            result[i] = sum(bulk) / len(bulk)


def _by_lines(build: Build, trace: LaunchTrace, result: list[float]) -> None:
    """Regions with loads or stores: each pass stands for some executions of a source line."""
    regions, warps = build.code.regions, build.num_warps
    found: dict[int, list[float]] = {}
    lines = {(kind, line) for region in regions for kind, line, _ in region.accesses}
    for kind, line in sorted(lines):
        sites = [s for s in trace.sites if s.line == line and s.kind == kind and not s.bulk]
        # What one execution of the line moves for each warp; small blocks are loaded repeatedly.
        unit = sum(max(s.lanes / warps, 32) * s.itemsize for s in sites)
        where = {
            i: max(1, round(moved / unit))
            for i, region in enumerate(regions)
            for k, n, moved in region.accesses
            if (k, n) == (kind, line) and unit and result[i] < 0
        }
        if where:
            count = max(s.count for s in sites)
            length = max(s.burst for s in sites)
            for i, passes in _shared_out(regions, where, count, length).items():
                found.setdefault(i, []).append(passes)
    for i, counts in found.items():
        result[i] = max(counts)


def _shared_out(
    regions: tuple[Region, ...], where: dict[int, int], count: float, length: float
) -> dict[int, float]:
    """Passes of the regions that hold one line, which is executed `count` times in all.

    Args:
        regions: of the code.
        where: executions that one pass of a region stands for: more than one where the compiler
            has unrolled a loop, and then another region takes what is left over.
        count: executions of the line.
        length: of the loop around it.
    """
    entries = count / max(length, 1.0)
    around = {i for i in where if any(inside(regions, j, i) for j in where)}
    within = {i: n for i, n in where.items() if i not in around}
    passes = dict.fromkeys(around, entries)  # what is loaded ahead of a loop, in the loop around
    most = max(within.values())
    unrolled = [i for i in within if within[i] == most]
    rest = {i: n for i, n in within.items() if n < most}
    if not rest or any(regions[i].counts.get("copy") for i in within):
        return passes | {i: count / sum(within.values()) for i in within}
    left = length % most
    passes |= {i: entries * (length // most) / len(unrolled) for i in unrolled}
    return passes | {i: entries * left / sum(rest.values()) for i in rest}


def inside(regions: tuple[Region, ...], index: int, outer: int) -> bool:
    """Whether a region lies in another one."""
    while index >= 0 and index != outer:
        index = regions[index].parent
        if index == outer:
            return True
    return False


def _multiplies(regions: tuple[Region, ...], index: int) -> bool:
    """Whether a region or one inside it has matrix instructions."""
    inside = {index}
    for i, region in enumerate(regions):
        if region.parent in inside:
            inside.add(i)
    return any(regions[i].mma_flops for i in inside)


def execute(build: Build, trace: LaunchTrace) -> Execution:
    """What one warp of the average program executes."""
    everything: dict[str, float] = defaultdict(float)
    outside: dict[str, float] = defaultdict(float)
    shared = moved = spilled = flops = iterations = fetched = 0.0
    for region, count in zip(build.code.regions, trips(build, trace), strict=True):
        for name, number in region.counts.items():
            everything[name] += number * count
            if not (region.mma_flops and region.kind == "loop"):
                outside[name] += number * count
        size = sum(region.counts.values())
        fetched += size * count if size > _CACHED else 0.0
        shared += region.shared_bytes * count
        moved += (region.load_bytes + region.store_bytes) * count
        spilled += region.spill_bytes * count
        flops += region.mma_flops * count
        if region.mma_flops and region.kind == "loop":
            iterations += count
    return Execution(
        instructions=dict(everything), shared_bytes=shared, global_bytes=moved,
        spill_bytes=spilled, mma_flops=flops, iterations=iterations, fetched=fetched,
        outside=dict(outside),
    )  # fmt: skip
