"""Inputs and the reference's results that a judge keeps between evaluations.

Drawing inputs and computing what they lead to takes longer than timing an answer on them. No answer
has seen what another one was given, for each has a process of its own, so a judge may give the same
inputs again, to another. An evaluation sees each block once at most, in an order of its own, and
some sets are drawn anew whenever a block is taken up, so that none stays what it was.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.evaluation.exchange.arena import Layout, Slot, put, rows_of, view
from triton_gym.evaluation.trees import Leaf, assemble, flatten

RENEWED = 0.1
"""Share of a block's sets that are drawn anew whenever it is taken up."""
LARGEST_SHARE = 0.35
"""Most of a pool's memory that one block may take: a single one would serve one round in many."""


class Places:
    """Where the arguments and results of some calls lie: all arguments, then all results.

    Args:
        arguments: the tensors among the arguments of one call.
        results: those of its result, which lie contiguous.
        count: calls.
    """

    def __init__(
        self, arguments: Sequence[Leaf], results: Sequence[Leaf], count: int
    ) -> None:  # fmt: skip
        layout = Layout()
        self.arguments: list[tuple[Slot, ...]] = [
            tuple(layout.place(x.shape, x.dtype, x.stride) for x in arguments) for _ in range(count)
        ]
        self.first_result = layout.end
        self.results: list[tuple[Slot, ...]] = [
            tuple(layout.place(x.shape, x.dtype) for x in results) for _ in range(count)
        ]
        self.end = layout.end
        self._set_bytes = self.first_result // count
        self._pitch = (self.end - self.first_result) // count

    @property
    def set_bytes(self) -> int:
        """Size of one call's arguments and results."""
        return self._set_bytes + self._pitch

    def arguments_of(self, calls: range) -> slice:
        """The bytes of the arguments of neighbouring calls."""
        return slice(calls.start * self._set_bytes, calls.stop * self._set_bytes)

    def results_of(self, calls: range) -> slice:
        """The bytes of their results."""
        first = self.first_result
        return slice(first + calls.start * self._pitch, first + calls.stop * self._pitch)

    def together(self, block: torch.Tensor, calls: range, start: int) -> list[torch.Tensor]:
        """Each result of neighbouring calls as one tensor, calls first.

        Args:
            block: bytes, of which the first is that at `start`.
            calls: which.
            start: place of the block's first byte.
        """
        slots = self.results[calls.start]
        return [rows_of(block, slot.moved(-start), self._pitch, len(calls)) for slot in slots]


class InputBlock:
    """Sets of arguments and results on the device, placed as in the memory that workers share.

    Args:
        places: where they lie.
        count: sets; the first ones of those that have places.
        device: the GPU.
    """

    def __init__(self, places: Places, count: int, device: torch.device) -> None:
        self._places = places
        every = range(count)
        self._arguments = _bytes(places.arguments_of(every), device)
        self._results = _bytes(places.results_of(every), device)
        self.sets: list[tuple[Any, ...]] = [() for _ in every]
        """Arguments of each call; tensors are views of the block."""
        self._ages = collections.deque(every)

    @property
    def bytes(self) -> int:
        """What the block takes."""
        return self._arguments.numel() + self._results.numel()

    @property
    def oldest(self) -> int:
        """The set that was drawn longest ago, which then counts as the youngest."""
        self._ages.rotate(-1)
        return self._ages[-1]

    def put(
        self, index: int, arguments: tuple[Any, ...], results: tuple[torch.Tensor, ...]
    ) -> None:
        """Fill a set."""
        tensors, tree = flatten(arguments)
        slots = zip(self._places.arguments[index], tensors, strict=True)
        copies = [put(view(self._arguments, slot), tensor) for slot, tensor in slots]
        self.sets[index] = assemble(tree, iter(copies))
        first = self._places.first_result
        for slot, result in zip(self._places.results[index], results, strict=True):
            view(self._results, slot.moved(-first)).copy_(result)

    def arguments(self, calls: range) -> torch.Tensor:
        """The bytes of the arguments of neighbouring calls."""
        return self._arguments[self._places.arguments_of(calls)]

    def expected(self, calls: range) -> list[torch.Tensor]:
        """Each result of neighbouring calls as one tensor, calls first."""
        return self._places.together(self._results, calls, self._places.first_result)


@dataclass(eq=False, slots=True)
class _Kept:
    """A block of the input pool."""

    block: InputBlock
    users: int = 0
    closed: bool = False
    """Whether its only user is changing it, or failed to."""


class InputPool:
    """All blocks of a judge; of the least used tasks they are given up first.

    Args:
        capacity: bytes of device memory for all of them.
        free: bytes of device memory that nobody has; half of it stays free.
    """

    def __init__(self, capacity: int, free: Callable[[], int]) -> None:
        self._capacity, self._free = capacity, free
        self._held = 0
        self._kept: collections.OrderedDict[object, list[_Kept]] = collections.OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def lend(
        self, key: object, size: int, make: Callable[[], InputBlock],
        renew: Callable[[InputBlock], None], seen: set[InputBlock],
    ) -> Iterator[InputBlock | None]:  # fmt: skip
        """A block that this evaluation has not had; None if there is no memory for another.

        Evaluations that run at once may have the same one, rather than that others' are given up.

        Args:
            key: what the blocks are of: task and number of calls.
            size: bytes of one.
            make: makes one, all of its sets drawn.
            renew: draws some of its sets anew, while nobody else has it.
            seen: the blocks that this evaluation has had; the one that is lent is added.
        """
        with self._lock:
            kept = self._resting(key, seen)
            room = kept is None and self._make_room(key, size, others=False)
            if kept is None and not room:
                kept = self._busy(key, seen)
            # Where each task comes once, as in training, what is held is of tasks that are over.
            room = room or (kept is None and self._make_room(key, size, others=True))
            if kept:
                kept.users += 1
                kept.closed = kept.users == 1
        if room:
            kept = self._added(key, size, make)
        if kept is None:
            yield None
            return
        seen.add(kept.block)
        try:
            if kept.closed:
                renew(kept.block)
                kept.closed = False
            yield kept.block
        finally:
            with self._lock:
                kept.users -= 1
                if kept.closed:  # it may hold arguments and results that do not belong together
                    self._kept[key].remove(kept)
                    self._held -= kept.block.bytes

    def clear(self) -> None:
        """Give up all blocks that nobody has."""
        with self._lock:
            for key in list(self._kept):
                self._give_up(key)

    def _give_up(self, key: object) -> None:
        for kept in [kept for kept in self._kept[key] if not kept.users]:
            self._kept[key].remove(kept)
            self._held -= kept.block.bytes
        if not self._kept[key]:
            del self._kept[key]

    def _resting(self, key: object, seen: set[InputBlock]) -> _Kept | None:
        """The block that nobody has had for longest."""
        if key in self._kept:
            self._kept.move_to_end(key)
        every = self._kept.get(key, [])
        for kept in every:
            if not kept.users and kept.block not in seen:
                every.remove(kept)
                every.append(kept)
                return kept
        return None

    def _busy(self, key: object, seen: set[InputBlock]) -> _Kept | None:
        """The one that fewest have."""
        lent = [k for k in self._kept.get(key, ()) if not k.closed and k.block not in seen]
        return min(lent, key=lambda kept: kept.users, default=None)

    def _make_room(self, key: object, size: int, *, others: bool) -> bool:
        """Count `size` bytes more as held; False if that fails.

        Args:
            key: what they are for.
            size: bytes.
            others: whether to give up blocks of other tasks for it.
        """
        if size > self._capacity * LARGEST_SHARE:
            return False
        for other in list(self._kept) if others else ():
            if self._held + size <= self._capacity:
                break
            if other != key:
                self._give_up(other)
        if self._held + size > self._capacity or 2 * size > self._free():
            return False
        self._held += size
        return True

    def _added(self, key: object, size: int, make: Callable[[], InputBlock]) -> _Kept | None:
        """A new block, for which there is room; None if there is not, after all."""
        kept = None
        try:
            kept = _Kept(make(), users=1)
        except torch.cuda.OutOfMemoryError:  # others took it meanwhile
            pass
        finally:
            with self._lock:
                if kept:
                    self._kept.setdefault(key, []).append(kept)
                else:
                    self._held -= size
        return kept


def _bytes(there: slice, device: torch.device) -> torch.Tensor:
    return torch.empty(there.stop - there.start, dtype=torch.uint8, device=device)
