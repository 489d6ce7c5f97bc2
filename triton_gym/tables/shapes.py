"""Shapes that are worth timing: drawn over a task's range, neither launches alone nor too large."""

from __future__ import annotations

import math
import random

from triton_gym.device import Gpu
from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.task import Case, Task

LEAST_US = 10.0
"""Shapes whose speed of light is less are launches, mostly: none is drawn."""
MOST_BYTES = 2 << 30
"""Shapes that move more are not drawn."""


def drawn_shapes(
    task: Task, count: int, gpu: Gpu, seed: int = 0, *, most_us: float = math.inf
) -> tuple[Case, ...]:
    """Different shapes over the task's range, sizes log-uniform, dtypes in turn.

    Only such as take between `LEAST_US` and `most_us` at the speed of light and move `MOST_BYTES`
    at most. The timed case is the first, whatever it takes.

    Raises:
        InvalidOptionError: the task's range does not hold so many.
    """
    rng = random.Random(f"{seed} {task.name} shapes")
    found = {task.bench[0]: None}
    for attempt in range(400 * count):
        if len(found) >= count:
            break
        case = _drawn(task, rng, task.dtypes[attempt % len(task.dtypes)])
        light = speed_of_light(task, case, gpu)
        if LEAST_US <= light.floor_us <= most_us and light.bytes <= MOST_BYTES:
            found[case] = None
    if len(found) < count:
        raise InvalidOptionError(
            f"The range of {task.name!r} holds {len(found)} shapes of a fitting size, not {count}."
        )
    return tuple(found)[:count]


def _drawn(task: Task, rng: random.Random, dtype: str) -> Case:
    """Sizes around the timed ones: hidden shapes are small, so that many can be tested."""
    if task.drawn is not None:
        return task.drawn(rng, False)
    sizes = {}
    for name, span in task.spans.items():
        timed = task.bench[0][name]
        low, high = max(span.low, timed // 16), max(span.high, 2 * timed)
        if timed <= span.high:  # what the range bounds, as the width of a head, stays in it
            high = span.high
        size = round(math.exp(rng.uniform(math.log(low), math.log(max(low, high)))))
        step = math.lcm(span.multiple, 16) if size >= 64 else span.multiple
        size = max(1, round(size / step)) * step
        sizes[name] = min(max(size, -(-low // span.multiple) * span.multiple), high)
    return Case(dtype, sizes)
