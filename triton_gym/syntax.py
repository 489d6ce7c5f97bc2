"""Syntax trees, made by one thread at a time.

CPython before 3.13 counts the depth of a tree that it builds once for all threads. When it changes
threads in between, as it may where garbage is collected, it raises `SystemError: AST constructor
recursion depth mismatch`.
"""

from __future__ import annotations

import ast
import threading

_BUILDING = threading.Lock()


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
