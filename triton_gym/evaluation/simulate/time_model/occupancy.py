"""How many programs of a kernel fit on one multiprocessor at a time."""

from __future__ import annotations

from dataclasses import dataclass

from triton_gym.device import Gpu

_REGISTER_UNIT = 8
"""Registers a thread are allocated in multiples of this.
Source: CUDA occupancy calculator, "Register Allocation Unit Size" of 256 a warp."""
_SHARED_UNIT = 128
"""Bytes in which shared memory is allocated. Source: the same."""
_SHARED_RESERVED = 1024
"""Shared memory that the system takes of every program.
Source: CUDA Programming Guide, "Compute Capability 8.x", "9.0"."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Resident programs of one multiprocessor, and what limits them."""

    programs: int
    limit: str
    """`registers`, `shared memory`, `threads` or `programs`."""


def occupancy(gpu: Gpu, *, registers: int, shared_bytes: int, num_warps: int) -> Occupancy:
    """Resident programs by the rules of the CUDA occupancy calculator.

    Args:
        gpu: the device.
        registers: per thread.
        shared_bytes: per program, without what the system reserves.
        num_warps: per program.
    """
    per_thread = -(-max(registers, 1) // _REGISTER_UNIT) * _REGISTER_UNIT
    # Each of the four partitions has a quarter of the registers, and warps do not share.
    warps = 4 * (gpu.registers // 4 // (per_thread * 32))
    shared = -(-(shared_bytes + _SHARED_RESERVED) // _SHARED_UNIT) * _SHARED_UNIT
    fits = {
        "registers": warps // num_warps,
        "shared memory": (gpu.shared_bytes + _SHARED_RESERVED) // shared,
        "threads": gpu.max_threads // (32 * num_warps),
        "programs": gpu.max_programs,
    }
    limit = min(fits, key=lambda name: fits[name])
    return Occupancy(max(fits[limit], 1), limit)
