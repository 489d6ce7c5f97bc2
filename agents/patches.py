"""Changes of a source at places that its syntax tree names."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from triton_gym import syntax

Patch = tuple[int, int, str]
"""Byte offsets of what is replaced (start, end), and the text that replaces it."""


class Text:
    """A source. Turns the tree's line and column into offsets; both count bytes, not characters."""

    def __init__(self, source: str) -> None:
        self._starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Where a node starts and ends."""
        if node.end_lineno is None or node.end_col_offset is None:
            raise ValueError("the tree does not come from a source")
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def set(self, node: ast.expr, value: int) -> Patch:
        """The patch that puts a number in a node's place."""
        return (*self.span(node), str(value))


def apply(source: str, patches: Sequence[Patch]) -> str:
    """The source after patches that do not overlap."""
    raw = source.encode()
    for start, end, new in sorted(patches, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    return raw.decode()


def parses(source: str) -> bool:
    """Whether the source is Python."""
    try:
        syntax.parse(source)
    except SyntaxError:
        return False
    return True
