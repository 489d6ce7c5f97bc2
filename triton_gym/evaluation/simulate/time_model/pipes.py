"""What keeps a multiprocessor's units busy, and how long a warp's own instructions take."""

from __future__ import annotations

from collections.abc import Mapping

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.time_model.coalescing import Requests
from triton_gym.evaluation.simulate.time_model.constants import Constants
from triton_gym.evaluation.simulate.time_model.execution import Execution
from triton_gym.evaluation.simulate.time_model.traffic import l1_bytes
from triton_gym.evaluation.simulate.time_model.trips import inside

_HMMA_SHARE = 0.62
"""Rate of `mma.sync` on Hopper over that of `wgmma`.
Source: Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU" (2024), table of mma."""
_SHARED_BYTES_PER_CYCLE = 128.0
"""Source: CUDA Programming Guide, shared memory: 32 banks of 4 bytes."""
_WARPS_PER_CYCLE = {
    "float": 4.0, "multiply": 2.0, "logic": 2.0, "uniform": 2.0, "special": 0.5, "convert": 0.5,
    "double": 2.0, "shuffle": 1.0, "matrix_shared": 0.25,
}  # fmt: skip
"""Warp instructions that a multiprocessor finishes in a cycle, by class.
Source: CUDA Programming Guide, "Arithmetic Instructions", 9.0."""
_DOUBLE_MATRIX_SHARE = 0.068
"""Rate of `mma` in double precision over that in half: 67 of 989 TFLOP/s.
Source: "NVIDIA H100 Tensor Core GPU" data sheet."""


def _dtype(name: str) -> str:
    """Key of `Gpu.matrix_tflops` by the name of a matrix instruction."""
    if name.startswith("Q"):
        return "float8"
    if name.startswith("I"):
        return "int8"
    if name.startswith("HGMMA"):
        return "tf32" if name.endswith("x8") else "float16"
    return "tf32" if name.startswith(("HMMA.1688", "HMMA.1684")) else "float16"


def matrix_cycles(build: Build, work: Execution, gpu: Gpu) -> float:
    """Cycles in which the matrix units do one program's products, each at its own rate."""
    return sum(
        _product_cycles(name, flops * build.num_warps, gpu) for name, flops in work.products.items()
    )


def _product_cycles(name: str, flops: float, gpu: Gpu) -> float:
    peak = gpu.peak_tflops(_dtype(name), matrix=True)
    rate = peak * 1e3 / gpu.multiprocessors / gpu.clock_ghz
    if name.startswith("D"):
        return flops / (rate * _DOUBLE_MATRIX_SHARE)
    if not name.startswith(("HGMMA", "IGMMA", "QGMMA")):
        return flops / (rate * (_HMMA_SHARE if gpu.capability >= 90 else 1.0))
    m, n, k = (int(x) for x in name.split(".")[1].split("x"))
    per_instruction = 2.0 * m * n * k
    # Operands come from shared memory: 64 rows of a, n columns of b, k deep (256 bits).
    reading = (m + n) * 32.0 / _SHARED_BYTES_PER_CYCLE
    return flops / per_instruction * max(per_instruction / rate, reading)


def pipes(instructions: Mapping[str, float], warps: int) -> dict[str, float]:
    """Cycles for which so many instructions of each warp keep every arithmetic pipe busy."""
    busy = {n: warps * instructions.get(n, 0.0) / r for n, r in _WARPS_PER_CYCLE.items()}
    return {**busy, "issue": warps * sum(instructions.values()) / 4}


def all_pipes(
    build: Build, work: Execution, trace: LaunchTrace, asked: Requests, resident: int, c: Constants
) -> dict[str, float]:
    """The same for a whole program, with the paths to memory, without the matrix units.

    Args:
        build: the kernel.
        work: what a warp of it executes.
        trace: what it was seen to do.
        asked: what its requests come to.
        resident: programs on a multiprocessor.
        c: the model's constants.
    """
    warps = build.num_warps
    busy = pipes(work.instructions, warps)
    through = work.shared_bytes + work.spill_bytes
    crossing = build.meeting + c.laying if build.meeting else c.crossing
    busy["memory"] = warps * (through / _SHARED_BYTES_PER_CYCLE + work.narrow * (crossing - 1))
    # Shuffles go the way of loads and stores. Source: Nsight Compute, "Pipelines", LSU.
    busy["memory"] += warps * work.conflicts + busy["shuffle"]
    busy["memory"] += trace.gathered + asked.cycles
    busy["fetch"] = warps * work.fetched * 16 / c.fetch_bytes_per_cycle
    if resident * warps * 32 * build.spill_bytes > l1_bytes(resident, build.shared_bytes):
        busy["spills"] = warps * work.spill_bytes / c.spill_bytes_per_cycle
    return busy


def chain(cycles: float, barriers: float, warps: int, c: Constants) -> float:
    """Cycles that a warp takes for its instructions if no other program is there.

    Args:
        cycles: by the compiler's schedule.
        barriers: that it comes to.
        warps: of the program.
        c: the model's constants.
    """
    return cycles * c.chain + barriers * c.barrier * warps


def depth(build: Build) -> float:
    """Iterations that asynchronous loads run ahead; 0 if loads are not pipelined.

    What is loaded ahead of a loop, in the code around it, over what a pass of it loads; of loads
    by the copy engine, which few threads issue in parts of their own, all buffers but one.
    """
    regions, found = build.code.regions, []
    for index, region in enumerate(regions):
        around = [r for i, r in enumerate(regions) if inside(regions, index, i)]
        for kind, line, moved in region.accesses if region.counts.get("copy") else ():
            ahead = sum(b for r in around for k, n, b in r.accesses if (k, n) == (kind, line))
            if kind == "load" and ahead:
                found.append(ahead / moved)
        bulk = region.counts.get("tma_load", 0)
        if bulk and region.kind != "body" and build.buffers > 1:
            # Asynchronous products read their buffer while the next ones are filled; others have
            # copied it to registers.
            found.append(build.buffers - (1 if build.code.static("wgmma") else 0))
        elif bulk and region.kind != "body":
            found.append(sum(r.counts.get("tma_load", 0) for r in around) / bulk)
    return max(sum(found) / len(found), 1.0) if found else 0.0


def late(build: Build) -> float:
    """Share of a pass through loops of products that is over when the loads for others begin."""
    found = [
        region.late
        for region in build.code.regions
        if region.kind == "loop" and (region.counts.get("wgmma") or region.counts.get("mma"))
    ]
    return sum(found) / len(found) if found else 0.0
