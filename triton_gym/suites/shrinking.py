"""A problem's other sizes: small enough for the interpreter, or for tests on a GPU.

A size shrinks by halving; what is small already stays, since kernel sizes, strides, groups and
heads mean something. Whether the reference bears some sizes is found by running it: for small ones
that takes a millisecond, and elements are counted first.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from triton_gym.evaluation.modules import build
from triton_gym.suites.shapes import (
    Form,
    counted,
    followed_elements,
    given_elements,
    input_elements,
    patiently_followed,
)
from triton_gym.task import Case, Kind

TINY_ELEMENTS = 1 << 15
"""Most elements of inputs, parameters and results that the interpreter is given, where a problem
has shapes as small."""
VARIANTS = 3
"""Further shapes for the interpreter, with one size halved or doubled."""
RUN_ELEMENTS = 1 << 24
"""Most elements of the inputs of a reference that is run to see whether it does."""
SMALL_INPUTS = 1 << 19
"""Most elements of inputs that a reference gets through in a second or two, whatever it is."""
_KEPT = (16, 8, 4, 3, 2, 1)
"""Sizes up to one of these stay when others shrink."""


@dataclass(frozen=True, slots=True)
class Small:
    """The smallest cases of a problem."""

    cases: tuple[Case, ...]
    """One and its variants."""
    elements: int
    """Of the first: inputs, parameters, results."""
    others: tuple[Case, ...] = ()
    """Larger ones, to try where by these nothing can be judged; the smallest first."""

    @property
    def tiny(self) -> bool:
        """Whether the interpreter is given no more than it is meant for."""
        return self.elements <= TINY_ELEMENTS


def shrink(form: Form, bench: Case) -> Small | None:
    """The largest case with at most `TINY_ELEMENTS` and its variants, else a small one that runs.

    None if the reference runs at none of the sizes tried.
    """
    search = _Search(form, bench)
    if (elements := search.elements(bench)) is not None and elements <= TINY_ELEMENTS:
        return Small((bench, *search.variants(bench)), elements)
    rest: list[Case] = []
    for kept in _KEPT:
        if (found := search.largest(halved(bench, kept), rest)) is not None:
            elements = search.elements(found) or 0
            return Small((found, *search.variants(found)), elements, _larger(form, bench, kept))
    for case in search.too_large(bench, rest):
        if (elements := search.counted(case)) is not None:
            return Small((case,), elements, _larger(form, bench, _KEPT[0]))
    return None


def _larger(form: Form, bench: Case, kept: int) -> tuple[Case, ...]:
    """Further cases, between those that fit and the problem's own size."""
    less = [c for k in (1, 8) if k < kept for c in halved(bench, k)[-3:-2]]
    return (*less, *halved(bench, kept)[1:2], bench)


def _device(look: Callable[[Form, Case, str], object], form: Form, bench: Case) -> str:
    """Where a problem's elements are counted: `cpu` if it reads values, which are not on `meta`.

    At its own size it bears whatever it is asked to, but for that.
    """
    try:
        look(form, bench, "meta")
    except (Exception, SystemExit):
        return "cpu"
    return "meta"


def halved(bench: Case, kept: int) -> list[Case]:
    """Smaller cases, the smallest first."""
    most = max(bench.sizes.values(), default=1)
    found: dict[Case, None] = {}
    for power in range(math.ceil(math.log2(max(2, most))), 0, -1):
        sizes = {
            name: size if size <= kept else max(kept, size >> power)
            for name, size in bench.sizes.items()
        }
        found.setdefault(dataclasses.replace(bench, sizes=sizes))
    return list(found)


def run(form: Form, case: Case) -> object:
    """The reference's result for some inputs, on the CPU."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = form.inputs(case, torch.Generator().manual_seed(0))
        function = form.reference
        if form.kind == Kind.MODULE:
            function = build(form.reference, form.init(case), 0, case.dtype)
        return function(*inputs)


def _sizes(case: Case) -> list[int]:
    """Sizes that can shrink, the largest first."""
    return sorted({size for size in case.sizes.values() if size > 3}, reverse=True)


class _Search:
    """Tries sizes of a problem.

    Args:
        form: the problem.
        bench: its own size.
    """

    def __init__(self, form: Form, bench: Case) -> None:
        self._form, self._bench = form, bench
        self._built_on = _device(given_elements, form, bench)
        self._followed_on = ""
        """Not known yet."""
        self._known: dict[Case, int | None] = {}
        self._counted: dict[Case, int | None] = {}

    def elements(self, case: Case) -> int | None:
        """Elements of inputs, parameters and results; None if the reference does not run.

        Above `TINY_ELEMENTS` results are not counted, and whether it runs is not known.
        """
        if case not in self._known:
            self._known[case] = self._tried(case)
        return self._known[case]

    def _tried(self, case: Case) -> int | None:
        try:
            given = given_elements(self._form, case, self._built_on)
            if given > TINY_ELEMENTS:
                return given
            results = counted(run(self._form, case))
        except (Exception, SystemExit):  # whatever a file raises at sizes that it is not made for
            return None
        return given + results if results else None

    def counted(self, case: Case) -> int | None:
        """The same at any size: above `TINY_ELEMENTS` the reference is not run, but followed."""
        if case not in self._counted:
            self._counted[case] = self._followed(case)
        return self._counted[case]

    def _followed(self, case: Case) -> int | None:
        try:
            if not self._followed_on:
                self._followed_on = _device(patiently_followed, self._form, self._bench)
            if self._followed_on == "cpu" and input_elements(self._form, case) > RUN_ELEMENTS:
                return None
            given, results = followed_elements(self._form, case, self._followed_on)
            return given + results if results else None
        except (Exception, SystemExit):
            return None

    def largest(self, cases: list[Case], rest: list[Case]) -> Case | None:
        """The largest that fits, of cases in rising order; the smallest that is too large is noted
        in `rest`."""
        best: Case | None = None
        low, high = 0, len(cases)
        while low < high:  # below `low` nothing is left to try
            at = low if best is None else (low + high) // 2
            elements = self.elements(cases[at])
            if elements is None:
                # Too small for the reference; or, where a smaller one ran, an odd one out.
                low, high = (at + 1, high) if best is None else (low, at)
            elif elements > TINY_ELEMENTS:
                if best is None:
                    rest.append(cases[at])
                high = at
            else:
                best, low = cases[at], at + 1
        return best

    def too_large(self, bench: Case, rest: list[Case]) -> Iterator[Case]:
        """Small cases of a problem that has none for the interpreter: first those that were met on
        the way, if their inputs at least are small."""
        small = [case for case in rest if self._small_inputs(case)]
        yield from small
        yield self.one_by_one(bench)
        yield from (case for case in rest if case not in small)

    def _small_inputs(self, case: Case) -> bool:
        try:
            return input_elements(self._form, case) <= SMALL_INPUTS
        except Exception:  # it reads a value
            return True

    def one_by_one(self, bench: Case) -> Case:
        """The case with each size as small as the others let it be; equal ones shrink together."""
        case = bench
        for value in _sizes(bench):
            case = self._smaller(case, value)
        for value in _sizes(case):  # a batch of thousands is a large one still
            if not self._small_inputs(case):
                case = self._smaller(case, value)
        return case

    def _smaller(self, case: Case, value: int) -> Case:
        """The case with a size as small as the reference bears it, down to a 64th."""
        for target in dict.fromkeys(max(2, value >> power) for power in range(6, 0, -1)):
            sizes = {k: target if v == value else v for k, v in case.sizes.items()}
            smaller = dataclasses.replace(case, sizes=sizes)
            if self.counted(smaller) is not None:
                return smaller
        return case

    def variants(self, tiny: Case) -> tuple[Case, ...]:
        """Cases that differ from a tiny one in one size."""
        return tuple(islice(self._others(tiny), VARIANTS))

    def _others(self, tiny: Case) -> Iterator[Case]:
        for name, size in tiny.sizes.items():
            for other in (size * 2, size // 2):
                if other < 2 or size < _KEPT[1]:
                    continue
                case = dataclasses.replace(tiny, sizes={**tiny.sizes, name: other})
                elements = self.elements(case)
                if elements is not None and elements <= TINY_ELEMENTS:
                    if elements != self.elements(tiny):
                        yield case
                        break
