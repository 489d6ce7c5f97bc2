"""What the time model needs and no data sheet says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constants:
    """Fitted by `benchmarks/simulator.py` unless a source is named.

    Times are in cycles of a multiprocessor, bytes per cycle for each multiprocessor.
    """

    launch_us: float = 1.5
    """From the start of a launch to its first program, and from the last to its end."""
    dram_share: float = 0.95
    """Share of the data sheet's bandwidth that streaming kernels reach."""
    l2_bytes_per_cycle: float = 64
    merging: float = 0.1493
    """Exponent: by how much L2 has less to do when neighbours read the same."""
    dram_latency: float = 918.4
    l2_latency: float = 400
    bulk_latency: float = 561.2
    """What a load through a tensor descriptor takes longer, with the barrier that it ends in."""
    start: float = 200
    """Start of a program: its launch, its arguments, its first addresses."""
    chain: float = 2.733
    """From an instruction to the next of the same warp, on average."""
    barrier: float = 4.276
    """What a barrier takes for each warp that it waits for."""
    iteration: float = 169.4
    """What a pass through a loop of matrix products waits for its barriers."""
    gap: float = 54.57
    """What such a pass keeps the matrix units waiting, whoever else is there."""
    matrix_clock: float = 0.9886
    """Share of the boost clock left under full load of the matrix units, which draw most power."""
    fetch_bytes_per_cycle: float = 33.16
    """Machine code, of 16 bytes an instruction, that comes from beyond the innermost cache."""
    spill_bytes_per_cycle: float = 22.72
    """Local memory that does not fit L1."""
    blocking: float = 0.3713
    """Share of its memory traffic that a program waits for: stores go on without it."""
    tail: float = 1
    """How much of a last wave's empty places costs time: 0 if programs drift apart, 1 if not."""
    sharpness: float = 1.995
    """Exponent of the norm that joins times that overlap."""


CONSTANTS = Constants()
NEXT_LAUNCH_US = 1.0
"""What every further launch of a call adds; the queue hides some of it. An estimate."""
