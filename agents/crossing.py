"""A child of two kernels that differ from a third in numbers which their modules name.

Sources cannot be mixed line by line and stay right. Named numbers can: each stands by itself.
"""

from __future__ import annotations

import ast

from triton_gym import syntax

from .mutation import constants_of
from .patches import Text, apply


def merged(origin: str, one: str, other: str) -> str | None:
    """What both have changed of `origin`; where both changed the same, what the first has.

    Returns:
        None if they differ in more than named numbers, or one of them is not Python.
    """
    try:
        trees = [syntax.parse(source) for source in (origin, one, other)]
    except SyntaxError:
        return None
    numbers = [
        {name: ast.literal_eval(node) for name, node in constants_of(tree).items()}
        for tree in trees
    ]
    if len({_without(tree) for tree in trees}) > 1:
        return None
    base, first, second = numbers
    places = constants_of(syntax.parse(one))
    text = Text(one)
    changed = [
        text.set(places[name], second[name])
        for name in base
        if first[name] == base[name] != second[name]
    ]
    return apply(one, changed)


def _without(tree: ast.Module) -> str:
    """A module without the values of its named numbers. Changes the tree."""
    for node in constants_of(tree).values():
        node.value = 0  # type: ignore[attr-defined]
    return ast.dump(tree)
