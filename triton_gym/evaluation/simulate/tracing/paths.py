"""Which programs of a launch take which path, for all of them at once.

What decides a program's path is mostly made of its number and of the launch's scalars. So it is
computed for every program of the grid: conditions, lengths of loops, and, at some of their lanes,
the masks and addresses of stores. Programs alike in these are one class, of which a few stand for
the others, and none is forgotten however rare. Single values that a program loads from an argument
(where a group begins, how long a sequence is) are known too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter import blocks, memory
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.scalars import DTYPES, literal
from triton_gym.evaluation.simulate.interpreter.templates import (
    BLOCKS,
    COMPARED,
    CONVERTED,
    ORDERED,
)
from triton_gym.evaluation.simulate.interpreter.types import (
    Block,
    Function,
    Module,
    Operation,
    Type,
)
from triton_gym.evaluation.simulate.tracing.stored import StorePlaces, store_places

MOST = 1 << 18
"""Programs of a launch that are looked at; of a larger grid so many at random."""
_SCOPE = {"np": np, **{k: v for k, v in vars(blocks).items() if callable(v)}}
_DEEPEST = 8
_OTHER_STORES = {"tt.descriptor_reduce", "tt.descriptor_scatter", "tt.atomic_cas"}
"""Operations that write too, and of which nobody looks where."""
_LOADED = {"i8", "i16", "i32", "i64", "f16", "f32", "f64"}
"""Types of values that are looked at in memory."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The classes of a launch's programs."""

    numbers: Array
    """Of the programs that were looked at."""
    kind: Array
    """Class of each of these."""
    work: Array
    """A rough measure of the work of each: passes through its loops."""
    total: int
    """Programs of the grid."""
    decided: bool = True
    """Whether all that their paths depend on was known."""
    stores: tuple[StorePlaces, ...] | None = None
    """Where they store; None if that is not known of all programs and stores."""

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.kind.max()) + 1 if self.kind.size else 0

    def strata(self, most: int, rng: np.random.Generator) -> list[tuple[int, float]]:
        """Programs that stand for all, with how many each stands for.

        Every class has one at least, as far as `most` allows: the rare ones first, since the large
        ones are met anyway. Within a class they are drawn from equal shares of its work, and the
        heaviest is among them.
        """
        sizes = np.bincount(self.kind, minlength=self.classes)
        scale = self.total / max(self.numbers.size, 1)
        chosen: list[tuple[int, float]] = []
        order = np.argsort(sizes)
        kept = order if order.size <= most else np.concatenate(
            [order[-(most // 2) :], rng.permutation(order[: -(most // 2)])[: most - most // 2]]
        )  # fmt: skip
        left = float(sizes.sum()) / max(float(sizes[kept].sum()), 1.0)
        spare = max(most - kept.size, 0)
        for name in kept:
            members = np.flatnonzero(self.kind == name)
            share = sizes[name] / max(sizes.sum(), 1)
            varied = np.ptp(self.work[members]) > 0
            count = 1 + round(float(spare * share) * (1.0 if varied else 0.5))
            chosen += self._of_class(members, min(count, members.size), scale * left, rng)
        return chosen

    def _of_class(
        self, members: Array, count: int, scale: float, rng: np.random.Generator
    ) -> list[tuple[int, float]]:
        mixed = rng.permutation(members)
        ordered = mixed[np.argsort(self.work[mixed], kind="stable")]
        found = []
        if count > 2 and np.ptp(self.work[members]) > 0:
            heaviest, ordered = ordered[-1], ordered[:-1]
            found.append((int(self.numbers[heaviest]), scale))
            count -= 1
        for part in np.array_split(ordered, count):
            if part.size:
                found.append((int(self.numbers[rng.choice(part)]), part.size * scale))
        return found

    def members(self, name: int) -> Array:
        """Numbers of the programs of a class."""
        return np.asarray(self.numbers[self.kind == name])


def paths_of(
    module: Module, grid: tuple[int, int, int], arguments: Sequence[Any], seed: int,
    given: Sequence[tuple[int, int]] = (),
) -> Paths:  # fmt: skip
    """The classes of the programs of a launch.

    Args:
        module: the kernel.
        grid: programs along each axis.
        arguments: of the kernel; what is no number is not known.
        seed: decides which programs and lanes are looked at, where not all are.
        given: memory whose contents are known: starts and ends.
    """
    total = grid[0] * grid[1] * grid[2]
    rng = np.random.default_rng(seed)
    numbers = np.arange(total) if total <= MOST else np.sort(rng.integers(0, total, MOST))
    walker = _Walker(module, grid, numbers, rng, given)
    kernel = module.kernel
    known = {
        name: _lift(value, kind)
        for (name, kind), value in zip(kernel.arguments, arguments, strict=True)
    }
    with np.errstate(all="ignore"):
        walker.function(kernel, known, np.ones(1, bool))
    _, kind = np.unique(walker.path, return_inverse=True)
    stores = tuple(walker.stores) if walker.placed and total <= MOST else None
    return Paths(numbers, kind.reshape(-1), walker.work, total, walker.decided, stores)


def _lift(value: Any, kind: Type) -> Array | None:
    if kind.element == "desc" or kind.shape is not None:
        return None
    return np.asarray(value).astype(DTYPES[kind.element]).reshape(1)


class _Walker:
    """Computes what is known of values, with programs along the first axis.

    Of a block some places along each axis are looked at, always the same of a size.
    """

    def __init__(
        self, module: Module, grid: tuple[int, int, int], numbers: Array,
        rng: np.random.Generator, given: Sequence[tuple[int, int]],
    ) -> None:  # fmt: skip
        self._module = module
        self._grid = grid
        self._numbers = numbers
        self._rng = rng
        self._given = given
        self._places: dict[int, Array] = {}
        self._depth = 0
        self.path = np.zeros(numbers.size, np.uint64)
        self.work = np.ones(numbers.size)
        self.decided = True
        self.stores: list[StorePlaces] = []
        self.placed = True
        """Whether it is known of all stores where they go."""
        self._times: Array = np.ones(1)

    def _note(self, value: Array | None, active: Array) -> None:
        """Something that the path depends on."""
        if value is None:
            self.decided = False
            return
        number = np.where(active, value.astype(np.int64) + 2, 1).astype(np.uint64)
        mixed = (self.path ^ number) * np.uint64(0x9E3779B97F4A7C15)
        self.path = mixed ^ (mixed >> np.uint64(29))

    def places(self, size: int) -> Array:
        """Which elements along an axis of a size are looked at."""
        if size not in self._places:
            some = {0, size - 1, int(self._rng.integers(size))}
            self._places[size] = np.array(sorted(some))
        return self._places[size]

    def function(
        self, function: Function, known: dict[str, Array | None], active: Array
    ) -> list[Array | None]:
        """Walk through a function; what it returns, if that is known."""
        if len(function.blocks) == 1:
            return self.block(function.blocks[0], known, active)
        reached: dict[str, Array] = {function.blocks[0].name: active}
        for block in function.blocks:
            here = reached.get(block.name)
            if here is None or not here.any():
                continue
            self.block(block, known, here)
            last = block.operations[-1]
            condition = known.get(last.operands[0]) if last.name == "cf.cond_br" else None
            for way, (label, values) in enumerate(last.targets):
                goes = here
                if condition is not None:
                    goes = here & (condition if not way else ~condition)
                target = next((b for b in function.blocks if b.name == label), None)
                if target is not None:
                    if function.blocks.index(target) <= function.blocks.index(block):
                        self.placed = False  # a loop, of which the first round alone is walked
                    merged = label in reached
                    reached[label] = reached[label] | goes if merged else goes
                    for (name, _), value in zip(target.arguments, values, strict=False):
                        known[name] = None if merged else known.get(value)
        return []

    def block(
        self, block: Block, known: dict[str, Array | None], active: Array
    ) -> list[Array | None]:
        """Walk through a block; what it yields."""
        for operation in block.operations:
            try:
                self._operation(operation, known, active)
            except (TypeError, ValueError, KeyError, IndexError, AttributeError):
                for name, _ in operation.results:
                    known[name] = None
        last = block.operations[-1] if block.operations else None
        return [known.get(n) for n in last.operands] if last is not None else []

    def _operation(
        self, operation: Operation, known: dict[str, Array | None], active: Array
    ) -> None:
        name = operation.name
        if name == "scf.for":
            self._loop(operation, known, active)
        elif name == "scf.if":
            self._branch(operation, known, active)
        elif name == "scf.while":
            self.decided = False
            for region in operation.regions:
                for inner, _ in region[0].arguments:
                    known[inner] = None
                self.block(region[0], known, active)
            self._forget(operation, known)
        elif name == "cf.cond_br":
            self._note(known.get(operation.operands[0]), active)
        elif name == "tt.call":
            self._call(operation, known, active)
        elif name == "tt.load":
            known[operation.results[0][0]] = self._load(operation, known, active)
        elif name in ("tt.store", "tt.descriptor_store", "tt.atomic_rmw"):
            self._store(operation, known, active)
            self._forget(operation, known)
        elif name in _OTHER_STORES:
            self.placed = False
            self._forget(operation, known)
        elif len(operation.results) == 1:
            known[operation.results[0][0]] = self._value(operation, known)
        else:
            self._forget(operation, known)

    def _forget(self, operation: Operation, known: dict[str, Array | None]) -> None:
        for name, _ in operation.results:
            known[name] = None

    def _store(self, operation: Operation, known: dict[str, Array | None], active: Array) -> None:
        """Which of its lanes are on, and where they store."""
        self._place(operation, known, active)
        masks = [known.get(n) for n in operation.operands[2:]]
        if operation.name == "tt.store" and masks and masks[0] is None:
            self._note(None, active)
        elif operation.name == "tt.store" and masks and masks[0] is not None:
            lanes = masks[0].reshape(masks[0].shape[0], -1)
            for lane in range(lanes.shape[1]):
                self._note(lanes[:, lane], active)
        else:
            self._note(np.ones(1, bool), active)

    def _place(self, operation: Operation, known: dict[str, Array | None], active: Array) -> None:
        read = [known.get(n) for n in (*operation.operands[:1], *operation.operands[2:3])]
        given = [value for value in read if value is not None]
        placed, self.placed = self.placed, False  # until it is known where this one goes
        if operation.name != "tt.descriptor_store" and len(given) == len(read):
            pointers, *masks = given
            found = store_places(pointers, masks, active, self._numbers.size)
            if found is not None:
                self.stores.append(found)
            self.placed = placed

    def _load(
        self, operation: Operation, known: dict[str, Array | None], active: Array
    ) -> Array | None:
        """A single value, if it lies in memory whose contents are known."""
        _, kind = operation.results[0]
        dtype = DTYPES.get(kind.element)
        read = [known.get(name) for name in operation.operands[:2]]
        if kind.shape is not None or kind.element not in _LOADED or dtype is None:
            return None
        if any(value is None for value in read):
            return None
        pointers, *masks = (np.asarray(value) for value in read)
        shape = np.broadcast_shapes(pointers.shape, active.shape, *(m.shape for m in masks))
        on = np.broadcast_to(active & masks[0] if masks else active, shape)
        addresses = np.broadcast_to(pointers, shape)[on]
        found = np.zeros(shape, dtype)
        if addresses.size:
            low, high = int(addresses.min()), int(addresses.max()) + dtype.itemsize
            if not any(start <= low and high <= end for start, end in self._given):
                return None
            found[on] = memory.read(addresses, dtype.itemsize).view(dtype)
        if len(operation.operands) > 2:
            other = known.get(operation.operands[2])
            if other is None:
                return found if on.all() else None
            found = np.where(on, found, other).astype(dtype)
        return found

    def _branch(self, operation: Operation, known: dict[str, Array | None], active: Array) -> None:
        condition = known.get(operation.operands[0])
        self._note(condition, active)
        ways: list[list[Array | None]] = []
        for number, region in enumerate(operation.regions):
            goes = active
            if condition is not None:
                goes = active & (condition if not number else ~condition)
            ways.append(self.block(region[0], known, goes))
        for place, (name, kind) in enumerate(operation.results):
            values = [way[place] if place < len(way) else None for way in ways]
            known[name] = None
            if condition is not None and len(values) == 2 and None not in map(_known, values):
                yes, no = values
                if yes is not None and no is not None:
                    shaped = condition.reshape(-1, *(1,) * len(kind.shape or ()))
                    known[name] = np.where(shaped, yes, no)

    def _loop(self, operation: Operation, known: dict[str, Array | None], active: Array) -> None:
        low, high, step = (known.get(n) for n in operation.operands[:3])
        block = operation.regions[0][0]
        trips: Array | None = None
        if low is not None and high is not None and step is not None:
            wide = [x.astype(np.int64) for x in (low, high, step)]
            trips = np.maximum(-(-(wide[1] - wide[0]) // np.maximum(wide[2], 1)), 0)
            self._note(np.minimum(trips, 1), active)
            self.work = self.work + np.where(active, trips * self._times, 0)
        self._depth += 1
        runs = active if trips is None else active & (trips > 0)
        times = self._times
        if trips is not None:  # what is inside counts for the first half, and for the last
            self._times = times * np.where(trips > 1, trips / 2, trips)
        if self._depth <= _DEEPEST:
            known[block.arguments[0][0]] = low
            for (name, _), value in zip(block.arguments[1:], operation.operands[3:], strict=True):
                known[name] = known.get(value)
            self.block(block, known, runs)
            if trips is not None and low is not None and step is not None:
                last = (low + (trips - 1) * step).astype(low.dtype)
                known[block.arguments[0][0]] = last
                for name, _ in block.arguments[1:]:
                    known[name] = None
                self.block(block, known, runs & (trips > 1))
        else:
            self.placed = False
        self._times = times
        self._depth -= 1
        self._forget(operation, known)

    def _call(self, operation: Operation, known: dict[str, Array | None], active: Array) -> None:
        self._forget(operation, known)
        for function in self._module.functions.values():
            if f"@{function.name}(" not in operation.text:
                continue
            if self._depth >= _DEEPEST:
                self.placed = False
            else:
                self._depth += 1
                given = {
                    name: known.get(value)
                    for (name, _), value in zip(function.arguments, operation.operands, strict=True)
                }
                found = self.function(function, given, active)
                self._depth -= 1
                for (name, _), value in zip(operation.results, found, strict=False):
                    known[name] = value

    def _value(self, operation: Operation, known: dict[str, Array | None]) -> Array | None:
        """A result from its operands, if these are known."""
        name, kind = operation.name, operation.results[0][1]
        rank = len(kind.shape or ())
        if name == "arith.constant":
            return self._constant(operation, kind)
        if name == "tt.get_program_id":
            axis = "xyz".index(operation.text.split()[1])
            below = 1
            for size in self._grid[:axis]:
                below *= size
            return (self._numbers // below % self._grid[axis]).astype(np.int32)
        if name == "tt.get_num_programs":
            return np.array([self._grid["xyz".index(operation.text.split()[1])]], np.int32)
        if name == "tt.make_range":
            start = int(operation.attributes["start"])
            return (start + self.places(kind.size)).astype(np.int32)[None]
        values = [known.get(n) for n in operation.operands]
        if any(v is None for v in values):
            return None
        found: list[Any] = values
        if name == "tt.splat":
            return np.asarray(found[0].reshape(-1, *(1,) * rank))
        if name == "tt.broadcast":
            return np.asarray(found[0])
        if name == "tt.expand_dims":
            return np.expand_dims(found[0], 1 + int(operation.attributes["axis"]))
        if name == "tt.addptr":
            size = DTYPES[kind.pointee].itemsize
            return np.asarray(found[0] + (found[1].astype(np.int64) * size).view(np.uint64))
        if name in ("arith.cmpi", "arith.cmpf"):
            how = operation.text.split()[1].rstrip(",")
            if name == "arith.cmpi":
                if how[0] == "u" and found[0].dtype.kind == "i":
                    found = [blocks.unsigned_value(v) for v in found]
                return np.asarray(eval(f"a {COMPARED[how]} b", {"a": found[0], "b": found[1]}))
            return np.asarray(eval(ORDERED[how].format("a", "b"),
                                   {"np": np, "a": found[0], "b": found[1]}))  # fmt: skip
        if name in CONVERTED:
            source = {v: k for k, v in DTYPES.items()}[found[0].dtype]
            return np.asarray(blocks.cast(found[0], source, kind.element, CONVERTED[name]))
        if name in BLOCKS:
            if name == "arith.select":
                shape = max((v.ndim for v in found), default=1)
                found[0] = found[0].reshape(*found[0].shape, *(1,) * (shape - found[0].ndim))
            scope = {f"v{i}": v for i, v in enumerate(found)}
            text = BLOCKS[name].format(*scope)
            return np.asarray(eval(text, _SCOPE, scope))
        return None

    def _constant(self, operation: Operation, kind: Type) -> Array | None:
        text = operation.text.partition("arith.constant ")[2].partition(" : ")[0].strip()
        if text.startswith("{"):
            return None
        text = text.removeprefix("dense<").removesuffix(">")
        if text.startswith("["):
            return None
        value = literal(text, kind.element)
        return np.full((1,) * (1 + len(kind.shape or ())), value, DTYPES[kind.element])


def _known(value: Any) -> Any:
    return None if value is None else True
