"""Which programs of a launch store at the same places, told from some lanes of each store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class StorePlaces:
    """Where each program stores by one operation, or by one iteration of it that was looked at."""

    low: int
    """The least address of all."""
    high: int
    """The largest."""
    name: Array
    """For each program a number that is another one where addresses differ (`uint64`)."""
    on: Array
    """Whether a program was seen to store by it."""


def store_places(
    pointers: Array, masks: list[Array], active: Array, programs: int
) -> StorePlaces | None:
    """What the looked-at lanes of a store say.

    Args:
        pointers: addresses, programs along the first axis, then lanes; 1 stands for all.
        masks: of the store, if it has one, in a shape that fits.
        active: programs that come there.
        programs: how many there are.

    Returns:
        None where no program stores.
    """
    lanes = np.broadcast_shapes(pointers.shape[1:], *(m.shape[1:] for m in masks))
    on = np.broadcast_to(active.reshape(-1, *(1,) * len(lanes)), (programs, *lanes))
    for mask in masks:
        on = on & mask
    addresses = np.broadcast_to(pointers.view(np.uint64), (programs, *lanes))
    on, addresses = on.reshape(programs, -1), addresses.reshape(programs, -1)
    if not on.any():
        return None
    name = np.zeros(programs, np.uint64)
    for lane in range(on.shape[1]):
        here = np.where(on[:, lane], addresses[:, lane], np.uint64(1))
        mixed = (name ^ here) * _MIX
        name = mixed ^ (mixed >> np.uint64(29))
    stored = addresses[on]
    return StorePlaces(int(stored.min()), int(stored.max()), name, np.asarray(on.any(axis=1)))


def apart(stores: Sequence[StorePlaces], low: int, high: int, members: Array) -> float:
    """Share of some programs that is left if of those that store at the same places one counts.

    A program of which no looked-at lane stores counts as one that nobody repeats.

    Args:
        stores: of the launch, all of them.
        low: start of a buffer.
        high: end of it.
        members: the programs, as places in the arrays of the stores.
    """
    name, seen = np.zeros(members.size, np.uint64), np.zeros(members.size, bool)
    for store in stores:
        if store.high < low or store.low >= high:
            continue
        mixed = (name ^ np.where(store.on, store.name, np.uint64(3))[members]) * _MIX
        name = mixed ^ (mixed >> np.uint64(29))
        seen |= store.on[members]
    if not seen.any():
        return 1.0
    return (int(np.unique(name[seen]).size) + int((~seen).sum())) / members.size
