"""Knobs: module-level integer constants of an answer, read and rewritten in its source."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from triton_gym import syntax
from triton_gym.errors import InvalidOptionError


def _assignments(source: str) -> dict[str, ast.Constant]:
    """Module-level `NAME = <integer>` (or annotated) assignments of the source."""
    found: dict[str, ast.Constant] = {}
    for node in syntax.parse(source).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target: ast.expr | None = node.targets[0]
            value: ast.expr | None = node.value
        elif isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            if type(value.value) is int:
                found[target.id] = value
    return found


def read(source: str) -> dict[str, int]:
    """The module-level integer constants of a source.

    Raises:
        SyntaxError: the source is not Python.
    """
    return {name: node.value for name, node in _assignments(source).items()}  # type: ignore[misc]


def render(source: str, values: Mapping[str, int]) -> str:
    """The source with its constants set to `values`; everything else stays as it is written.

    Raises:
        InvalidOptionError: a name is not a module-level integer constant of the source.
    """
    nodes = _assignments(source)
    missing = sorted(set(values) - set(nodes))
    if missing:
        raise InvalidOptionError(
            f"No module-level integer constant {', '.join(missing)} in the source; "
            f"it has {', '.join(sorted(nodes)) or 'none'}."
        )
    lines = syntax.lines(source)
    for name in values:
        node = nodes[name]
        row = node.lineno - 1
        raw = lines[row].encode()  # the tree counts columns in bytes
        lines[row] = (
            raw[: node.col_offset] + str(int(values[name])).encode() + raw[node.end_col_offset :]
        ).decode()
    return "".join(lines)
