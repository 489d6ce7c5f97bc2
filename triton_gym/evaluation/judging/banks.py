"""Inputs and the reference's results that a judge keeps between evaluations.

Drawing inputs and computing what they lead to takes longer than timing an answer on them. No answer
has seen what another one was given, for each has a process of its own, so a judge may give the same
inputs again, to another. An evaluation sees each bank once at most, in an order of its own, and
some of its sets are drawn anew every time, so that a bank never stays what it was.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from triton_gym.evaluation.exchange.arena import Layout, Slot, rows_of, view

RENEWED = 0.1
"""Share of a bank's sets that are drawn anew whenever it is lent."""


class Places:
    """Where the arguments and results of some calls lie in a block: all arguments come first.

    Args:
        arguments: of one call, as an example.
        results: shape and dtype of each result of a call.
        count: calls.
    """

    def __init__(
        self, arguments: tuple[Any, ...], results: tuple[tuple[tuple[int, ...], str], ...],
        count: int,
    ) -> None:  # fmt: skip
        layout = Layout()
        self.arguments: list[tuple[Slot | None, ...]] = [
            tuple(layout.like(x) if isinstance(x, torch.Tensor) else None for x in arguments)
            for _ in range(count)
        ]
        self._set_bytes = layout.end // count
        self._first_result = layout.end
        self.results: list[tuple[Slot, ...]] = [
            tuple(layout.place(shape, dtype) for shape, dtype in results) for _ in range(count)
        ]
        self._pitch = (layout.end - self._first_result) // count
        self.end = layout.end

    def arguments_of(self, calls: range) -> slice:
        """The bytes of the arguments of neighbouring calls."""
        return slice(calls.start * self._set_bytes, calls.stop * self._set_bytes)

    def results_of(self, calls: range) -> slice:
        """The bytes of their results."""
        first = self._first_result
        return slice(first + calls.start * self._pitch, first + calls.stop * self._pitch)

    def together(self, block: torch.Tensor, calls: range, start: int = 0) -> list[torch.Tensor]:
        """Each result of neighbouring calls as one tensor, calls first.

        Args:
            block: bytes, of which the first is that at `start`.
            calls: which.
            start: place of the block's first byte.
        """
        slots = self.results[calls.start]
        return [rows_of(block, slot.moved(-start), self._pitch, len(calls)) for slot in slots]


class Bank:
    """Sets of arguments and results on the device, laid out as what a worker shares.

    Args:
        places: where they lie.
        count: sets.
        device: the GPU.
    """

    def __init__(self, places: Places, count: int, device: torch.device) -> None:
        self.places = places
        self.block = torch.empty(places.end, dtype=torch.uint8, device=device)
        self.sets: list[tuple[Any, ...]] = [() for _ in range(count)]
        """Arguments of each call; tensors are views of the block."""
        self._ages = collections.deque(range(count))

    @property
    def oldest(self) -> int:
        """The set that was drawn longest ago, which then counts as the youngest."""
        self._ages.rotate(-1)
        return self._ages[-1]

    def put(
        self, index: int, arguments: tuple[Any, ...], results: tuple[torch.Tensor, ...]
    ) -> None:
        """Fill a set."""
        self.sets[index] = tuple(
            view(self.block, slot).copy_(value) if slot else value
            for slot, value in zip(self.places.arguments[index], arguments, strict=True)
        )
        for slot, result in zip(self.places.results[index], results, strict=True):
            view(self.block, slot).copy_(result)


class Vault:
    """All banks of a judge; of the least used tasks they are given up first.

    Args:
        capacity: bytes of device memory for all of them.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held = 0
        self._banks: collections.OrderedDict[object, list[Bank]] = collections.OrderedDict()
        self._lent: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def lend(
        self, key: object, size: int, make: Callable[[], Bank], seen: set[int]
    ) -> Iterator[Bank | None]:
        """A bank that is nobody else's meanwhile; None if there is no memory for another.

        Args:
            key: what the banks are of: task, parameters, number of calls.
            size: bytes of one.
            make: makes one, all of its sets still to be drawn.
            seen: ids of the banks that this evaluation has had; the one that is lent is added.
        """
        with self._lock:
            bank = self._free(key, seen)
            room = bank is None and self._make_room(key, size)
            if bank is not None:
                self._lent.add(id(bank))
        if room:
            try:
                bank = make()
            except BaseException:
                with self._lock:
                    self._held -= size
                raise
            with self._lock:
                self._banks.setdefault(key, []).append(bank)
                self._lent.add(id(bank))
        if bank is None:
            yield None
            return
        seen.add(id(bank))
        try:
            yield bank
        finally:
            with self._lock:
                self._lent.discard(id(bank))

    def _free(self, key: object, seen: set[int]) -> Bank | None:
        banks = self._banks.get(key, [])
        if banks:
            self._banks.move_to_end(key)
        for bank in banks:
            if id(bank) not in self._lent and id(bank) not in seen:
                banks.remove(bank)  # the one that rested longest is next
                banks.append(bank)
                return bank
        return None

    def _make_room(self, key: object, size: int) -> bool:
        """Count `size` bytes more as held, giving up others' banks for it; False if that fails."""
        for other in list(self._banks):
            if self._held + size <= self._capacity:
                break
            idle = [b for b in self._banks[other] if id(b) not in self._lent]
            if other == key:
                continue
            for bank in idle:
                self._banks[other].remove(bank)
                self._held -= bank.places.end
            if not self._banks[other]:
                del self._banks[other]
        if self._held + size > self._capacity:
            return False
        self._held += size
        return True
