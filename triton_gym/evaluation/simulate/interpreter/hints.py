"""Promises that a kernel makes its compiler: `tl.multiple_of`, `tl.max_contiguous`.

The compiler makes wide accesses of them. Where a promise does not hold, such an access faults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.types import Operation

_WIDEST = 16
"""Bytes of the widest access of a thread."""


class MisalignedError(RuntimeError):
    """An access that was promised to be aligned is not."""


class Hints:
    """The promises of one kernel, and which of them were broken."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._broken: int | None = None

    def forget(self) -> None:
        """Another program begins."""
        self._broken = None

    def note(self, number: int, value: Any) -> None:
        """Hold a value against what was promised of it."""
        attributes = self._operations[number].attributes
        multiples = _numbers(attributes.get("tt.divisibility", ""))
        runs = _numbers(attributes.get("tt.contiguity", ""))
        data = np.asarray(value).astype(np.int64)
        for axis, multiple in enumerate(multiples):
            run = runs[axis] if axis < len(runs) else 1
            first = np.moveaxis(data, axis, 0)[:: max(run, 1)] if data.ndim else data
            if multiple > 1 and (first % multiple).any():
                self._broken = number
        for axis, run in enumerate(runs):
            if run > 1 and data.ndim > axis and data.shape[axis] % run == 0:
                steps = np.diff(np.moveaxis(data, axis, -1).reshape(-1, run), axis=1)
                if (steps != 1).any():
                    self._broken = number

    def check(
        self, number: int, kind: str, pointers: Array, mask: Array | None, itemsize: int
    ) -> None:
        """After a broken promise, see whether the lanes of a wide access lie where they must.

        Raises:
            MisalignedError: they do not.
        """
        if self._broken is None or pointers.ndim == 0 or itemsize >= _WIDEST:
            return
        for axis in range(pointers.ndim):
            width = min(_WIDEST // itemsize, pointers.shape[axis])
            if width < 2 or pointers.shape[axis] % width:
                continue
            groups = np.moveaxis(pointers, axis, -1).reshape(-1, width)
            if mask is not None:
                on = np.moveaxis(np.broadcast_to(mask, pointers.shape), axis, -1)
                groups = groups[on.reshape(-1, width).all(axis=1)]
            steps = np.diff(groups.view(np.int64), axis=1)
            if not groups.size or (steps == itemsize).mean() < 0.5:
                continue  # lanes along this axis are no neighbours: accesses are not wide
            if (groups[:, 0] % np.uint64(width * itemsize)).any() or (steps != itemsize).any():
                line = self._operations[self._broken].line
                raise MisalignedError(
                    f"misaligned address: a {kind} in line {self._operations[number].line} relies "
                    f"on what tl.multiple_of or tl.max_contiguous promises in line {line}, and it "
                    "does not hold."
                )


def _numbers(text: str) -> list[int]:
    inner = re.sub(r"^dense<|>.*$", "", text)
    return [int(n) for n in re.findall(r"\d+", inner)]
