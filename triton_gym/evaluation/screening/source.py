"""An answer's text: whether it is Python at all."""

from __future__ import annotations

import ast

from triton_gym import syntax

SOURCE_LIMIT = 60_000
"""Longest source in characters."""
DEPTH_LIMIT = 120
"""Deepest nesting of the syntax tree."""


def parse(source: str) -> ast.Module | str:
    """The syntax tree of a source, or why there is none."""
    if not source.strip():
        return "The answer is empty; expected a Python module with a Triton kernel."
    if len(source) > SOURCE_LIMIT:
        return f"The source has {len(source)} characters; at most {SOURCE_LIMIT} are allowed."
    if "\0" in source:
        return "The source contains null bytes."
    try:
        tree = syntax.parse(source)
        syntax.check(tree)
    except SyntaxError as error:
        text = f": `{error.text.strip()[:200]}`" if error.text else ""
        return f"SyntaxError at line {error.lineno}: {error.msg}{text}"
    except (ValueError, RecursionError, MemoryError, UnicodeError) as error:
        return f"The source cannot be parsed: {type(error).__name__}: {error}"
    return tree
