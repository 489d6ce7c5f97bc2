"""Atomic operations, lane after lane where several go to one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.blocks import unsigned
from triton_gym.evaluation.simulate.interpreter.formats import Array
from triton_gym.evaluation.simulate.interpreter.memory import read, write

_FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "fadd": np.add, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "max": np.maximum, "min": np.minimum,
    "umax": lambda old, new: unsigned(np.maximum, old, new),
    "umin": lambda old, new: unsigned(np.minimum, old, new),
    "exch": lambda old, new: new, "xchg": lambda old, new: new,
}  # fmt: skip


def exchange(how: str, addresses: Array, values: Array, expected: Array | None = None) -> Array:
    """Change values in memory one after the other, in the order of the lanes.

    Args:
        how: MLIR's name of the operation, or `cas`.
        addresses: flat.
        values: as many, operands of the operation.
        expected: for `cas`, what must lie there.

    Returns:
        What each lane found.

    Raises:
        NotImplementedError: the operation is not known.
    """
    if how != "cas" and how not in _FUNCTIONS:
        raise NotImplementedError(f"The interpreter does not know the atomic operation {how}.")
    old = np.zeros(values.shape, values.dtype)
    for lanes in _rounds(addresses):
        at = addresses[lanes]
        found = read(at, values.itemsize).view(values.dtype)
        old[lanes] = found
        new: Any = values[lanes]
        if expected is not None:
            same = _bits(found) == _bits(expected[lanes])
            new = np.where(same, _bits(new), _bits(found)).view(values.dtype)
        else:
            new = np.asarray(_FUNCTIONS[how](found, new)).astype(values.dtype)
        write(at, _bits(np.ascontiguousarray(new)))
    return old


def _bits(data: Array) -> Array:
    return data.view(f"u{data.dtype.itemsize}")


def _rounds(addresses: Array) -> list[Any]:
    """Lanes that may go at once: of those with equal addresses one in each round."""
    order = np.argsort(addresses, kind="stable")
    ordered = addresses[order]
    fresh = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    if fresh.all():
        return [slice(None)]
    firsts = np.flatnonzero(fresh)
    rank = np.arange(order.size) - np.repeat(firsts, np.diff([*firsts, order.size]))
    return [order[rank == turn] for turn in range(int(rank.max()) + 1)]
