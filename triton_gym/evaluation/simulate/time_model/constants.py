"""What the time model needs and no data sheet says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constants:
    """Fitted by `benchmarks/simulator.py` on those families of `benchmarks/corpus/` that may be.

    Times are in cycles of a multiprocessor, bytes per cycle are for each multiprocessor.
    """

    launch_us: float = 5.75
    """From the start of a launch to its first program, and from the last to its end."""
    next_launch_us: float = 1.221
    """What every further launch of a call adds: the last programs of one end before the next."""
    dram_share: float = 0.97
    """Share of the data sheet's bandwidth that streaming kernels reach."""
    held_back: float = 4.0
    """Megabytes written that L2 still holds when the launch ends."""
    l2_bytes_per_cycle: float = 59.55
    """What L2 gives each multiprocessor if all ask for other lines."""
    merging: float = 0.4906
    """How much of what neighbours share is asked for once, as an exponent: 0 nothing, 1 all."""
    l2_requests_per_cycle: float = 0.56
    """Requests for single sectors that L2 serves for each multiprocessor."""
    port_bytes_per_cycle: float = 50.05
    """What one multiprocessor can take from L2 for a loop of matrix products."""
    dram_latency: float = 664.7
    l2_latency: float = 299.2
    bulk_latency: float = 101.8
    """What a load through a tensor descriptor takes longer, with the barrier that it ends in."""
    between_starts: float = 164.8
    """Between the starts of two programs on one multiprocessor, however little they do."""
    start: float = 200
    """Start of a program: its launch, its arguments, its first addresses."""
    chain: float = 1.057
    """What a warp takes for its instructions, over what the compiler's schedule says."""
    barrier: float = 3.555
    """What a barrier takes for each warp that it waits for."""
    split: float = 60
    """What a warp takes longer where its lanes part, and meet again (`Region.splits`)."""
    iteration: float = 362.1
    """What a pass through a loop of matrix products waits for its barriers."""
    bulk_iteration: float = 192.9
    """The same where the copy engine fills the buffers: threads need not wait for each other."""
    gap: float = 43.32
    """What such a pass keeps the matrix units waiting, whoever else is there."""
    matrix_clock: float = 0.8041
    """Share of the boost clock left under full load of the matrix units, which draw most power."""
    fetch_bytes_per_cycle: float = 31.68
    """Machine code, of 16 bytes an instruction, that comes from beyond the innermost cache."""
    spill_bytes_per_cycle: float = 18.79
    """Local memory that does not fit L1."""
    blocking: float = 0.2989
    """Share of its memory traffic that a program waits for: stores go on without it."""
    tail: float = 0.5006
    """How much of a last wave's empty places costs time: 0 if programs drift apart, 1 if not."""
    laying: float = 5.0
    """Cycles that a word laid across the order of a block takes beside those for which lanes meet
    in banks."""
    crossing: float = 11.76
    """Cycles that shared memory takes for a store across the order of a block: so many of a warp's
    lanes meet in one bank."""
    sharpness: float = 2.407
    """Exponent of the norm that joins times that overlap."""


CONSTANTS = Constants()
FIRST_READ_US = 220.0
"""What a call takes longer whose host code looks at a value: the queue runs empty…"""
NEXT_READ_US = 30.0
"""…and what every further look adds. From two answers on an H200, with two looks and with eight."""
