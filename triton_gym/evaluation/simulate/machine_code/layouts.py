"""Which elements of a block a warp's lanes hold, as the compiler laid them out.

A block's accesses are in Triton's IR before machine code, each with its layout. It decides how far
apart in memory the lanes of one request are: where an access cannot be as wide as what a thread
holds in a row (addresses or masks that are not known to be aligned), the words between two lanes'
words are asked for by requests of their own, and each touches all the lines.

Source: Triton's `TritonGPUAttrDefs.td` and `LinearLayoutConversions.cpp`, for the layouts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from triton_gym.evaluation.simulate.interpreter.locations import Locations

_KINDS = {
    "tt.load": "load", "ttg.async_copy_global_to_local": "load", "tt.store": "store",
    "tt.atomic_rmw": "atomic",
}  # fmt: skip
_ACCESS = re.compile(r"^\s*(?:%[\w#:]+ = )?(" + "|".join(map(re.escape, _KINDS)) + r") ")
_POINTERS = re.compile(r"tensor<((?:\d+x)+)!tt\.ptr<[^>]*>, (.*)$")
_ALIAS = re.compile(r"^(#\w+) = (#ttg\.\w+<.*>)$", re.MULTILINE)
_LIST = re.compile(r"(\w+) = \[([\d, \[\]]*)\]")
_SLICE = re.compile(r"#ttg\.slice<\{dim = (\d+), parent = (.*?)\}>")
_MATRIX_LANES = ((0, 2), (0, 4), (1, 0), (2, 0), (4, 0))
"""Of results of matrix products: eight rows of four lanes, each of which has two elements."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a warp holds a block."""

    run: tuple[int, ...]
    """Elements that a thread holds in a row, for each axis."""
    lanes: tuple[tuple[int, ...], ...]
    """For each bit of the lane's number how far it moves along each axis."""


@dataclass(frozen=True, slots=True)
class Held:
    """One access of a kernel's IR."""

    kind: str
    """`load`, `store` or `atomic`."""
    line: int
    """Of the answer."""
    shape: tuple[int, ...]
    """Of the block."""
    layout: Layout

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Held:
        """The access that a JSON record describes."""
        held = record["layout"]
        layout = Layout(tuple(held["run"]), tuple(tuple(bit) for bit in held["lanes"]))
        return cls(record["kind"], record["line"], tuple(record["shape"]), layout)


@lru_cache(256)
def accesses_of(text: str) -> tuple[Held, ...]:
    """The accesses of a kernel through pointers, with their layouts; unknown ones are left out.

    Args:
        text: the kernel in Triton's `ttgir`, with locations.
    """
    places, named = Locations(text), dict(_ALIAS.findall(text))
    found = []
    for row in text.splitlines():
        access = _ACCESS.match(row)
        if access is None:
            continue
        body, line = places.strip(row)
        pointers = _POINTERS.search(body)
        if pointers is None or not line:
            continue
        shape = tuple(int(n) for n in pointers[1].split("x") if n)
        layout = _layout(pointers[2], shape, named)
        if layout is not None:
            found.append(Held(_KINDS[access[1]], line, shape, layout))
    return tuple(found)


def layout_of(name: str, shape: Sequence[int], text: str) -> Layout | None:
    """A block's layout by its name, such as `#blocked`; None if it is not known.

    Args:
        name: of the layout.
        shape: of the block.
        text: the kernel in Triton's `ttgir`.
    """
    return _layout(name, shape, dict(_ALIAS.findall(text)))


def _layout(text: str, shape: Sequence[int], named: Mapping[str, str]) -> Layout | None:
    """The layout that a type's text begins with.

    Args:
        text: e.g. `#blocked>` or `#ttg.slice<{dim = 1, parent = #blocked}>>`.
        shape: of the block.
        named: the layouts that have names.
    """
    if text.startswith("#ttg.slice"):
        found = _SLICE.match(text)
        if found is None:
            return None
        axis = int(found[1])
        outer = _layout(found[2], [*shape[:axis], 1 << 30, *shape[axis:]], named)
        if outer is None or len(outer.run) <= axis:
            return None
        return Layout(_without(outer.run, axis), tuple(_without(b, axis) for b in outer.lanes))
    name = re.match(r"#\w+", text)
    whole = named.get(name[0], text) if name else text
    if whole != text and whole.startswith("#ttg.slice"):
        return _layout(whole, shape, named)
    lists = {key: _numbers(value) for key, value in _LIST.findall(whole)}
    rank = len(shape)
    if whole.startswith("#ttg.blocked"):
        run, lanes = lists["sizePerThread"], list(_spread(lists))
    elif whole.startswith("#ttg.nvidia_mma") and rank == 2:
        run, lanes = [1, 2], [list(bit) for bit in _MATRIX_LANES]
    elif whole.startswith("#ttg.linear"):
        held = re.search(r"register = \[(.*?)\], lane = \[(.*?)\], warp", whole)
        if held is None:
            return None
        registers, lanes = ([_numbers(one) for one in re.findall(r"\[([\d, ]+)\]", part)]
                            for part in held.groups())  # fmt: skip
        run = _runs(registers, rank)
    else:
        return None
    if len(run) != rank or any(len(bit) != rank for bit in lanes):
        return None
    # Where a block is smaller than the threads' pattern, lanes hold the same elements.
    return Layout(
        tuple(min(r, n) for r, n in zip(run, shape, strict=True)),
        tuple(
            tuple(step if step < n else 0 for step, n in zip(bit, shape, strict=True))
            for bit in lanes
        ),
    )


def _spread(lists: Mapping[str, list[int]]) -> Iterator[list[int]]:
    """The bits of a lane's number in a blocked layout, the fastest axis first."""
    for axis in lists["order"]:
        step = 1
        while step < lists["threadsPerWarp"][axis]:
            bit = [0] * len(lists["order"])
            bit[axis] = step * lists["sizePerThread"][axis]
            yield bit
            step *= 2


def _runs(registers: Sequence[Sequence[int]], rank: int) -> list[int]:
    """Elements that a thread holds in a row along each axis."""
    run = [1] * rank
    for axis in range(rank):
        while [run[axis] * (d == axis) for d in range(rank)] in [list(r) for r in registers]:
            run[axis] *= 2
    return run


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def _without(values: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*values[:axis], *values[axis + 1 :])
