"""The time of one launch: waves of programs that share a multiprocessor and the memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.time_model.coalescing import Requests, requests
from triton_gym.evaluation.simulate.time_model.confidence import Doubts
from triton_gym.evaluation.simulate.time_model.constants import Constants
from triton_gym.evaluation.simulate.time_model.eager.rates import RATES
from triton_gym.evaluation.simulate.time_model.execution import Execution, execute
from triton_gym.evaluation.simulate.time_model.occupancy import occupancy
from triton_gym.evaluation.simulate.time_model.pipes import (
    all_pipes,
    chain,
    depth,
    late,
    matrix_cycles,
    pipes,
)
from triton_gym.evaluation.simulate.time_model.queueing import queue
from triton_gym.evaluation.simulate.time_model.traffic import Traffic, local_share, traffic
from triton_gym.evaluation.simulate.tracing.footprint import SECTOR

_RESULTS = ("float", "special")
"""Instructions that a loop of products has if it works on what the products gave, as in attention:
then products and all else wait for each other."""
_AHEAD = ("wgmma", "mma", "tma_load", "copy", "wait", "fence", "branch")
"""Instructions that such a loop does not wait for, or that are counted otherwise."""
_BESIDE = ("convert", "load_shared", "store_shared", "matrix_shared")
"""Instructions between memory and products that are waited for in any loop."""


@dataclass(frozen=True, slots=True)
class Launch:
    """The modelled time of a launch, and what each resource alone would need, in microseconds."""

    us: float
    dram_us: float
    l2_us: float
    pipes_us: float
    """The busiest unit of the multiprocessors."""
    latency_us: float
    """The programs' own chains of loads and instructions, all places taken."""
    doubts: Doubts
    """How much of it rests on what the model knows less about."""


@dataclass(frozen=True, slots=True)
class _Phase:
    """A part of a program."""

    alone: float
    """Cycles that it takes on a multiprocessor of its own."""
    shared: float
    """Cycles for which it keeps the busiest unit busy."""


def _norm(values: Sequence[float], power: float) -> float:
    """A maximum with rounded corners."""
    top = max(values)
    return top * sum((v / top) ** power for v in values) ** (1 / power) if top > 0 else 0.0


def _uneven(imbalance: float) -> float:
    """How much longer than if programs were alike the last of them takes, in mean programs.

    Programs start where others end. When the last one starts, others are under way, each with what
    is left of it; some have just begun and are heavy. With work evenly spread up to the heaviest,
    what is left of those is half the mean of squares over the mean, and the heaviest still has all
    of it.

    Args:
        imbalance: work of the heaviest over the mean.
    """
    beyond = min(max(imbalance - 1, 0.0), 1.0)
    return beyond - beyond * beyond / 6


def _latency(moved: Traffic, c: Constants, together: float = 1.0) -> float:
    """Cycles until the last of some loads is there that L1 does not serve."""
    missed = 1.0 - math.pow(1.0 - moved.miss, together)
    return c.l2_latency + missed * (c.dram_latency - c.l2_latency)


def _far(waits: float, loads: float, beyond: float) -> float:
    """How many of the waits of a pass are for more than L1.

    Where a pass loads other lines first, only its first waits are for those; where each of its
    loads has some lines of its own, as of a neighbourhood's rows, all of them are. Which it is
    nobody tells: the mean of both. What waits for L1 take is in the compiler's schedule.
    """
    if not waits:
        return 0.0
    first = min(waits, max(waits * beyond, min(loads * beyond, 1.0)))
    spread = waits * (1.0 - math.pow(1.0 - min(beyond, 1.0), max(loads / waits, 1.0)))
    return (first + spread) / 2


def _waiting(stalls: Sequence[tuple[float, float, float]], moved: Traffic, c: Constants) -> float:
    """Cycles that a program waits for loads which are not asynchronous (`Execution.stalls`)."""
    cycles = 0.0
    for count, waits, loads in stalls:
        far = _far(waits, loads, moved.beyond)
        together = max(loads * moved.beyond / far, 1.0) if far else 1.0
        cycles += count * far * _latency(moved, c, together)
    return cycles


def _loop(build: Build, work: Execution, moved: Traffic, matrix: float, c: Constants) -> _Phase:
    """The loops of matrix products: loads and products go on side by side."""
    steps, ahead, warps = work.iterations, depth(build), build.num_warps
    latency, between = _latency(moved, c), c.iteration
    if build.code.static("tma_load"):
        latency, between = latency + c.bulk_latency, c.bulk_iteration
    inside = {n: v - work.outside.get(n, 0.0) for n, v in work.instructions.items()}
    works = sum(inside.get(n, 0.0) for n in _RESULTS) > steps
    also = {
        n: v / steps for n, v in inside.items()
        if n in _BESIDE or (works and n not in _AHEAD)
    }  # fmt: skip
    shared = max(matrix / steps + c.gap, *pipes(also, warps).values())
    own = sum(also.values()) * max(work.pace, warps / 4)
    between += chain(own, also.get("barrier", 0.0), warps, c)
    between += _waiting(work.held_up, moved, c) / steps
    # Where one product is always under way, what comes between two of them runs beside it.
    busy = matrix / steps + c.gap
    busy = max(busy, between) if build.in_flight else busy + between
    fed = moved.load_bytes / steps / c.port_bytes_per_cycle
    # The next products run while a buffer is filled; without buffers they wait for it.
    filled = latency + fed + late(build) * (between if build.in_flight else busy)
    step = max(busy, fed, filled / ahead) if ahead else latency + fed + busy
    return _Phase(latency + steps * step, steps * shared)


def launch_time(build: Build, trace: LaunchTrace, gpu: Gpu, c: Constants) -> Launch:
    """The time of one launch."""
    resident = occupancy(
        gpu, registers=build.registers, shared_bytes=build.shared_bytes, num_warps=build.num_warps
    ).programs
    work = execute(build, trace)
    asked = requests(build, work, trace)
    # A grid that is too small to fill the device leaves each program more of L1.
    present = min(resident, -(-trace.programs // gpu.multiprocessors))
    moved = traffic(
        trace, gpu, resident=present, shared_bytes=build.shared_bytes, past_l1=build.code.past_l1
    )
    local = 32 * build.num_warps * build.spill_bytes * present
    spilled = local_share(gpu, local, present * (build.shared_bytes + 1024))
    spilled *= work.spill_bytes * build.num_warps * trace.programs
    moved = replace(moved, dram_bytes=moved.dram_bytes + spilled)
    matrix = matrix_cycles(build, work, gpu)
    seen = _Seen(build, trace, gpu, resident, work, asked, moved, matrix)
    found = _at(gpu.clock_ghz, seen, c)
    if matrix:
        # The matrix units draw most of the power: the more of them work, the lower the clock.
        found = _at(gpu.clock_ghz * (1 - (1 - c.matrix_clock) * found.matrix), seen, c)
    contended = min(found.meeting_us / found.launch.us, 1.0)
    return replace(found.launch, doubts=_doubts(found.launch, trace, work, moved, contended))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a launch's time follows from."""

    build: Build
    trace: LaunchTrace
    gpu: Gpu
    resident: int
    work: Execution
    asked: Requests
    moved: Traffic
    matrix: float


@dataclass(frozen=True, slots=True)
class _Found:
    """A launch's time at some clock."""

    launch: Launch
    matrix: float
    """Share of the matrix units that work, while all places are taken."""
    meeting_us: float
    """For which atomics on one line wait for each other."""


def _at(clock: float, seen: _Seen, c: Constants) -> _Found:
    """The time of a launch at a clock, in GHz."""
    build, trace, gpu, resident = seen.build, seen.trace, seen.gpu, seen.resident
    work, asked, moved, matrix = seen.work, seen.asked, seen.moved, seen.matrix
    programs, units = trace.programs, min(gpu.multiprocessors, trace.programs)
    # Cycles for which a program's bytes occupy its multiprocessor's share of the memory.
    held_back = min(moved.written_bytes, c.held_back * 1e6)
    dram = (
        (moved.dram_bytes - held_back) / programs / (gpu.memory_gbps * c.dram_share / clock / units)
    )
    # Requests of neighbours for the same line are merged on their way to L2.
    l2 = moved.l2_bytes / programs * moved.shared**c.merging / c.l2_bytes_per_cycle
    l2 += asked.again * SECTOR / c.l2_bytes_per_cycle
    l2 += moved.scattered / programs / c.l2_requests_per_cycle
    # One slice of L2 serves all: as if each multiprocessor had a share of it.
    meeting = asked.atomic * moved.meeting * RATES.meeting_ps * clock / 1e3 * units
    # Atomics that wait for one slice hold up the loads behind them, whatever slice those are for.
    memory = max(dram, l2) + meeting
    busy = all_pipes(build, work, trace, asked, resident, c)
    if work.iterations:
        outside = work.outside
        loop = _loop(build, work, moved, matrix, c)
        shared = max(busy["fetch"], *pipes(outside, build.num_warps).values())
        beside, waited, waiting = max(memory, *busy.values()), 0.0, 0.0
    else:
        outside, ahead = work.instructions, depth(build)
        loop, shared = _Phase(0.0, 0.0), max(*busy.values(), matrix)
        beside = memory
        waited = c.blocking * (dram + l2) / max(ahead, 1.0)
        waiting = work.rounds * _latency(moved, c) + _waiting(work.stalls, moved, c)
        waiting = _latency(moved, c) + (waiting - _latency(moved, c)) / ahead if ahead else waiting
    own = chain(work.cycles, outside.get("barrier", 0.0), build.num_warps, c)
    own += work.splits * c.split
    alone = c.start + waiting + own
    rest = _Phase(alone, shared)

    def cycle(count: int) -> float:
        """Cycles between the ends of two programs, with so many on a multiprocessor."""
        delay = max(loop.alone - loop.shared, 0.0) + max(rest.alone - rest.shared, 0.0)
        apart = queue(delay, (loop.shared, rest.shared, waited), count)
        if work.iterations:
            # Programs that start together stay together: their loops meet, and their epilogues.
            together = max(loop.alone / count, loop.shared) + max(rest.alone / count, rest.shared)
            apart = max(apart, together)
        return _norm((apart, beside), c.sharpness)

    if programs <= gpu.multiprocessors * resident:
        here = -(-programs // gpu.multiprocessors)
        # The heaviest may be few: then they have a multiprocessor to themselves in the end.
        heavy = min(here, -(-int(programs * trace.heaviest) // gpu.multiprocessors)) or 1
        each = cycle(here)
        cycles = max(each * here, cycle(heavy) * heavy * trace.imbalance)
        cycles = max(cycles, here * c.between_starts)
    else:
        each = max(cycle(resident), c.between_starts)
        waves = programs / gpu.multiprocessors / resident
        # Memory is shared: what it is busy with is not lost at the end.
        idle = 1 - min(max(dram, meeting) / each, 1.0)
        cycles = each * resident * (waves + c.tail * idle * (math.ceil(waves) - waves))
        cycles += _uneven(trace.imbalance) * cycle(1)
        cycles = max(cycles, cycle(1) * trace.imbalance)
    to_us = 1 / clock / 1e3
    per_unit = programs / units * to_us
    launch = Launch(
        us=cycles * to_us,
        dram_us=dram * per_unit,
        l2_us=max(l2, meeting) * per_unit,
        pipes_us=max(*busy.values(), matrix) * per_unit,
        latency_us=(loop.alone + rest.alone) * per_unit / resident,
        doubts=Doubts(),
    )
    working = min(matrix / each, 1.0) * units / gpu.multiprocessors
    return _Found(launch, working, meeting * per_unit * (trace.contended > 0))


_CROSSING = ("shuffle", "load_shared", "store_shared", "barrier")


def _doubts(
    launch: Launch, trace: LaunchTrace, work: Execution, moved: Traffic, contended: float
) -> Doubts:
    """What the time of a launch rests on.

    Args:
        launch: with the times of its resources.
        trace: what it was seen to do.
        work: what a warp executes.
        moved: what it moves.
        contended: share of the time for which atomics on one line wait for each other.
    """
    everything = max(sum(work.instructions.values()), 1.0)
    streaming, caching, units = (
        min(us / launch.us, 1.0) for us in (launch.dram_us, launch.l2_us, launch.pipes_us)
    )
    sectors = sum(s.sectors for s in trace.sites) * SECTOR
    used = sum(s.bytes for s in trace.sites)
    local = work.instructions.get("spill_load", 0.0) + work.instructions.get("spill_store", 0.0)
    return Doubts(
        streaming=streaming,
        caching=max(caching - streaming, 0.0),
        units=max(units - max(streaming, caching), 0.0),
        waiting=1.0 - max(streaming, caching, units),
        near=0.0 if work.iterations else 1.0 - moved.beyond,
        crossing=sum(work.instructions.get(n, 0.0) for n in _CROSSING) / everything * 4,
        scattered=1.0 - min(used / sectors, 1.0) if sectors else 0.0,
        atomics=1.0 if any(s.kind == "atomic" for s in trace.sites) else 0.0,
        contended=contended,
        spilled=min(10 * local / everything, 1.0),
        products=1.0 if work.iterations else 0.0,
    )
