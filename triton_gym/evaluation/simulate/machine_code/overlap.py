"""When in a pass through a loop its asynchronous loads are issued, beside its products.

A load that is issued after a product was waited for does not run beside it, however many buffers
there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

DRAIN = "WARPGROUP.DEPBAR.LE.0"
"""Waits until no asynchronous product is under way. Where the assembler cannot prove that
registers are free, it puts one after each of them, whatever Triton's IR says."""
_OTHERS = "WARPGROUP.DEPBAR"
"""Waits until few are under way: for those of the pass before."""


def lateness(stretch: Iterable[tuple[int, str, str, int]]) -> dict[int, float]:
    """For each region with asynchronous loads the mean share of a pass that is over when they are.

    Args:
        stretch: region, class, name and cycles until the next of each instruction, in order.
    """
    now: dict[int, float] = defaultdict(float)
    pending: dict[int, float] = defaultdict(float)
    loads: dict[int, list[float]] = defaultdict(list)
    for region, group, name, stall in stretch:
        now[region] += stall
        if group == "wgmma":
            pending[region] += _cycles(name)
        elif name == DRAIN:
            now[region] += pending.pop(region, 0.0)
        elif name.startswith(_OTHERS):
            pending.pop(region, None)
        elif group in ("copy", "tma_load"):
            loads[region].append(now[region])
    return {
        region: sum(at) / len(at) / (now[region] + pending[region]) for region, at in loads.items()
    }


def _cycles(name: str) -> float:
    """Cycles of an asynchronous product. All are 32 bytes deep, and 64 rows by n columns of that
    take n / 2. Source: Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU" (2024)."""
    return int(name.split(".")[1].split("x")[1]) / 2
