"""How long one warp takes for a stretch of machine code, by what the compiler told the scheduler.

Warps issue in order. Each instruction says how many cycles pass until the next (`stall`), which of
six barriers is released when its result is there (`sets`), and which barriers it waits for
(`waits`). So the compiler's own schedule tells where a warp stalls: a load that is issued before
another one is needed shares its wait, one that comes after pays its own.

Source: Jia et al., "Dissecting the NVIDIA Volta GPU Architecture via Microbenchmarking" (2018),
section 2.1, for the fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NO_BARRIER = 7
_NEAR = 40.0
"""Cycles of a global load that L1 serves. Source: Luo et al., "Benchmarking and Dissecting the
Nvidia Hopper GPU" (2024), table of latencies; shared memory, too."""
_FAR = 1000.0
"""Cycles of a load from device memory, about: what a wait is held against."""
_LATENCY = {
    "load_shared": 29.0, "matrix_shared": 33.0, "shuffle": 24.0, "atomic_shared": 60.0,
    "spill_load": _NEAR,
}  # fmt: skip
"""Cycles until a result of unknown latency is there, by class."""
_OTHERS = 20.0
"""The same of special functions, conversions, special registers, constants."""
_READ = 12.0
"""Cycles until a store has read what it stores."""
_GLOBAL = ("load", "atomic")
_FENCE = "fence"
"""Waits until L2 has answered all that was sent there. Source: PTX ISA, `membar`, `fence`."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What the compiler told the scheduler of one instruction."""

    stall: int = 2
    """Cycles until the next one of the same warp."""
    sets: int = NO_BARRIER
    """Barrier released when its result is there."""
    frees: int = NO_BARRIER
    """Barrier released when its operands were read."""
    waits: int = 0
    """Mask of the barriers that must be released before it is issued."""

    @classmethod
    def of(cls, high: int) -> Slot:
        """From the upper 64 bits of an instruction."""
        return _slot(high >> 41 & 0x1FFFF)


PLAIN = Slot()
"""Of an instruction of which nothing is known."""
_SLOTS: dict[int, Slot] = {}


def _slot(bits: int) -> Slot:
    found = _SLOTS.get(bits)
    if found is None:
        found = Slot(max(bits & 15, 1), bits >> 5 & 7, bits >> 8 & 7, bits >> 11 & 63)
        _SLOTS[bits] = found
    return found


@dataclass(frozen=True, slots=True)
class Crossing:
    """A region inside, as its surroundings see it: all that its instructions wait for."""

    waits: int


Stretch = Sequence[tuple[str, Slot] | Crossing]
"""The instructions of a region in order, each with its class."""


def timing(stretch: Stretch, *, repeats: bool) -> tuple[float, float]:
    """Cycles that a warp alone takes for one pass, and how many global loads in a row it waits for.

    Args:
        stretch: the region.
        repeats: whether it is a loop, where a pass may wait for what the one before it loaded.
    """
    near, far = _pass(stretch, _NEAR, repeats), _pass(stretch, _FAR, repeats)
    return near, max((far - near) / (_FAR - _NEAR), 0.0)


def _pass(stretch: Stretch, latency: float, repeats: bool) -> float:
    ready = [0.0] * 8
    now = began = 0.0
    for _ in range(2 if repeats else 1):
        began = now
        for each in stretch:
            if isinstance(each, Crossing):
                now = max(now, _awaited(ready, each.waits))
                continue
            group, slot = each
            if slot.waits:
                now = max(now, _awaited(ready, slot.waits))
            if slot.sets != NO_BARRIER:
                takes = latency if group in _GLOBAL else _LATENCY.get(group, _OTHERS)
                ready[slot.sets] = max(ready[slot.sets], now + takes)
            if slot.frees != NO_BARRIER:
                ready[slot.frees] = max(ready[slot.frees], now + _READ)
            now += latency if group == _FENCE else slot.stall
    return now - began


def _awaited(ready: Sequence[float], mask: int) -> float:
    return max(at for barrier, at in enumerate(ready[:6]) if mask >> barrier & 1)
