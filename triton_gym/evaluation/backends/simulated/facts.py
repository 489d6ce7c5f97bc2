"""What host code finds out about a GPU that is not here."""

from __future__ import annotations

from triton_gym.device import Gpu
from triton_gym.evaluation.plan.messages import DeviceFacts

_TOTAL_BYTES = {"h100": 80 << 30, "h200": 141 << 30}
"""Source: data sheets."""
_BUS_BITS = 5120
"""Source: "H100 Tensor Core GPU Architecture": five stacks of 1024 bits."""


def facts_of(gpu: Gpu) -> DeviceFacts:
    """The facts of a GPU by its data sheet."""
    return DeviceFacts(
        name=f"NVIDIA {gpu.name.upper()} (simulated)",
        capability=gpu.capability,
        multiprocessors=gpu.multiprocessors,
        total_bytes=_TOTAL_BYTES.get(gpu.name, 80 << 30),
        l2_bytes=gpu.l2_bytes,
        shared_bytes=gpu.shared_bytes,
        shared_bytes_multiprocessor=gpu.shared_bytes + 1024,
        registers=gpu.registers,
        threads=gpu.max_threads,
        clock_khz=int(gpu.clock_ghz * 1e6),
        memory_clock_khz=int(gpu.memory_gbps * 1e6 * 8 / _BUS_BITS / 2),
        memory_bus_bits=_BUS_BITS,
    )
