"""Splits of problems that are the same for everybody, near-duplicates never on both sides.

Benchmarks hold the same computation again and again: a convolution with another activation, the
same module with other sizes. A policy that trained on one would be tested on what it has seen. Two
problems are near-duplicates if the sets of five-token sequences of their texts overlap by `NEAR`
(Jaccard's index; Broder, "On the resemblance and containment of documents", 1997), and groups are
what hangs together by that. The sets are without comments and docstrings and with every number
alike. They are made twice, and one overlap is enough: of the text as it is, and of its functions
one by one with names of its own numbered, so that neither order nor names tell twins apart.
"""

from __future__ import annotations

import builtins
import hashlib
import keyword
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Protocol, TypeVar

from triton_gym.errors import InvalidOptionError, InvalidTaskError

NEAR = 0.8
"""Overlap from which on two texts are near-duplicates."""
NEAR_NUMBERED = 0.9
"""The same where names are numbered, which leaves less to tell texts apart by."""
READ = 1 << 17
"""So many characters of a text are looked at."""
_LENGTH = 5
_TOKEN = re.compile(
    r"#[^\n]*"
    r'|(?P<long>[rbufRBUF]{0,2}(?:"""(?:[^"\\]|\\[\s\S]|"(?!""))*"""|'
    r"'''(?:[^'\\]|\\[\s\S]|'(?!''))*'''))"
    r'|(?P<text>[rbufRBUF]{0,2}(?:"(?:[^"\\\n]|\\[\s\S])*"|'
    r"'(?:[^'\\\n]|\\[\s\S])*'))"
    r"|(?P<name>[^\W\d]\w*)|(?P<number>\d[\w.]*)|[^\s\w]"
)
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+([^\n#]+)", re.MULTILINE)
_KEPT = {*keyword.kwlist, *dir(builtins)}


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

    A group goes where a hash of what it computes falls, so the split needs no seed and does not
    depend on the order or on keys. Problems that are added or taken away change no other group's
    side; twins that differ in names, order, sizes and comments alone leave their own where it is.
    A merely similar one may move its group. Give the problems of several
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
    marks = [_marks_of(problem) for problem in problems]
    leader = list(range(len(problems)))

    def lead(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for one, other in combinations(range(len(problems)), 2):
        if marks[one].near(marks[other]):
            low, high = sorted((lead(one), lead(other)))
            leader[high] = low
    found: dict[int, list[T]] = defaultdict(list)
    for index, problem in enumerate(problems):
        found[lead(index)].append(problem)
    return tuple(tuple(group) for group in found.values())


def _near(one: frozenset[int], other: frozenset[int], least: float = NEAR) -> bool:
    small, large = sorted((len(one), len(other)))
    if not small or small < least * large:
        return one == other
    both = len(one & other)
    return both >= least * (small + large - both)


@dataclass(frozen=True, slots=True)
class _Marks:
    """What texts are compared by."""

    plain: frozenset[int]
    own: frozenset[int]
    """Functions one by one, names of the text's own numbered; empty if it defines none."""
    digest: str
    """Of the latter, the same in every process."""

    def near(self, other: _Marks) -> bool:
        """Whether the texts are near-duplicates."""
        if self.digest == other.digest or _near(self.plain, other.plain):
            return True
        return bool(self.own and other.own) and _near(self.own, other.own, NEAR_NUMBERED)


def _marks_of(problem: Told) -> _Marks:
    try:
        return _marks(problem.text()[:READ])
    except InvalidTaskError:  # told when it is loaded, which fails alike; it is like no other
        return _marks(f"{problem.suite} {problem.key}")


@lru_cache(maxsize=2048)
def _marks(text: str) -> _Marks:
    tokens, parts = _parts(text)
    defines = "def" in tokens
    if not defines:  # e.g. an operator's name, which is all that there is to go by
        parts = [tokens]
    own = frozenset().union(*map(_sequences, parts)) if defines else frozenset()
    ordered = "\n".join(sorted(" ".join(part) for part in parts))
    digest = hashlib.sha256(ordered.encode("utf-8", "surrogatepass")).hexdigest()
    return _Marks(_sequences(tokens), own, digest)


def _parts(text: str) -> tuple[list[str], list[list[str]]]:
    """All tokens; and by function or statement at the margin, with names numbered in each."""
    known = _imported(text)
    tokens: list[str] = []
    parts: list[list[str]] = [[]]
    names: dict[str, str] = {}
    before = owner = ""
    for found in _TOKEN.finditer(text):
        token, kind = found[0], found.lastgroup
        if kind == "long" or token[0] == "#":
            continue
        start = found.start()
        if kind == "text" and not text[text.rfind("\n", 0, start) + 1 : start].strip():
            continue  # a docstring
        margin = start and text[start - 1] == "\n" and token not in ")]}"
        if margin or token == "def":
            parts.append([])
            names = {}
        shown = token = "0" if kind == "number" else token
        if kind == "name" and token not in _KEPT:
            if before != ".":
                shown = known.get(token) or names.setdefault(token, f"v{len(names)}")
            elif owner == "self":
                shown = names.setdefault(f"self.{token}", f"v{len(names)}")
        owner, before = before, token
        tokens.append(token)
        parts[-1].append(shown)
    return tokens, [part for part in parts if part]


def _imported(text: str) -> dict[str, str]:
    """What names that are imported stand for."""
    found = {}
    for origin, names in _IMPORT.findall(text):
        for one in names.strip("() \t\r").split(","):
            name, _, alias = one.strip().partition(" as ")
            found[alias.strip() or name.partition(".")[0]] = f"{origin}:{name.strip()}"
    return found


def _sequences(tokens: Sequence[str]) -> frozenset[int]:
    if len(tokens) < _LENGTH:
        return frozenset((hash(tuple(tokens)),))
    return frozenset(map(hash, zip(*(tokens[i:] for i in range(_LENGTH)), strict=False)))


def _fraction(group: Sequence[Told]) -> float:
    first = min(_marks_of(problem).digest for problem in group)
    return int(hashlib.sha256(first.encode()).hexdigest()[:12], 16) / 2**48
