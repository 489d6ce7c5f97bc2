"""Changes to a kernel's source: block sizes, warps, stages, software pipelining, loops.

The source is read with `ast` and changed as text, so that everything else, comments included,
stays as its author wrote it.

A kernel whose launches take their warps from a name of the module has an author who says what may
vary: names. Other numbers of it and of its launches are sizes of data, and stay; where all launches
of a module are such, so are all its other numbers.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from triton_gym import syntax

from .patches import Patch, Text, apply, parses
from .rewriting import straightened, whole_row_names

WARPS = (1, 2, 4, 8, 16, 32)
STAGES = (1, 2, 3, 4, 5)
PROGRAMS = (0, 132, 264, 528, 1056, 2112)
"""Whole multiples of an H100's multiprocessors, and 0, which means "as many as there is work"."""
_LAUNCH = ("num_warps", "num_stages")
_BLOCKS = (8, 16384)
"""Smallest and largest power of two that is taken for a block size."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place of a source where something can be changed, and the ways to change it."""

    label: str
    options: tuple[tuple[Patch, ...], ...]


def mutate(source: str, rng: np.random.Generator, *, tries: int = 20) -> str:
    """The source with one random change at one random site; the same source if there is none."""
    try:
        found = sites(source)
    except SyntaxError:
        return source
    for _ in range(tries if found else 0):
        options = found[rng.integers(len(found))].options
        changed = apply(source, options[rng.integers(len(options))])
        if changed != source and parses(changed):
            return changed
    return source


def neighbours(source: str) -> list[str]:
    """All sources that one change leads to: the nearest of each site, then the next of each."""
    try:
        found = sites(source)
    except SyntaxError:
        return []
    rounds = max((len(site.options) for site in found), default=0)
    changed = [
        apply(source, site.options[number])
        for number in range(rounds)
        for site in found
        if number < len(site.options)
    ]
    return [one for one in dict.fromkeys(changed) if one != source and parses(one)]


def sites(source: str) -> list[Site]:
    """All places of a source that `mutate` knows how to change.

    Raises:
        SyntaxError: the source is not Python.
    """
    tree = syntax.parse(source)
    text = Text(source)
    found = list(_constants(tree, text))
    settled = _settled(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name not in settled:
            calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
            found.extend(_launches(calls, text))
            found.extend(_loops(calls, text))
            found.extend(_literals(node, calls, text))
            found.extend(_whole_rows(node, calls, text))
    straight = straightened(source) if not settled else source
    if straight != source:
        found.append(Site("loops", (((0, len(source.encode()), straight),),)))
    return [site for site in found if site.options]


def _settled(tree: ast.Module) -> set[str]:
    """Functions of a module in which nothing but named numbers may vary; see above.

    They are kernels whose every launch names its warps, and host functions with such launches only;
    all functions if there are no other launches.
    """
    named = constants_of(tree)
    settled: dict[str, bool] = {}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in ast.walk(node):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Subscript):
                continue
            warps = next((k.value for k in call.keywords if k.arg == "num_warps"), None)
            used = ast.walk(warps) if warps is not None else ()
            names_them = any(isinstance(n, ast.Name) and n.id in named for n in used)
            for name in (node.name, ast.unparse(call.func.value)):
                settled[name] = settled.get(name, True) and names_them
    if settled and all(settled.values()):  # what launches nothing by itself holds sizes, too
        return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {name for name, always in settled.items() if always}


def constants_of(tree: ast.Module) -> dict[str, ast.expr]:
    """Module-level `NAME = <integer>`: where the integer stands, by name."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        target = None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and value is not None and _integer(value) is not None:
            found[target.id] = value
    return found


def _integer(node: ast.AST | None) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def _choices(name: str, value: int) -> list[int]:
    """Other values that a number of this name and value may sensibly take."""
    upper = name.upper()
    if "WARP" in upper:
        near: Sequence[int] = WARPS
    elif "STAGE" in upper:
        near = STAGES
    elif "PROGRAM" in upper:
        near = PROGRAMS
    elif value > 0 and value & (value - 1) == 0:
        near = [n for n in (value // 4, value // 2, value * 2, value * 4) if 1 <= n <= _BLOCKS[1]]
    else:
        near = [n for n in (value - 1, value + 1, value // 2, value * 2) if n > 0]
    # The nearest first: what is tried in order begins there.
    return sorted((n for n in near if n != value), key=lambda n: _distance(n, value))


def _distance(one: int, other: int) -> float:
    return abs(math.log2(max(one, 1)) - math.log2(max(other, 1)))


def _constants(tree: ast.Module, text: Text) -> Iterator[Site]:
    """Numbers that the module names, but for those that it calls `Final`."""
    final = {
        ast.unparse(node.target)
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and ast.unparse(node.annotation).rpartition(".")[2] == "Final"
    }
    for name, number in constants_of(tree).items():
        value = _integer(number)
        if value is not None and name not in final:
            yield Site(name, tuple((text.set(number, n),) for n in _choices(name, value)))


def _launches(calls: list[ast.Call], text: Text) -> Iterator[Site]:
    """`num_warps` and `num_stages` of `kernel[grid](...)`, added where they are not given."""
    for call in calls:
        if not isinstance(call.func, ast.Subscript):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        given_last: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
        last = max((text.span(n)[1] for n in given_last), default=None)
        for name, values in zip(_LAUNCH, (WARPS, STAGES), strict=True):
            value = _integer(given.get(name))
            if value is not None:
                options = [(text.set(given[name], n),) for n in values if n != value]
            elif name not in given and last is not None and None not in given:
                options = [((last, last, f", {name}={n}"),) for n in values]
            else:
                continue
            yield Site(name, tuple(options))


def _whole_rows(host: ast.FunctionDef, calls: list[ast.Call], text: Text) -> Iterator[Site]:
    """Block sizes of a launch that could be the smallest that holds a whole row."""
    for call in calls:
        for keyword in call.keywords if isinstance(call.func, ast.Subscript) else ():
            value = _integer(keyword.value)
            if value is not None and value >= _BLOCKS[0] and keyword.arg not in _LAUNCH:
                span = text.span(keyword.value)
                options = [
                    ((*span, f"triton.next_power_of_2({name})"),) for name in whole_row_names(host)
                ]
                yield Site(f"{keyword.arg}: whole row", tuple(options))


def _loops(calls: list[ast.Call], text: Text) -> Iterator[Site]:
    """Loops of a kernel over `range`, which `tl.range` can pipeline; and its `num_stages`."""
    for call in calls:
        name = ast.unparse(call.func)
        if name == "tl.range":
            for keyword in call.keywords:
                value = _integer(keyword.value)
                if keyword.arg == "num_stages" and value is not None:
                    options = [(text.set(keyword.value, n),) for n in STAGES if n != value]
                    yield Site("tl.range", tuple(options))
        elif name == "range" and call.args and not call.keywords:
            start, end = text.span(call.func)
            last = text.span(call.args[-1])[1]
            yield Site(
                "range",
                tuple(
                    ((start, end, "tl.range"), (last, last, f", num_stages={n}"))
                    for n in STAGES[1:4]
                ),
            )


def _literals(node: ast.FunctionDef, calls: list[ast.Call], text: Text) -> Iterator[Site]:
    """Power-of-two literals of a function, those that belong together changed together.

    `BLOCK_M=64` of a launch and the 64 of its grid's `cdiv(m, 64)` must agree. So equal literals
    change all at once, or those that the same dimension names (`BLOCK_M` and `cdiv(m, …)`).
    """
    axes: dict[ast.expr, str] = {}
    tuned: set[ast.expr] = set()
    for call in calls:
        for keyword in call.keywords:
            axes[keyword.value] = (keyword.arg or "").rpartition("_")[2].lower()
            if keyword.arg in _LAUNCH:
                tuned.add(keyword.value)
        if len(call.args) == 2 and isinstance(call.args[0], ast.Name):
            axes[call.args[1]] = call.args[0].id.lower()
    groups: dict[tuple[int, str], list[ast.expr]] = {}
    for literal in ast.walk(node):
        value = _integer(literal)
        if not isinstance(literal, ast.Constant) or value is None or literal in tuned:
            continue
        if _BLOCKS[0] <= value <= _BLOCKS[1] and value & (value - 1) == 0:
            groups.setdefault((value, ""), []).append(literal)
            if axes.get(literal):
                groups.setdefault((value, axes[literal]), []).append(literal)
    for (value, axis), members in groups.items():
        if axis and (len(members) < 2 or len(members) == len(groups[value, ""])):
            continue
        nodes = [n for n in _choices("", value) if n >= _BLOCKS[0]]
        options = [tuple(text.set(member, n) for member in members) for n in nodes]
        yield Site(f"{node.name}: {value} {axis}".rstrip(), tuple(options))
