"""How many bytes of a reference's tensors its results are made of, found without values.

A bound by memory counts what has to be read. That is less than all there is where the reference
does not use an argument, looks rows up in a table, or drops what it computed: an answer that
rightly reads less would otherwise be faster than the speed of light.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from triton_gym.evaluation.simulate.time_model.eager.tensors import spanned_bytes, tensors_of

_LOOKUPS = frozenset(
    {
        torch.ops.aten.embedding, torch.ops.aten.gather, torch.ops.aten.index,
        torch.ops.aten.index_select, torch.ops.aten.take,
    }
)  # fmt: skip
"""Operators that read no more elements of their first argument than they return."""


class _Read(NamedTuple):
    """A part of a tensor that an operator read."""

    number: int
    place: tuple[int, ...]
    """Offset, sizes and strides, so that what is read twice counts once. Several lookups in a table
    count as the largest of them: they may be of the same rows."""
    bytes: int


class Reading(TorchDispatchMode):
    """While it is active, notes what every value is made of.

    Args:
        tensors: whose bytes are counted.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes = [spanned_bytes(t) for t in tensors]
        self._numbers = {_storage(t): number for number, t in enumerate(tensors)}
        self._made_of: dict[int, set[_Read]] = defaultdict(set)
        self._alive: list[torch.Tensor] = list(tensors)
        """The address of memory that was freed would be another's."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given, made = tensors_of((args, kwargs)), tensors_of(out)
        self._alive += made
        memory = {_storage(t) for t in given}
        written = _written(func, args, kwargs)
        if not written and all(_storage(t) in memory for t in made):
            return out  # a view of what is known
        most = sum(map(spanned_bytes, made)) if func.overloadpacket in _LOOKUPS else None
        found: set[_Read] = set()
        for index, tensor in enumerate(given):
            found |= self._made_of[_storage(tensor)]
            if (number := self._numbers.get(_storage(tensor))) is not None:
                size = (
                    spanned_bytes(tensor)
                    if most is None or index
                    else min(most, spanned_bytes(tensor))
                )
                place = (tensor.storage_offset(), *tensor.shape, *tensor.stride())
                found.add(_Read(number, place, size))
        for tensor in (*made, *written):
            self._made_of[_storage(tensor)] |= found
        return out

    def bytes(self, results: Iterable[torch.Tensor]) -> int:
        """Bytes of the tensors that the results are made of."""
        reads: set[_Read] = set()
        for result in results:
            reads |= self._made_of[_storage(result)]
            if (number := self._numbers.get(_storage(result))) is not None:
                reads.add(_Read(number, (), spanned_bytes(result)))  # it is handed through
        parts: dict[tuple[int, tuple[int, ...]], int] = defaultdict(int)
        for read in reads:
            parts[read.number, read.place] = max(parts[read.number, read.place], read.bytes)
        total: dict[int, int] = defaultdict(int)
        for (number, _), size in parts.items():
            total[number] += size
        return sum(min(size, self._sizes[number]) for number, size in total.items())


def _written(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that an operator writes."""
    changed = [
        args[index] if index < len(args) else kwargs.get(argument.name)
        for index, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return tensors_of(changed)


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
