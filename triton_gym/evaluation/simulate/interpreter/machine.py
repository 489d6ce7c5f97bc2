"""Carries out what operations ask of memory and of whole blocks, and shows it to an observer."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from triton_gym.evaluation.simulate.interpreter import blocks
from triton_gym.evaluation.simulate.interpreter.atomics import exchange
from triton_gym.evaluation.simulate.interpreter.blocks import full, single
from triton_gym.evaluation.simulate.interpreter.bounds import Bounds
from triton_gym.evaluation.simulate.interpreter.effort import Effort
from triton_gym.evaluation.simulate.interpreter.emit import Program
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.hints import Hints
from triton_gym.evaluation.simulate.interpreter.memory import Window, read, write
from triton_gym.evaluation.simulate.interpreter.races import Races
from triton_gym.evaluation.simulate.interpreter.scalars import DTYPES

Index = tuple[int, int, int]
_ADDRESS = (1 << 64) - 1


class Observer(Protocol):
    """Sees what a program does, and decides how far its loops run."""

    def access(
        self, kind: str, number: int, pointers: Array, active: Array, itemsize: int, bulk: bool
    ) -> bool:
        """A `load`, `store` or `atomic`; `active` holds the addresses not masked off.

        Returns:
            Whether a store is carried out; loads and atomics always are.
        """
        ...

    def dot(
        self, number: int, a: tuple[int, ...], b: tuple[int, ...], element: str, precision: str
    ) -> bool:
        """A matrix product of two shapes, of MLIR's element.

        Returns:
            Whether it is computed; otherwise the accumulator comes back as it is.
        """
        ...

    def reduction(self, number: int, size: int) -> None:
        """A reduction or a scan."""

    def gather(self, number: int, index: Array, itemsize: int) -> None:
        """A gather within a program."""

    def loop(self, number: int, steps: range) -> Iterable[int]:
        """The iterations of a loop that are run."""
        ...

    def again(self, number: int) -> bool:
        """Whether a loop without a known end goes on."""
        ...


@dataclass(frozen=True)
class Descriptor:
    """A tensor descriptor: a rectangle of blocks in memory."""

    base: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements."""
    block: tuple[int, ...]
    element: str
    nan: bool = False
    """Whether what lies outside reads as NaN, instead of zero."""

    @functools.cached_property
    def steps(self) -> tuple[int, ...]:
        """Bytes between neighbours along each axis."""
        return tuple(DTYPES[self.element].itemsize * stride for stride in self.strides)

    def places(self, offsets: Sequence[int]) -> tuple[Array, Array | None]:
        """Addresses of a block, and which of them lie inside; None if all do."""
        first = self.base + sum(
            int(at) * step for at, step in zip(offsets, self.steps, strict=True)
        )
        addresses = _block(self.block, self.steps) + np.uint64(first & _ADDRESS)
        inside: Any = None
        for axis, size in enumerate(self.block):
            low = int(offsets[axis])
            if low >= 0 and low + size <= self.shape[axis]:
                continue
            along = np.arange(low, low + size).reshape(-1, *(1,) * (len(self.block) - axis - 1))
            on = (along >= 0) & (along < self.shape[axis])
            inside = on if inside is None else inside & on
        return addresses, None if inside is None else np.broadcast_to(inside, self.block)


@functools.lru_cache(256)
def _block(shape: tuple[int, ...], steps: tuple[int, ...]) -> Array:
    """Addresses of a block's elements from its first."""
    found = np.zeros(shape, np.uint64)
    for axis, (size, step) in enumerate(zip(shape, steps, strict=True)):
        along = (np.arange(size) * step).view(np.uint64)
        found += along.reshape(-1, *(1,) * (len(shape) - axis - 1))
    return found


class Machine:
    """Runs the programs of one launch.

    Args:
        program: the kernel.
        bounds: the memory that it may touch.
        grid: programs along each axis.
        warps: of a program; with one there are no races between them.
    """

    def __init__(self, program: Program, bounds: Bounds, grid: Index, warps: int = 4) -> None:
        self.kernel = program
        self.bounds = bounds
        self.grid = grid
        self.program: Index = (0, 0, 0)
        self.observer: Observer | None = None
        self.effort: Effort | None = None
        self.stores_only = False
        """Whether loads whose values nobody asks for are not even looked at."""
        self.counts: list[float] = [0.0] * len(program.blocks)
        """How often each block of the code was entered."""
        self._costs = [1.0 + len(block.operations) for block in program.blocks]
        self._hints = Hints(program.operations)
        self._races = Races() if warps > 1 else None

    def start(self, program: Index) -> None:
        """Make ready for another program."""
        self.program = program
        if self._races:
            self._races.barrier()
        self._hints.forget()

    def enter(self, block: int) -> None:
        """A block begins."""
        self.counts[block] += 1
        if self.effort is not None:
            self.effort.add(self._costs[block] * 2.5)

    def barrier(self) -> None:
        """Threads of a program wait for each other."""
        if self._races:
            self._races.barrier()

    def forge(self) -> None:
        """The kernel makes pointers of numbers."""
        self.bounds.forged = True

    def hint(self, number: int, value: Any, shape: tuple[int, ...] | None) -> None:
        """The kernel promises something of a value."""
        self._hints.note(number, value if shape is None else full(value, shape))

    def check(self, condition: Any, number: int) -> None:
        """An assertion of the kernel's."""
        if not np.all(condition):
            line = self.kernel.operations[number].line
            raise AssertionError(f"device-side assert triggered (line {line})")

    # -- memory

    def _access(
        self, kind: str, number: int, pointers: Array, mask: Array | None, itemsize: int,
        *, bulk: bool = False,
    ) -> tuple[Array, Window | None, bool]:  # fmt: skip
        on = np.True_ if mask is None else mask
        active, owner = self.bounds.check(kind, pointers, np.asarray(on), itemsize)
        if active.size and not bulk:
            self._hints.check(number, kind, pointers, mask, itemsize)
        wanted = True
        if self.observer is not None:
            wanted = self.observer.access(kind, number, pointers, active, itemsize, bulk)
        if self._races and active.size and pointers.ndim:
            if kind == "load":
                self._races.load(owner, pointers, mask, active)
            elif kind == "store":
                self._races.store(owner, pointers, mask, active)
            else:
                self._races.barrier()
        return active, self.bounds.window(owner) if owner >= 0 else None, wanted

    def load(
        self, number: int, pointers: Array, mask: Array | None, other: Array | None,
        shape: tuple[int, ...], element: str,
    ) -> Array:  # fmt: skip
        """A block of values from memory; `other`, or zero, where the mask is off."""
        pointers = full(pointers, shape)
        on = None if mask is None else full(mask, shape)
        return self._load(number, pointers, on, other, element)

    def _load(
        self, number: int, pointers: Array, on: Array | None, other: Any, element: str,
        *, bulk: bool = False,
    ) -> Array:  # fmt: skip
        dtype = DTYPES[element]
        active, window, _ = self._access("load", number, pointers, on, dtype.itemsize, bulk=bulk)
        if active.size == pointers.size:
            return _fetch(active, window, dtype).reshape(pointers.shape)
        if other is None:
            data = np.zeros(pointers.shape, dtype)
        else:
            data = np.array(np.broadcast_to(other, pointers.shape), dtype, order="C")
        if active.size:
            data[on] = _fetch(active, window, dtype)
        return data

    def load_one(self, number: int, pointer: int, mask: Any, other: Any, element: str) -> Any:
        """A single value from memory."""
        dtype = DTYPES[element]
        on = None if mask is None else np.asarray(bool(mask))
        at = np.asarray(pointer, dtype=np.uint64)
        active, window, _ = self._access("load", number, at, on, dtype.itemsize)
        if not active.size:
            return other if other is not None else single(np.zeros((), dtype))
        return single(_fetch(active, window, dtype)[0])

    def store(
        self, number: int, pointers: Array, value: Array, mask: Array | None,
        shape: tuple[int, ...], element: str,
    ) -> None:  # fmt: skip
        """A block of values to memory."""
        on = None if mask is None else full(mask, shape)
        data = None if value is None else full(value, shape)
        self._store(number, full(pointers, shape), data, on, element)

    def _store(
        self, number: int, pointers: Array, value: Array | None, on: Array | None, element: str,
        *, bulk: bool = False,
    ) -> None:  # fmt: skip
        size = DTYPES[element].itemsize
        active, window, wanted = self._access("store", number, pointers, on, size, bulk=bulk)
        if value is not None and wanted and active.size:
            kept = value.ravel() if active.size == value.size else value[on]
            _put(active, window, kept)

    def store_one(self, number: int, pointer: int, value: Any, mask: Any, element: str) -> None:
        """A single value to memory."""
        on = None if mask is None else np.asarray(bool(mask))
        at = np.asarray(pointer, dtype=np.uint64)
        data = None if value is None else np.asarray(value, dtype=DTYPES[element])
        self._store(number, at, data, on, element)

    def atomic(
        self, number: int, how: str, pointers: Any, value: Any, mask: Any,
        shape: tuple[int, ...] | None, element: str,
    ) -> Any:  # fmt: skip
        """Values are changed in memory; returns what was there."""
        dtype = DTYPES[element]
        at = full(np.asarray(pointers, dtype=np.uint64), shape or ())
        new = full(np.asarray(value, dtype=dtype), shape or ())
        on = None if mask is None else full(np.asarray(mask), shape or ())
        active, _, _ = self._access("atomic", number, at, on, dtype.itemsize)
        old = np.zeros(at.shape, dtype)
        chosen: Any = np.ones(at.shape, bool) if on is None else on
        if active.size:
            old[chosen] = exchange(how, active, new[chosen])
        return old if shape is not None else single(old)

    def swap(
        self, number: int, pointers: Any, expected: Any, value: Any,
        shape: tuple[int, ...] | None, element: str,
    ) -> Any:  # fmt: skip
        """Compare and swap; returns what was there."""
        dtype = DTYPES[element]
        at, wanted, new = (
            full(np.asarray(x, dtype=kind), shape or ()).ravel()
            for x, kind in ((pointers, np.uint64), (expected, dtype), (value, dtype))
        )
        self._access("atomic", number, at, None, dtype.itemsize)
        old = exchange("cas", at, new, wanted)
        return old.reshape(shape) if shape is not None else single(old[0])

    def descriptor(
        self, base: int, shape: tuple[int, ...], strides: tuple[int, ...],
        block: tuple[int, ...], element: str, nan: bool,
    ) -> Descriptor:  # fmt: skip
        """A tensor descriptor that the kernel makes."""
        return Descriptor(base, shape, strides, block, element, nan)

    def load_bulk(self, number: int, what: Descriptor, offsets: Sequence[int]) -> Array:
        """A block through a descriptor."""
        pointers, inside = what.places(offsets)
        if inside is None:
            dtype = DTYPES[what.element]
            active, window, _ = self._access(
                "load", number, pointers, None, dtype.itemsize, bulk=True
            )
            if window is not None:
                first = int(pointers.flat[0])
                return window.block(first, what.block, what.steps, dtype.itemsize).view(dtype)
            return _fetch(active, window, dtype).reshape(pointers.shape)
        other = math.nan if what.nan else None
        return self._load(number, pointers, inside, other, what.element, bulk=True)

    def store_bulk(
        self, number: int, what: Descriptor, offsets: Sequence[int], value: Array | None
    ) -> None:
        """The same to memory; what lies outside is left out."""
        pointers, inside = what.places(offsets)
        data = None if value is None else value.reshape(pointers.shape)
        self._store(number, pointers, data, inside, what.element, bulk=True)

    def reduce_bulk(
        self, number: int, how: str, what: Descriptor, offsets: Sequence[int], value: Array | None
    ) -> None:
        """The same, joined with what lies there."""
        pointers, inside = what.places(offsets)
        itemsize = DTYPES[what.element].itemsize
        active, _, _ = self._access("atomic", number, pointers, inside, itemsize, bulk=True)
        if value is None:
            return
        how = "fadd" if how == "add" and value.dtype.kind not in "iu" else how
        if active.size:
            data = value.reshape(pointers.shape)
            exchange(how, active, data.ravel() if inside is None else data[inside])

    # -- what a sketch of a kernel only tells of

    def seen(
        self, number: int, pointers: Any, mask: Any, shape: tuple[int, ...] | None, element: str
    ) -> None:
        """A load whose values nobody asks for."""
        if self.stores_only:
            return
        at = full(np.asarray(pointers, dtype=np.uint64), shape or ())
        on = None if mask is None else full(np.asarray(mask), shape or ())
        self._access("load", number, at, on, DTYPES[element].itemsize)

    def seen_bulk(self, number: int, what: Descriptor, offsets: Sequence[int]) -> None:
        """The same through a descriptor."""
        if self.stores_only:
            return
        pointers, inside = what.places(offsets)
        itemsize = DTYPES[what.element].itemsize
        self._access("load", number, pointers, inside, itemsize, bulk=True)

    def seen_dot(
        self, number: int, a: tuple[int, ...], b: tuple[int, ...], element: str, precision: str
    ) -> None:
        """A matrix product that nobody asks for."""
        self.barrier()
        if self.observer is not None:
            self.observer.dot(number, a, b, element, precision)

    def seen_reduction(self, number: int, size: int) -> None:
        """A reduction or a scan that nobody asks for."""
        self._reduced(number, size)

    # -- whole blocks

    def dot(self, number: int, a: Array, b: Array, c: Array, precision: str) -> Array:
        """A matrix product added to `c`."""
        self.barrier()
        if self.observer is not None and not self.observer.dot(
            number, a.shape, b.shape, _ELEMENTS[a.dtype], precision
        ):
            return c
        return blocks.product(a, b, c, precision)

    def fold(self, number: int, name: str, data: Array, axis: int) -> Any:
        """A reduction by one operation."""
        self._reduced(number, data.size)
        return blocks.fold(name, data, axis)

    def reduce(
        self, number: int, combine: Callable[..., Any], parts: Sequence[Array], axis: int
    ) -> list[Any]:
        """A reduction by a function."""
        self._reduced(number, parts[0].size)
        return blocks.reduce(combine, parts, axis)

    def scan(
        self, number: int, combine: Callable[..., Any], parts: Sequence[Array], axis: int,
        reverse: bool,
    ) -> list[Array]:  # fmt: skip
        """A scan by a function."""
        self._reduced(number, parts[0].size)
        return blocks.scan(combine, parts, axis, reverse)

    def _reduced(self, number: int, size: int) -> None:
        self.barrier()
        if self.observer is not None:
            self.observer.reduction(number, size)

    def gather(self, number: int, source: Array, index: Array, axis: int) -> Array:
        """Values of a block by their places in it."""
        self.barrier()
        if self.observer is not None:
            self.observer.gather(number, index, source.dtype.itemsize)
        return np.take_along_axis(source, index.astype(np.int64), axis)

    def histogram(self, count: int, data: Array, mask: Array | None = None) -> Array:
        """How often each number below `count` occurs."""
        self.barrier()
        chosen = data.ravel() if mask is None else data[mask]
        inside = chosen[(chosen >= 0) & (chosen < count)]
        return np.bincount(inside, minlength=count).astype(np.int32)

    # -- control

    def loop(self, number: int, low: int, high: int, step: int) -> Iterable[int]:
        """The iterations of a loop."""
        steps = range(low, high, step) if step > 0 else range(0)
        return steps if self.observer is None else self.observer.loop(number, steps)

    def begin(self, number: int) -> None:
        """A loop without a known end begins."""

    def again(self, number: int) -> bool:
        """Whether such a loop goes on."""
        return self.observer is None or self.observer.again(number)


_ELEMENTS = {dtype: name for name, dtype in DTYPES.items() if name not in ("tf32", "index")}


def _fetch(active: Array, window: Window | None, dtype: np.dtype[Any]) -> Array:
    raw = read(active, dtype.itemsize) if window is None else window.read(active, dtype.itemsize)
    return raw.view(dtype)


def _put(active: Array, window: Window | None, values: Array) -> None:
    raw = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    if window is None:
        write(active, raw)
    else:
        window.write(active, raw)
