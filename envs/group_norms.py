"""What normalisations of groups of channels share: sizes, inputs, parts, counts.

x is (batch, groups · width, *pixels); a group is `width` neighbouring channels with all of their
pixels. Instance normalisation is the case of `width` 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from triton_gym.task import Case

from .draws import Draw

if TYPE_CHECKING:
    import torch


def elements(case: Case, axes: tuple[str, ...]) -> int:
    """Elements of a group."""
    count = case["width"] if "width" in case.sizes else 1
    for axis in axes:
        count *= case[axis]
    return count


def inputs_of(axes: tuple[str, ...], *, groups: bool) -> Callable[..., tuple[Any, ...]]:
    """Draws x, weight and bias, and with `groups` their number.

    The mean of each group is larger than its deviation, and both differ from group to group:
    statistics of another group, or E[x²] - E[x]² in float32, are far off.
    """

    def inputs(case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        draw = Draw(generator)
        count = case["batch"] * case["groups"]
        spread = draw.uniform(0.5, 2.0, count, 1)
        level = draw.signs(count, 1) * draw.uniform(1.0, 4.0, count, 1)
        x = draw.normal(count, elements(case, axes)) * spread + level
        channels = case["groups"] * (case["width"] if groups else 1)
        x = x.view(case["batch"], channels, *(case[axis] for axis in axes))
        weight = 1.0 + 0.5 * draw.normal(channels)
        tensors = tuple(t.to(case.torch_dtype) for t in (x, weight, draw.normal(channels)))
        return (*tensors, case["groups"]) if groups else tensors

    return inputs


def part_of(reference: Callable[..., Any]) -> Callable[..., Any]:
    """`Task.part`: some channels of some images, from all channels of the groups they are in."""

    def part(ranges: Any, cast: Any, x: Any, weight: Any, bias: Any, groups: int = 0) -> Any:
        batch, channels = ranges[:2]
        width = x.shape[1] // groups if groups else 1
        first, last = channels.start // width, -(-channels.stop // width)
        whole = slice(first * width, last * width)
        rest = (last - first,) if groups else ()
        found = reference(cast(x[batch, whole]), cast(weight[whole]), cast(bias[whole]), *rest)
        inner = slice(channels.start - whole.start, channels.stop - whole.start)
        return found[(slice(None), inner, *ranges[2:])]

    return part


def flops_of(axes: tuple[str, ...], operations: float) -> Callable[[Case], float]:
    """`operations` an element."""
    return lambda case: operations * case["batch"] * case["groups"] * elements(case, axes)


def bytes_of(axes: tuple[str, ...]) -> Callable[[Case], float]:
    """x read and written once, weight and bias read once."""

    def min_bytes(case: Case) -> float:
        channels = case["groups"] * (case["width"] if "width" in case.sizes else 1)
        x = case["batch"] * case["groups"] * elements(case, axes)
        return float(case.torch_dtype.itemsize * (2 * x + 2 * channels))

    return min_bytes
