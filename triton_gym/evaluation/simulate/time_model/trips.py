"""How often each part of a kernel's machine code runs.

Machine code says what a loop holds but not how often it runs; the trace says how much a program
loads, stores and multiplies in all, but not in how many instructions. Together they tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.sass import Region

_TOLD = 0.5
"""Share of a region's instructions whose lines must be known to tell how often it runs."""

_SKIPPED = 0.3
"""Share of a loop's iterations that run a part of it which some skip, where nothing tells."""


def trips(build: Build, trace: LaunchTrace) -> list[float]:
    """How often the average program runs each region of its code.

    In order: loops of matrix products by the FLOPs traced; parts with loads and stores by what
    their lines of the source were seen to move; the rest by how often their lines were executed,
    and where nothing tells, by what is around.
    """
    regions = build.code.regions
    result: list[float] = []
    for region in regions:
        never = region.kind == "rare" or (region.parent >= 0 and result[region.parent] == 0)
        result.append(0.0 if never else _entered(region, trace) if region.kind == "body" else -1.0)
    _by_copies(build, trace, result)
    _by_products(build, trace, result)
    _by_bulk_stores(build, trace, result)
    _by_lines(build, trace, result)
    _by_arithmetic(build, trace, result)
    _by_passes(build, trace, result)
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


def _entered(region: Region, trace: LaunchTrace) -> float:
    """How much of the code outside of loops the average program executes: some leave early."""
    executed = dict(trace.passes)
    known = [(count, min(executed[line], 1.0)) for line, count in region.lines if line in executed]
    size = sum(count for count, _ in known)
    if size < _TOLD * sum(region.counts.values()):
        return 1.0
    return sum(count * share for count, share in known) / size


def _shortest(trace: LaunchTrace) -> float:
    """Length of the shortest loop around an access."""
    return max(min((s.burst for s in trace.sites if s.burst > 1), default=1.0), 1.0)


_PASSES = {"TF32X3": 3, "BF16X3": 3, "BF16X6": 6}
"""Products that one of a higher precision is made of."""


def _by_products(build: Build, trace: LaunchTrace, result: list[float]) -> None:
    regions = build.code.regions
    traced: dict[int, float] = defaultdict(float)
    again = dict(build.repeated)
    for dot in trace.dots:
        passes = _PASSES.get(dot.precision.upper(), 1) * again.get(dot.line, 1.0)
        traced[dot.line] += dot.flops * passes
    total = sum(traced.values())
    static = [region.mma_flops * build.num_warps for region in regions]
    known = [{line for _, line, _ in region.products if line in traced} for region in regions]
    # Products whose every instruction stands at another line belong to regions that have such.
    lost = set(traced) - set().union(*known)
    for lines, region in zip(known, regions, strict=True):
        if lost and any(line not in traced for _, line, _ in region.products):
            lines.update(lost)
    for i in range(len(regions)):
        if not static[i] or result[i] >= 0:
            continue
        # The compiler shares a product out to regions, and moves instructions to lines nearby.
        lines = set(traced) if not any(known) else _joined(known, i)
        group = [j for j in range(len(regions)) if static[j] and (known[j] & lines or j == i)]
        body = sum(static[j] for j in group if regions[j].kind == "body")
        inner = sum(static[j] for j in group if regions[j].kind != "body")
        wanted = sum(flops for line, flops in traced.items() if line in lines)
        left = max(wanted - body, 0.0)
        loops = [j for j in group if regions[j].kind != "body" and result[j] < 0]
        for j, most in _seldom(regions, loops, trace, left / inner):
            # One of several loops over the same lines: what it has of its own runs seldom.
            result[j] = most
            left, inner = max(left - most * static[j], 0.0), inner - static[j]
        if result[i] < 0:
            result[i] = left / inner if inner else 0.0
    # A loop with stores ahead of all products serves the case that there is nothing to multiply.
    first = min((r.start for r in regions if r.mma_flops), default=0)
    for i, region in enumerate(regions):
        stores = region.counts.get("store") or region.counts.get("tma_store")
        if region.kind == "loop" and region.start < first and stores and total:
            if not _multiplies(regions, i):
                result[i] = 0.0


def _seldom(
    regions: tuple[Region, ...], loops: Sequence[int], trace: LaunchTrace, evenly: float
) -> list[tuple[int, float]]:
    """Those of some loops that hold lines of their own which run less often than all do on average.

    As of attention's two loops of one function: only that along the diagonal masks.

    Args:
        regions: of the code.
        loops: that share lines with products.
        trace: what was seen.
        evenly: passes of each if all ran as often.
    """
    if len(loops) < 2:
        return []
    executed = dict(trace.passes)
    found = []
    for index in loops:
        others = {line for j in loops if j != index for line, _ in regions[j].lines}
        own = [(count, executed[line]) for line, count in regions[index].lines
               if line not in others and line in executed]  # fmt: skip
        if sum(count for count, _ in own) >= _OWN:
            most = max(own)[1]
            if most < evenly / 2:
                found.append((index, most))
    return found if len(found) < len(loops) else []


_OWN = 8
"""Instructions that a loop must have of its own to be told by them."""


def _joined(known: list[set[int]], index: int) -> set[int]:
    """Lines of a region, with those of regions that share any with it."""
    lines = set(known[index])
    while True:
        more = set().union(*(some for some in known if some & lines)) | lines
        if more == lines:
            return lines
        lines = more


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


def _by_copies(build: Build, trace: LaunchTrace, result: list[float]) -> None:
    """Loops of products that load asynchronously: by what they load.

    Products do not tell there: warps that have no part of a small tile compute it again.
    """
    regions = build.code.regions
    loops = [
        region.kind == "loop" and region.mma_flops > 0 and region.counts.get("copy", 0) > 0
        for region in regions
    ]
    found = list(result)
    _by_lines(build, trace, found)
    for i, chosen in enumerate(loops):
        if chosen and found[i] > 0 and result[i] < 0:
            result[i] = found[i]


def _by_arithmetic(build: Build, trace: LaunchTrace, result: list[float]) -> None:
    """Loops without accesses or products: by the float instructions that their lines take.

    A loop that is unrolled holds those of several passes.
    """
    regions, executed = build.code.regions, dict(trace.passes)
    known = {line: each for line, each in build.arithmetic if executed.get(line)}
    for i, region in enumerate(regions):
        if result[i] >= 0 or region.kind != "loop":
            continue
        floats = [(line, n) for line, group, n in region.mix if group == "float" and line in known]
        lines = {line for line, _ in floats}
        total = sum(known[line] * executed[line] for line in lines)
        here = sum(count for _, count in floats)
        elsewhere = [
            (j, count)
            for j, other in enumerate(regions)
            for line, group, count in other.mix
            if j != i and group == "float" and line in lines
        ]
        # What the code around holds of the same lines runs as often as that; copies of the loop,
        # for what is left over, share the passes with it.
        total -= sum(count * result[j] for j, count in elsewhere if result[j] > 0)
        here += sum(count for j, count in elsewhere if result[j] < 0)
        if here and total > 0:
            result[i] = total / here


def _by_passes(build: Build, trace: LaunchTrace, result: list[float]) -> None:
    """Regions without accesses or products: by how often their lines were executed.

    A loop runs as often as the line of its branch back. A part that some iterations skip runs as
    often as the line that most of its instructions stand for, and never more than what is around.
    """
    executed = dict(trace.passes)
    regions = build.code.regions
    bulk = any(r.mma_flops and r.counts.get("tma_load") for r in regions)
    for i, region in enumerate(regions):
        if result[i] >= 0 or region.kind == "body":
            continue
        # What stands before an inner loop of its lines runs once an entry, not once a pass of it.
        within = {
            line
            for j, inner in enumerate(regions)
            if region.kind == inner.kind == "loop" and inside(regions, j, i) and result[j] > 0
            for line, _ in inner.lines
        }
        told = [(line, count) for line, count in region.lines if line not in within]
        known = [(count, executed[line]) for line, count in told if line in executed]
        size = sum(count for _, count in told)
        if not known or sum(count for count, _ in known) < _TOLD * size:
            continue
        outer = max(result[region.parent], 0.0) if region.parent >= 0 else 1.0
        most = max(known)[1]
        if region.kind == "loop" and region.counts.get("tma_load") and bulk:
            # It fills the buffers for another loop, that of the products: once a tile.
            result[i] = min([c for _, c in known if c >= 1] or [most])
        elif region.kind == "loop":
            result[i] = max(executed.get(region.closing, most), most)
        else:
            result[i] = min(most, outer) if result[region.parent] >= 0 else most


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
