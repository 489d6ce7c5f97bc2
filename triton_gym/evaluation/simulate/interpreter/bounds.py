"""Which addresses a kernel may touch under the interpreter, which itself checks none."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import Window


class OutOfBoundsError(RuntimeError):
    """A kernel accessed memory outside every tensor that it was given."""


class Bounds:
    """The storages of a launch's tensors, as address ranges."""

    def __init__(self, arguments: Iterable[Any]) -> None:
        self.ranges: list[tuple[int, int, str]] = []
        """Start, end, and what lies there, in the order of the arguments."""
        self.forged = False
        """Whether the kernel turned integers into pointers, as tables of pointers need."""
        self._kept: list[Any] = []  # while the bounds are, so that a launch can be repeated
        self._windows: dict[int, Window] = {}
        for argument in arguments:
            self._add(argument)
        self._sort()

    def _add(self, argument: Any) -> None:
        if isinstance(argument, (tuple, list)):
            for part in argument:
                self._add(part)
        elif not isinstance(argument, torch.Tensor):
            # A TensorDescriptor or a TensorWrapper holds its tensor as `base`.
            if hasattr(argument, "base"):
                self._add(argument.base)
        else:
            storage = argument.untyped_storage()
            start = storage.data_ptr()
            dtype = str(argument.dtype).removeprefix("torch.")
            what = f"the tensor {tuple(argument.shape)} {dtype}"
            if start and (start, start + storage.nbytes()) not in {r[:2] for r in self.ranges}:
                self.ranges.append((start, start + storage.nbytes(), what))
                self._kept.append(storage)

    def _sort(self) -> None:
        self._order = sorted(range(len(self.ranges)), key=lambda i: self.ranges[i][0])
        self._starts = np.array([self.ranges[i][0] for i in self._order], dtype=np.uint64)
        self._ends = np.array([self.ranges[i][1] for i in self._order], dtype=np.uint64)

    def owner(self, address: int) -> int:
        """Which of `ranges` holds an address; -1 if none does."""
        place = int(np.searchsorted(self._starts, np.uint64(address), side="right")) - 1
        return self._order[place] if place >= 0 and address < int(self._ends[place]) else -1

    def window(self, index: int) -> Window:
        """The memory of one of `ranges`."""
        if index not in self._windows:
            start, end, _ = self.ranges[index]
            self._windows[index] = Window(start, end)
        return self._windows[index]

    def check(self, kind: str, pointers: Array, mask: Array, itemsize: int) -> tuple[Array, int]:
        """Raise unless every lane that is not masked off lies inside a range.

        Returns:
            The pointers of the active lanes, flat, and the index of the range that holds them all;
            -1 if there are none, or they lie in several.

        Raises:
            OutOfBoundsError: some lane would touch memory that is not the kernel's.
        """
        if mask.all():
            active = np.ravel(pointers)
        else:
            active = np.broadcast_to(pointers, np.broadcast_shapes(pointers.shape, mask.shape))[
                np.broadcast_to(mask, np.broadcast_shapes(pointers.shape, mask.shape))
            ]
        if not active.size:
            return active, -1
        low, high = int(active.min()), int(active.max())
        index = self.owner(low)
        if index >= 0 and high + itemsize <= self.ranges[index][1]:
            return active, index
        outside = self._outside(active, itemsize)
        if self.forged and outside.any():
            # Pointers that came out of a table: any live tensor may be meant.
            with torch._C.DisableTorchFunction():  # host code is told that tensors are on a GPU
                for thing in gc.get_objects():
                    # Not isinstance(): it reads __class__, which some lazy modules react to.
                    if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
                        self._add(thing)
            self._sort()
            outside = self._outside(active, itemsize)
        if outside.any():
            self._raise(kind, active, outside, itemsize)
        return active, -1

    def _outside(self, active: Array, itemsize: int) -> Array:
        if not self.ranges:
            return np.ones(active.shape, dtype=bool)
        index = np.searchsorted(self._starts, active, side="right").astype(np.int64) - 1
        inside = (index >= 0) & (active + np.uint64(itemsize) <= self._ends[np.maximum(index, 0)])
        return np.asarray(~inside)

    def _raise(self, kind: str, active: Array, outside: Array, itemsize: int) -> None:
        address = int(active[np.argmax(outside)])
        count = f"{int(outside.sum())} of {active.size} active lanes"
        if not self.ranges:
            raise OutOfBoundsError(
                f"out-of-bounds {kind}: {count}; the kernel was given no tensor."
            )
        # The nearest range is the one that the pointer most likely started from.
        start, end, what = min(
            self.ranges, key=lambda r: min(abs(address - r[0]), abs(address - r[1]))
        )
        where = (
            f"{start - address} bytes before the start of"
            if address < start
            else f"{address + itemsize - end} bytes past the end of"
        )
        raise OutOfBoundsError(
            f"out-of-bounds {kind} {where} {what} (offset {address - start} bytes into "
            f"{end - start}); {count} are outside. Mask the lanes that lie beyond the tensor."
        )
