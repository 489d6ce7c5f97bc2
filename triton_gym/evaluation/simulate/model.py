"""How long launches take: an analytical model of a Hopper multiprocessor and its memory.

A launch takes the largest of three times, rounded where two of them are alike:

* its multiprocessors': waves of resident programs. A wave lasts as long as one program needs on
  its own (its rounds of loads, its chain of instructions), or as long as the busiest pipe needs
  for all that are resident, whichever is more;
* its L2's and its device memory's: bytes over bandwidth.

Sources: Volkov, "Understanding Latency Hiding on GPUs" (2016), for the first; the roofline model
(Williams et al., CACM 52(4), 2009) for the others. The model is meant to rank kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.build import Build
from triton_gym.evaluation.simulate.execution import Execution, execute
from triton_gym.evaluation.simulate.occupancy import occupancy
from triton_gym.evaluation.simulate.trace import LaunchTrace
from triton_gym.evaluation.simulate.traffic import Traffic, traffic


@dataclass(frozen=True, slots=True)
class Constants:
    """What is not in a data sheet. Times in cycles of a multiprocessor unless named otherwise."""

    launch_us: float = 2.5
    """From the start of a launch to its first program, and from the last to its end."""
    next_launch_us: float = 1.0
    """The same for every further launch of a call: the queue hides some of it."""
    dram_share: float = 0.92
    """Share of the data sheet's bandwidth that streaming kernels reach."""
    l2_bytes_per_cycle: float = 48.0
    """L2 bandwidth for each multiprocessor."""
    dram_latency: float = 900.0
    l2_latency: float = 270.0
    start: float = 900.0
    """Start of a program: its launch, its arguments, its first addresses."""
    chain: float = 3.0
    """Cycles from an instruction to the next of the same warp, on average."""
    shuffle: float = 15.0
    barrier: float = 40.0
    iteration: float = 60.0
    """What a pass through a loop of matrix products waits for its barriers."""
    matrix_clock: float = 0.85
    """Share of the boost clock left under full load of the matrix units, which draw most power."""
    tail: float = 0.6
    """How much of a last wave's empty places costs time: 0 if programs drift apart, 1 if not."""
    blocking: float = 0.6
    """Share of its memory traffic that a program waits for: stores go on without it."""
    ahead: float = 0.5
    """How much of that goes away where loads are issued an iteration ahead."""
    sharpness: float = 6.0
    """Exponent of the norm that joins times that overlap."""
    barrier_warp: float = 4.0
    """What a barrier takes longer for each warp that it waits for."""


CONSTANTS = Constants()

_HMMA_SHARE = 0.62
"""Rate of `mma.sync` on Hopper over that of `wgmma`.
Source: Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU" (2024), table of mma."""
_SHARED_BYTES_PER_CYCLE = 128.0
"""Source: CUDA Programming Guide, shared memory: 32 banks of 4 bytes."""
_ATOMICS_PER_CYCLE = 1.0
"""Atomic operations that the L2 does for each multiprocessor. An estimate."""

_WARPS_PER_CYCLE = {
    "float": 4.0, "integer": 2.5, "uniform": 4.0, "special": 0.5, "convert": 0.5, "double": 2.0,
    "shuffle": 1.0, "matrix_shared": 0.25,
}  # fmt: skip
"""Warp instructions that a multiprocessor finishes in a cycle, by class.
Source: CUDA Programming Guide, "Arithmetic Instructions", 9.0; integers: half of them run on the
fp32 units."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The modelled time of one call."""

    us: float
    """Microseconds."""
    bound: str
    """`memory`, `compute` or `launch`."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Microseconds that each resource alone would need: `launch`, `dram`, `l2`, `programs`,
    `pipes`, all launches together."""
    registers: int = 0
    """Registers a thread of the heaviest kernel."""
    spills: int = 0
    """Spilled bytes a thread of the heaviest kernel."""
    shared_bytes: int = 0
    """Shared memory a program of the heaviest kernel."""
    notes: tuple[str, ...] = ()
    """What the model could not see."""

    def describe(self) -> str:
        """One sentence of feedback."""
        shares = ", ".join(f"{name} {us:.1f}" for name, us in self.parts.items())
        notes = "".join(f" Note: {note}." for note in self.notes)
        return (
            f"Simulated: {self.us:.1f} us, bound by {self.bound} (each alone, in us: {shares})."
            + notes
        )


def _norm(values: Sequence[float], power: float) -> float:
    """A maximum with rounded corners."""
    top = max(values)
    return top * sum((v / top) ** power for v in values) ** (1 / power) if top > 0 else 0.0


def _matrix_cycles(build: Build, work: Execution, gpu: Gpu, dtype: str) -> float:
    """Cycles in which the matrix units do one program's products."""
    flops = work.mma_flops * build.num_warps
    if not flops:
        return 0.0
    rate = gpu.peak_tflops(dtype, matrix=True) * 1e3 / gpu.multiprocessors / gpu.clock_ghz
    if not build.code.mma.startswith(("HGMMA", "IGMMA", "QGMMA")):
        share = _HMMA_SHARE if gpu.capability >= 90 else 1.0
        return flops / (rate * share)
    m, n, k = (int(x) for x in build.code.mma.split(".")[1].split("x"))
    per_instruction = 2.0 * m * n * k
    # Operands come from shared memory: 64 rows of a, n columns of b, k deep (256 bits).
    reading = (m + n) * 32.0 / _SHARED_BYTES_PER_CYCLE
    return flops / per_instruction * max(per_instruction / rate, reading)


def _pipes(build: Build, work: Execution, matrix: float) -> dict[str, float]:
    """Cycles for which one program keeps each pipe of a multiprocessor busy."""
    warps = build.num_warps
    busy = {
        name: warps * work.instructions.get(name, 0.0) / rate
        for name, rate in _WARPS_PER_CYCLE.items()
    }
    moved = work.global_bytes + work.shared_bytes + work.spill_bytes
    return {
        **busy,
        "issue": warps * work.issued / 4,
        "memory": warps * moved / _SHARED_BYTES_PER_CYCLE,
        "matrix": matrix,
    }


def _depth(build: Build) -> float:
    """Iterations that asynchronous loads run ahead; 0 if loads are not pipelined."""
    ahead = inside = 0
    for region in build.code.regions:
        number = region.counts.get("copy", 0) + region.counts.get("tma_load", 0)
        if region.kind == "body":
            ahead += number
        else:
            inside = max(inside, number)
    return max(ahead / inside, 1.0) if inside else 0.0


def _alone(
    build: Build, trace: LaunchTrace, work: Execution, moved: Traffic, matrix: float, c: Constants
) -> float:
    """Cycles that a program takes on a multiprocessor of its own."""
    latency = c.l2_latency + moved.miss * (c.dram_latency - c.l2_latency)
    depth = _depth(build)
    warps, per_step = build.num_warps, work.instructions

    def chain(instructions: Mapping[str, float]) -> float:
        count = sum(instructions.values())
        return (
            max(count * c.chain, count * warps / 4)
            + instructions.get("shuffle", 0.0) * c.shuffle
            + instructions.get("barrier", 0.0) * (c.barrier + c.barrier_warp * warps)
        )

    if work.iterations:
        steps = work.iterations
        fed = moved.load_bytes / steps / c.l2_bytes_per_cycle
        step = max(matrix / steps, fed, latency / depth if depth else latency + matrix / steps)
        return c.start + latency + steps * (step + c.iteration) + chain(work.outside)
    rounds = trace.rounds if depth == 0 else 1 + (trace.rounds - 1) / depth
    return c.start + rounds * latency + chain(per_step)


def _cycle(delay: float, demands: Sequence[float], customers: int) -> float:
    """Cycles between two programs that end, with so many resident.

    Programs wait on nothing but themselves for `delay` cycles and need each shared resource for
    its demand. Source: mean value analysis of a closed queueing network, Reiser and Lavenberg,
    JACM 27(2), 1980.
    """
    queues = [0.0] * len(demands)
    rate = 0.0
    for present in range(1, customers + 1):
        times = [d * (1 + q) for d, q in zip(demands, queues, strict=True)]
        rate = present / max(delay + sum(times), 1e-9)
        queues = [rate * t for t in times]
    return 1 / rate


def _launch(build: Build, trace: LaunchTrace, gpu: Gpu, c: Constants) -> dict[str, float]:
    """The times of one launch in microseconds."""
    resident = occupancy(
        gpu, registers=build.registers, shared_bytes=build.shared_bytes, num_warps=build.num_warps
    ).programs
    work = execute(build, trace)
    moved = traffic(trace, gpu, resident=resident, shared_bytes=build.shared_bytes)
    dtype = _DTYPES.get(trace.dots[0].dtype, "float16") if trace.dots else "float16"
    matrix = _matrix_cycles(build, work, gpu, dtype)
    clock = gpu.clock_ghz * (c.matrix_clock if matrix else 1.0)
    busiest = max(_pipes(build, work, matrix).values())
    alone = _alone(build, trace, work, moved, matrix, c)
    programs, units = trace.programs, min(gpu.multiprocessors, trace.programs)
    # Cycles for which a program's bytes occupy its multiprocessor's share of the memory.
    dram = moved.dram_bytes / programs / (gpu.memory_gbps * c.dram_share / clock / units)
    l2 = moved.l2_bytes / programs / c.l2_bytes_per_cycle
    l2 += moved.atomics / programs / _ATOMICS_PER_CYCLE
    if work.iterations:  # loads run beside the products
        demands, delay = [matrix], max(alone - matrix, 0.0)
        beside = max(dram, l2, busiest)
    else:
        memory = max(dram, l2)
        waited = c.blocking * memory / (1 + c.ahead * min(_depth(build), 1))
        demands, delay = [waited, busiest], max(alone - busiest, 0.0)
        beside = memory

    if programs <= gpu.multiprocessors * resident:
        here = -(-programs // gpu.multiprocessors)
        cycle = _norm((_cycle(delay, demands, here), beside), c.sharpness)
        cycles = cycle * here * trace.imbalance
    else:
        cycle = _norm((_cycle(delay, demands, resident), beside), c.sharpness)
        waves = programs / gpu.multiprocessors / resident
        # Memory is shared: what it is busy with is not lost at the end.
        idle = 1 - min(dram / cycle, 1.0)
        cycles = cycle * resident * (waves + c.tail * idle * (math.ceil(waves) - waves))
    scale = programs / units / clock / 1e3
    return {
        "us": cycles / clock / 1e3,
        "dram": dram * scale,
        "l2": l2 * scale,
        "pipes": busiest * scale,
        "alone": alone * scale / resident,
    }


_DTYPES = {
    "bf16": "bfloat16", "fp16": "float16", "fp32": "tf32", "int8": "int8", "uint8": "int8",
    "fp8e5": "float8", "fp8e4nv": "float8", "fp64": "tf32",
}  # fmt: skip


def estimate(
    builds: Sequence[Build],
    traces: Sequence[LaunchTrace],
    gpu: Gpu,
    constants: Constants = CONSTANTS,
) -> Estimate:
    """The time of one call: its launches one after the other.

    Of an autotuned launch the fastest configuration counts, as it would be chosen.

    Args:
        builds: what `build` returned.
        traces: what `trace` returned for the same call.
        gpu: the device, the one that `builds` are for.
        constants: the model's constants.
    """
    c = constants
    known = {(t.index, t.config): t for t in traces}
    best: dict[int, tuple[float, dict[str, float], Build]] = {}
    notes = [f"{t.kernel}: {t.note}" for t in traces if t.note]
    for built in builds:
        followed = known.get((built.index, built.config))
        if followed is None or followed.programs < 1:
            notes.append(f"{built.kernel}: launch {built.index} was not traced")
            continue
        parts = _launch(built, followed, gpu, c)
        us = parts["us"]
        if built.index not in best or us < best[built.index][0]:
            best[built.index] = (us, parts, built)
    launches = [best[index] for index in sorted(best)]
    overhead = c.launch_us + c.next_launch_us * max(len(launches) - 1, 0)
    total = {"launch": overhead}
    for _, parts, _ in launches:
        for name, us in parts.items():
            if name == "us":
                continue
            total[name] = total.get(name, 0.0) + us
    work = sum(us for us, _, _ in launches)
    return Estimate(
        us=overhead + work,
        bound=_bound(total, work),
        parts=total,
        registers=max((b.registers for _, _, b in launches), default=0),
        spills=max((b.spill_bytes for _, _, b in launches), default=0),
        shared_bytes=max((b.shared_bytes for _, _, b in launches), default=0),
        notes=tuple(notes),
    )


def _bound(parts: Mapping[str, float], work: float) -> str:
    """Which kind of resource a call waits for most."""
    if parts["launch"] > work:
        return "launch"
    memory = max(parts.get("dram", 0.0), parts.get("l2", 0.0))
    return "memory" if memory >= parts.get("pipes", 0.0) else "compute"
