"""How often each part of a kernel's machine code runs, and what a program executes in all.

Machine code says what a loop holds but not how often it runs; the trace says how much a program
loads, stores and multiplies in all, but not in how many instructions. Together they give both.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from triton_gym.evaluation.simulate.build import Build
from triton_gym.evaluation.simulate.sass import Region
from triton_gym.evaluation.simulate.launches import LaunchTrace

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
    """How often the average program runs each region of its code."""
    regions = build.code.regions
    result = [1.0 if region.kind == "body" else -1.0 for region in regions]
    flops = sum(dot.flops for dot in trace.dots)
    stores = [site for site in trace.sites if site.kind != "load"]
    loads = [site for site in trace.sites if site.kind == "load"]
    first_mma = min((r.start for r in regions if r.mma_flops), default=0)

    def anchored(which: list[int], static: list[float], total: float) -> None:
        """Regions that together do `total`, in equally many passes."""
        body = sum(s for i, s in zip(which, static, strict=True) if regions[i].kind == "body")
        inner = sum(s for i, s in zip(which, static, strict=True) if regions[i].kind != "body")
        for i in which:
            if result[i] < 0 and inner:
                result[i] = max(total - body, 0.0) / inner

    def having(attribute: str, *classes: str) -> list[int]:
        found = []
        for i, region in enumerate(regions):
            there = any(region.counts.get(c) for c in classes) or (
                attribute and getattr(region, attribute)
            )
            if there and (result[i] < 0 or region.kind == "body"):
                found.append(i)
        return found

    matrix = having("mma_flops")
    anchored(matrix, [regions[i].mma_flops * build.num_warps for i in matrix], flops)
    # A loop with stores ahead of all products serves the case that there is nothing to multiply.
    for i, region in enumerate(regions):
        if region.kind == "loop" and region.start < first_mma and not _holds(regions, i, "mma"):
            if any(region.counts.get(c) for c in ("store", "tma_store")) and flops:
                result[i] = 0.0
    bulk_stores = [s for s in stores if s.bulk]
    if bulk_stores:
        for i in having("", "tma_store"):
            if result[i] < 0:
                result[i] = sum(s.count for s in bulk_stores) / len(bulk_stores)
    plain = having("store_bytes")
    anchored(
        plain, [regions[i].store_bytes * build.num_warps for i in plain],
        sum(s.count * s.lanes * s.itemsize for s in stores if not s.bulk),
    )  # fmt: skip
    reading = having("load_bytes")
    anchored(
        reading, [regions[i].load_bytes * build.num_warps for i in reading],
        sum(s.count * s.lanes * s.itemsize for s in loads if not s.bulk),
    )  # fmt: skip
    for i, region in enumerate(regions):
        if result[i] < 0:
            outer = result[region.parent] if region.parent >= 0 else 1.0
            if region.kind == "branch":
                # Beside a part that stores a tile, most likely it moves on to the next.
                beside = [result[j] for j, r in enumerate(regions)
                          if r.parent == region.parent and r.kind == "branch"
                          and (r.counts.get("tma_store") or r.store_bytes)]  # fmt: skip
                result[i] = min([outer * (_SKIPPED if outer > 1 else 1.0), *beside])
            else:
                inner = [result[j] for j, r in enumerate(regions) if r.parent == i]
                result[i] = max(1.0, trace.iterations if not inner else min(inner))
    return result


def _holds(regions: tuple[Region, ...], index: int, what: str) -> bool:
    """Whether a region or one inside it has matrix instructions."""
    inside = {index}
    for i, region in enumerate(regions):
        if region.parent in inside:
            inside.add(i)
    return any(regions[i].mma_flops for i in inside)


def execute(build: Build, trace: LaunchTrace) -> Execution:
    """What one warp of the average program executes."""
    everything: Counter[str] = Counter()
    outside: Counter[str] = Counter()
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
