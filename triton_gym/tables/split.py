"""Which shapes an agent is trained on, and which it is tested on."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from triton_gym.errors import unknown
from triton_gym.tables.table import Table
from triton_gym.task import Case

SPLITS = ("complete", "all", "train", "test", "inside", "largest")
"""`complete`: shapes on which every configuration of the space was tried, so that no action lies
outside; all, if there is none. `train` and `test` as the table's card says, or `inside`'s;
`inside`: one shape in four, chosen by a hash, is for testing; `largest`: the largest third is.
Beside them `without:N`: all cases but the one of that index."""


def chosen(table: Table, split: str, *, held_out: bool = False) -> tuple[int, ...]:
    """The cases of a split, by index.

    Args:
        table: whose.
        split: one of `SPLITS`. Of `inside` and `largest` the cases to train on are meant, or with
            `held_out` those to test on.

    Raises:
        InvalidOptionError: there is no such split.
    """
    every = range(len(table.cases))
    name, _, index = split.partition(":")
    if name == "without" and index.isdecimal() and int(index) in every:
        return tuple(i for i in every if i != int(index))
    if split not in SPLITS:
        raise unknown("split", split, [*SPLITS, "without:N"])
    if split == "complete":
        space = math.prod(map(len, table.knobs.values()))
        whole = tuple(i for i in every if int(table.present[i].sum()) == space)
        return whole or tuple(every)
    if split == "all":
        return tuple(every)
    if split in ("train", "test"):
        held = _held(table)
        return tuple(i for i in every if (i in held) == (split == "test"))
    held = _largest(table.cases) if split == "largest" else _inside(table.cases)
    return tuple(i for i in every if (i in held) == held_out)


def _held(table: Table) -> frozenset[int]:
    named = table.card.get("test_cases")
    if named is None:
        return _inside(table.cases)
    return frozenset(i for i, case in enumerate(table.cases) if str(case) in set(named))


def _inside(cases: Sequence[Case]) -> frozenset[int]:
    """One in four by a hash of its name: the same wherever a shape appears."""
    return frozenset(i for i, case in enumerate(cases) if zlib.crc32(str(case).encode()) % 4 == 0)


def _largest(cases: Sequence[Case]) -> frozenset[int]:
    volumes = [math.prod(case.sizes.values()) for case in cases]
    order = sorted(range(len(cases)), key=volumes.__getitem__)
    return frozenset(order[len(cases) - len(cases) // 3 :])
