"""The observation of a tuning environment: which number stands where.

In this order, all float32:

- `log2_<size>`: the case's sizes, in the task's order;
- `dtype_bytes`, `log_flops`, `log_bytes`: bytes of a value; natural logarithms of the case's work;
- `log_gbps`, `log_tflops`, `log_multiprocessors`, `log_l2_bytes`, `log_shared_bytes`: the device;
- `knob_<name>`: the current knobs, from 0 (first value) to 1 (last);
- `turn`: share of the episode that is over; `best`, `last`: log(floor / time) of the best and of
  the last evaluation, `WORST` before the first correct one and for a failure;
- `history_<i>_<knob>`, `history_<i>_score`, `history_<i>_failed`: the last evaluations, the latest
  last: knobs, log(floor / time), 1 for a failure; zeros before they are.

`floor` is the roofline's time, a property of case and device: nothing here tells what the best
configuration is or takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from triton_gym.device import Gpu
from triton_gym.errors import InvalidOptionError
from triton_gym.task import Case

Values = npt.NDArray[np.float32]
FLOAT: np.dtype[np.float32] = np.dtype(np.float32)
"""Of every number of an observation."""

LIMIT = 64.0
"""No number of an observation is larger: all are logarithms, shares and flags."""
WORST = -5.0
"""log(floor / time) of a failure: as if it took 150 times the speed of light."""
DEVICE = (
    "log_gbps", "log_tflops", "log_multiprocessors", "log_l2_bytes", "log_shared_bytes",
)  # fmt: skip
_BYTES = {"float64": 8, "float32": 4, "int32": 4, "int64": 8, "float16": 2, "bfloat16": 2}


LONGEST_HISTORY = 10_000
"""Most evaluations that an observation may hold."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of an observation begin and end."""

    sizes: tuple[str, ...]
    """Names of the sizes; padded with numbers where tasks with fewer share a layout."""
    knobs: tuple[str, ...]
    history: int
    """Evaluations that are remembered."""

    def __post_init__(self) -> None:
        whole = isinstance(self.history, int) and not isinstance(self.history, bool)
        if not whole or not 0 <= self.history <= LONGEST_HISTORY:
            raise InvalidOptionError(
                f"history must be an integer from 0 to {LONGEST_HISTORY}; got {self.history!r:.80}."
            )

    @property
    def context(self) -> int:
        """Numbers of case and device."""
        return len(self.sizes) + 3 + len(DEVICE)

    @property
    def entry(self) -> int:
        """Numbers of one remembered evaluation."""
        return len(self.knobs) + 2

    @property
    def turn(self) -> int:
        """Where `turn`, `best` and `last` begin."""
        return self.context + len(self.knobs)

    @property
    def past(self) -> int:
        """Where the history begins."""
        return self.turn + 3

    @property
    def length(self) -> int:
        """Numbers of an observation."""
        return self.past + self.history * self.entry

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every number."""
        past = (*(f"{name}" for name in self.knobs), "score", "failed")
        return (
            *(f"log2_{name}" for name in self.sizes),
            "dtype_bytes", "log_flops", "log_bytes", *DEVICE,
            *(f"knob_{name}" for name in self.knobs),
            "turn", "best", "last",
            *(f"history_{i}_{name}" for i in range(self.history) for name in past),
        )  # fmt: skip


def dtype_bytes(dtype: str) -> int:
    """Bytes of a value of a dtype, without torch."""
    return _BYTES.get(dtype, 1)


def context(
    layout: Layout, case: Case, flops: float, moved_bytes: float, gpu: Gpu, *, matrix: bool
) -> Values:
    """The numbers of a case and a device, shape `(layout.context,)`."""
    sizes = [math.log2(size) for size in case.sizes.values()]
    padded = [*sizes, *[0.0] * (len(layout.sizes) - len(sizes))]
    found = [
        *padded, dtype_bytes(case.dtype), math.log(max(flops, 1.0)),
        math.log(max(moved_bytes, 1.0)), math.log(gpu.memory_gbps),
        math.log(gpu.peak_tflops(case.dtype, matrix=matrix)), math.log(gpu.multiprocessors),
        math.log(gpu.l2_bytes), math.log(gpu.shared_bytes),
    ]  # fmt: skip
    return np.array(found, np.float32)


def scaled(choice: Sequence[int], sizes: Sequence[int], width: int) -> Values:
    """A choice of knobs from 0 to 1, padded to `width`."""
    found = np.zeros(width, np.float32)
    for place, (index, size) in enumerate(zip(choice, sizes, strict=True)):
        found[place] = index / max(size - 1, 1)
    return found


def padded(all_names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The names that layouts of several tasks share: their own if there is one task."""
    if len(all_names) == 1:
        return tuple(all_names[0])
    return tuple(f"{i}" for i in range(max(map(len, all_names))))


def device_of(gpu: str, known: Mapping[str, Gpu]) -> Gpu:
    """The GPU of a table; an H100's limits for one that is not listed."""
    return known.get(gpu, known["h100"])
