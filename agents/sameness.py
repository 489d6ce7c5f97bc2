"""Whether two kernels are the same but for what does not run: names, comments, layout."""

from __future__ import annotations

import ast
import re

from triton_gym import syntax


def normalised(source: str) -> str:
    """A source without names of its own, comments and docstrings; text if it is not Python."""
    try:
        tree = syntax.parse(source)
    except SyntaxError:
        return re.sub(r"\s+", " ", source)
    own = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and _bound(node)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        _rename(node, own, names)
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _bound(node: ast.Name) -> bool:
    return not isinstance(node.ctx, ast.Load)


def _rename(node: ast.AST, own: set[str], names: dict[str, str]) -> None:
    """Replace a node's name, if it is one of the source's own, by its number."""

    def fresh(name: str) -> str:
        return names.setdefault(name, f"_{len(names)}") if name in own else name

    if isinstance(node, ast.Name):
        node.id = fresh(node.id)
    elif isinstance(node, ast.arg):
        node.arg = fresh(node.arg)
    elif isinstance(node, ast.FunctionDef):
        node.name = fresh(node.name)
    elif isinstance(node, ast.keyword) and node.arg:
        node.arg = fresh(node.arg)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        node.value = fresh(node.value)
