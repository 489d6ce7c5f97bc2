"""What PyTorch's copies come to, as they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

from triton_gym.evaluation.plan.step import Copy, Fill, Gather
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.tracing.footprint import SECTOR


@dataclass(frozen=True, slots=True)
class Move:
    """One of PyTorch's kernels that copy or set memory."""

    bytes: int
    """That device memory reads and writes."""
    requests: float = 0.0
    """Sectors that L2 is asked for one by one, since neighbours in the target are none in the
    source."""


def move_of(step: Copy | Gather | Fill) -> Move:
    """What a step comes to.

    PyTorch's threads follow the target; where neighbours there are no neighbours in the source,
    every element is asked for with the sector around it. The rest of that is asked for soon, by
    the next row of the target, and still in L2 then.
    """
    if not isinstance(step, Copy):
        return Move(step.moved_bytes)
    share = _share(step.src, step.dst)
    elements = step.src.distinct_bytes / max(step.src.itemsize, 1)
    asked = elements * share if share * SECTOR > step.src.itemsize else 0.0
    return Move(step.moved_bytes, asked)


def _share(source: View, target: View) -> float:
    """Sectors of the source for each element that threads side by side copy."""
    axes = [axis for axis, size in enumerate(target.shape) if size > 1]
    if not axes:
        return 0.0
    inner = min(axes, key=lambda axis: abs(target.strides[axis]))
    return min(abs(source.strides[inner]) * source.itemsize / SECTOR, 1.0)
