"""Splits of problems that are the same for everybody, near-duplicates never on both sides.

Benchmarks hold the same computation again and again: a convolution with another activation, the
same module with other sizes. A policy that trained on one would be tested on what it has seen. Two
problems are near-duplicates if the sets of five-token sequences of their texts, without comments
and with every number alike, overlap by `NEAR` (Jaccard's index; Broder, "On the resemblance and
containment of documents", 1997), and groups are what hangs together by that.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Protocol, TypeVar

from triton_gym.errors import InvalidOptionError

NEAR = 0.8
"""Overlap from which on two texts are near-duplicates."""
_LENGTH = 5
_TOKEN = re.compile(
    r'#[^\n]*|"""(?:[^"\\]|\\.|"(?!""))*"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*\'\'\''
    r"|[A-Za-z_]\w*|(?P<number>\d[\w.]*)|[^\s\w]"
)


class Told(Protocol):
    """What can be grouped: it has a key and says what it is."""

    @property
    def suite(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    def text(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=Told)


def split(problems: Iterable[T], test: float = 0.2) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Problems to train on and problems to test on.

    A group goes where a hash of its first key falls, so the split needs no seed, does not depend on
    the order, and keeps nearly all of its sides when a suite grows. Give the problems of several
    suites at once where they share some: MultiKernelBench holds much of KernelBench.

    Args:
        problems: of one suite or of several.
        test: share of groups to test on, 0 to 1.

    Raises:
        InvalidOptionError: the share is none.
    """
    if not 0 <= test <= 1:
        raise InvalidOptionError(f"A share to test on lies between 0 and 1; got {test}.")
    given = tuple(problems)
    sides = {
        (one.suite, one.key): _fraction(group) < test
        for group in groups_of(given) for one in group
    }  # fmt: skip
    return (
        tuple(one for one in given if not sides[one.suite, one.key]),
        tuple(one for one in given if sides[one.suite, one.key]),
    )


def groups_of(problems: Sequence[T]) -> tuple[tuple[T, ...], ...]:
    """The problems, near-duplicates together, in the order of their first."""
    marks = [_sequences(problem.text()) for problem in problems]
    leader = list(range(len(problems)))

    def lead(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for one, other in combinations(range(len(problems)), 2):
        if _near(marks[one], marks[other]):
            low, high = sorted((lead(one), lead(other)))
            leader[high] = low
    found: dict[int, list[T]] = defaultdict(list)
    for index, problem in enumerate(problems):
        found[lead(index)].append(problem)
    return tuple(tuple(group) for group in found.values())


def _near(one: frozenset[int], other: frozenset[int]) -> bool:
    small, large = sorted((len(one), len(other)))
    if not small or small < NEAR * large:
        return one == other
    both = len(one & other)
    return both >= NEAR * (small + large - both)


def _sequences(text: str) -> frozenset[int]:
    tokens = [
        "0" if found["number"] else found[0]
        for found in _TOKEN.finditer(text)
        if not found[0].startswith(("#", '"""', "'''"))
    ]
    return frozenset(
        hash(tuple(tokens[i : i + _LENGTH])) for i in range(max(1, len(tokens) - _LENGTH + 1))
    )


def _fraction(group: Sequence[Told]) -> float:
    first = min(f"{problem.suite}/{problem.key}" for problem in group)
    return int.from_bytes(hashlib.sha256(first.encode()).digest()[:6], "big") / 2**48
