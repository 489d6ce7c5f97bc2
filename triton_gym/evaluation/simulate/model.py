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
from triton_gym.evaluation.simulate.traffic import Traffic, l1_bytes, traffic


@dataclass(frozen=True, slots=True)
class Constants:
    """What is not in a data sheet. Times in cycles of a multiprocessor unless named otherwise."""

    launch_us: float = 1.5
    """From the start of a launch to its first program, and from the last to its end."""
    next_launch_us: float = 0.8945
    """The same for every further launch of a call: the queue hides some of it."""
    dram_share: float = 0.95
    """Share of the data sheet's bandwidth that streaming kernels reach."""
    l2_bytes_per_cycle: float = 59.72
    """L2 bandwidth for each multiprocessor."""
    dram_latency: float = 627.2
    l2_latency: float = 400
    bulk_latency: float = 557.3
    """What a load through a tensor descriptor takes longer, with the barrier that it ends in."""
    start: float = 225.6
    """Start of a program: its launch, its arguments, its first addresses."""
    chain: float = 2.674
    """Cycles from an instruction to the next of the same warp, on average."""
    shuffle: float = 2.188
    barrier: float = 13.33
    iteration: float = 170.3
    """What a pass through a loop of matrix products waits for its barriers."""
    gap: float = 49.71
    """What such a pass keeps the matrix units waiting, whoever else is there."""
    lockstep: float = 1
    """How far programs with matrix products run in step: 1 if their epilogues always meet."""
    matrix_clock: float = 0.9175
    """Share of the boost clock left under full load of the matrix units, which draw most power."""
    tail: float = 0.9341
    """How much of a last wave's empty places costs time: 0 if programs drift apart, 1 if not."""
    blocking: float = 0.7318
    """Share of its memory traffic that a program waits for: stores go on without it."""
    ahead: float = 0.01022
    """How much of that goes away where loads are issued an iteration ahead."""
    sharpness: float = 2.638
    """Exponent of the norm that joins times that overlap."""
    matrix_sharpness: float = 2.631
    """The same for kernels of matrix products, whose loads run ahead."""
    merging: float = 0.1501
    """Exponent: by how much L2 has less to do when neighbours read the same."""
    fetch_bytes_per_cycle: float = 36.06
    """Machine code, of 16 bytes an instruction, that a multiprocessor's four partitions get."""
    spill_bytes_per_cycle: float = 25.45
    """Local memory that does not fit L1, for each multiprocessor."""
    barrier_warp: float = 4.596
    """What a barrier takes longer for each warp that it waits for."""


CONSTANTS = Constants()

_HMMA_SHARE = 0.62
"""Rate of `mma.sync` on Hopper over that of `wgmma`.
Source: Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU" (2024), table of mma."""
_SHARED_BYTES_PER_CYCLE = 128.0
"""Source: CUDA Programming Guide, shared memory: 32 banks of 4 bytes."""
_L2_PORT = 64.0
"""Bytes a cycle that one multiprocessor can take from L2.
Source: Luo et al., the same, on L2 throughput."""
_ATOMICS_PER_CYCLE = 1.0
"""Atomic operations that the L2 does for each multiprocessor. An estimate."""

_WARPS_PER_CYCLE = {
    "float": 4.0, "multiply": 2.0, "logic": 2.0, "uniform": 2.0, "special": 0.5, "convert": 0.5, "double": 2.0,
    "shuffle": 1.0, "matrix_shared": 0.25,
}  # fmt: skip
"""Warp instructions that a multiprocessor finishes in a cycle, by class.
Source: CUDA Programming Guide, "Arithmetic Instructions", 9.0."""


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


def _pipes(instructions: Mapping[str, float], warps: int) -> dict[str, float]:
    """Cycles for which so many instructions of each warp keep every pipe busy."""
    busy = {n: warps * instructions.get(n, 0.0) / r for n, r in _WARPS_PER_CYCLE.items()}
    return {**busy, "issue": warps * sum(instructions.values()) / 4}


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


def _chain(instructions: Mapping[str, float], warps: int, c: Constants) -> float:
    """Cycles that one warp takes for its instructions if no other program is there."""
    return (
        sum(instructions.values()) * max(c.chain, warps / 4)
        + instructions.get("shuffle", 0.0) * c.shuffle
        + instructions.get("barrier", 0.0) * (c.barrier + c.barrier_warp * warps)
    )


@dataclass(frozen=True, slots=True)
class _Phase:
    """A part of a program."""

    alone: float
    """Cycles that it takes on a multiprocessor of its own."""
    shared: float
    """Cycles for which it keeps the busiest pipe busy."""


def _loop(build: Build, work: Execution, moved: Traffic, matrix: float, c: Constants) -> _Phase:
    """The loops of matrix products: loads and products go on side by side."""
    steps = work.iterations
    if not steps:
        return _Phase(0.0, 0.0)
    depth = _depth(build)
    latency = c.l2_latency + moved.miss * (c.dram_latency - c.l2_latency)
    if build.code.static("tma_load"):
        latency += c.bulk_latency
    shared = matrix / steps + c.gap
    busy = shared + c.iteration
    fed = moved.load_bytes / steps / _L2_PORT
    # The next products run while a buffer is filled; without buffers they wait for it.
    step = max(busy, fed, (latency + fed) / depth) if depth else latency + fed + busy
    return _Phase(latency + steps * step, steps * shared)


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
    warps, programs = build.num_warps, trace.programs
    units = min(gpu.multiprocessors, programs)
    # Cycles for which a program's bytes occupy its multiprocessor's share of the memory.
    dram = moved.dram_bytes / programs / (gpu.memory_gbps * c.dram_share / clock / units)
    # Requests of neighbours for the same line are merged on their way to L2.
    l2 = moved.l2_bytes / programs * moved.shared**c.merging / c.l2_bytes_per_cycle
    l2 += moved.atomics / programs / _ATOMICS_PER_CYCLE
    pipes = _pipes(work.instructions, warps) | {"matrix": matrix}
    through = work.global_bytes + work.shared_bytes + work.spill_bytes
    pipes["memory"] = warps * through / _SHARED_BYTES_PER_CYCLE
    pipes["fetch"] = min(warps, 4) * work.fetched * 16 / c.fetch_bytes_per_cycle
    if resident * warps * 32 * build.spill_bytes > l1_bytes(resident, build.shared_bytes):
        pipes["spills"] = warps * work.spill_bytes / c.spill_bytes_per_cycle
    busiest = max(pipes.values())
    loop = _loop(build, work, moved, matrix, c)
    if work.iterations:
        waited = 0.0
        rest = _Phase(
            c.start + _chain(work.outside, warps, c),
            max(pipes["fetch"], *_pipes(work.outside, warps).values()),
        )
        beside = max(dram, l2, *(v for n, v in pipes.items() if n != "matrix"))
    else:
        beside = max(dram, l2)
        depth = _depth(build)
        waited = c.blocking * beside / (1 + c.ahead * min(depth, 1))
        rounds = 1 + (trace.rounds - 1) / depth if depth else trace.rounds
        latency = c.l2_latency + moved.miss * (c.dram_latency - c.l2_latency)
        rest = _Phase(
            c.start + rounds * latency + _chain(work.instructions, warps, c), busiest
        )

    def cycle(count: int) -> float:
        """Cycles between the ends of two programs, with so many on a multiprocessor."""
        delay = max(loop.alone - loop.shared, 0.0) + max(rest.alone - rest.shared, 0.0)
        apart = _cycle(delay, [loop.shared, rest.shared, waited], count)
        if work.iterations:
            # Programs that start together stay together: their loops meet, and their epilogues.
            together = max(loop.alone / count, loop.shared) + max(rest.alone / count, rest.shared)
            apart = apart + c.lockstep * max(together - apart, 0.0)
        return _norm((apart, beside), c.matrix_sharpness if work.iterations else c.sharpness)

    if programs <= gpu.multiprocessors * resident:
        here = -(-programs // gpu.multiprocessors)
        cycles = cycle(here) * here * trace.imbalance
    else:
        each = cycle(resident)
        waves = programs / gpu.multiprocessors / resident
        # Memory is shared: what it is busy with is not lost at the end.
        idle = 1 - min(dram / each, 1.0)
        cycles = each * resident * (waves + c.tail * idle * (math.ceil(waves) - waves))
    scale = programs / units / clock / 1e3
    return {
        "us": cycles / clock / 1e3,
        "dram": dram * scale,
        "l2": l2 * scale,
        "pipes": busiest * scale,
        "alone": (loop.alone + rest.alone) * scale / resident,
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
