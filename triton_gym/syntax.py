"""Syntax trees, made by one thread at a time.

CPython before 3.13 counts the depth of a tree that it builds once for all threads. When it changes
threads in between, as it may where garbage is collected, it raises `SystemError: AST constructor
recursion depth mismatch`.
"""

from __future__ import annotations

import ast
import re
import threading

_BUILDING = threading.Lock()
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def lines(source: str) -> list[str]:
    """The lines of a module with their ends, as Python counts them.

    `str.splitlines` also splits at form feeds and at separators that Python takes for characters.
    """
    return _LINE.findall(source)


def parse(source: str) -> ast.Module:
    """The syntax tree of a module; raises as `ast.parse` does."""
    with _BUILDING:
        return ast.parse(source)


def parse_expression(source: str) -> ast.Expression:
    """The syntax tree of an expression."""
    with _BUILDING:
        return ast.parse(source, mode="eval")


def check(tree: ast.Module) -> None:
    """Compile a tree, for what only that finds wrong; raises as `compile` does."""
    with _BUILDING:
        compile(tree, "answer.py", "exec", dont_inherit=True)
