"""Whether all who read a source read the same: Python, and Triton, which looks for kernels itself.

What is screened must be what runs. Python compiles the very text that was screened
(`workers/answer.py`). Triton takes a kernel's text from the lines of its file, from the first that
begins a function. A string can hold such a line, and then it is the string that runs.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence

from triton_gym import syntax

_DECLARED = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
"""Source: PEP 263, "Defining the Encoding"; in the first two lines."""
_UTF8 = frozenset({"utf-8", "utf8", "utf-8-sig"})
_LIKE_ASCII = frozenset({"ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1", "iso-8859-15"})
"""Encodings in which a text of ASCII is what it is in UTF-8."""
_FIRST = re.compile(r"^def\s+\w+\s*\(", re.MULTILINE)
"""Source: Triton, `JITCallable.__init__`."""
_SOUGHT = re.compile(r"^(\s*def\s)|(\s*async\s+def\s)|(.*(?<!\w)lambda(:|\s))|^(\s*@)")
"""Source: CPython, `inspect.findsource`, which goes up from a function until a line matches."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def foreign_encoding(source: str) -> str:
    """The encoding that a source declares, if who honours it may read another text; else empty."""
    for line in syntax.lines(source)[:2]:
        if found := _DECLARED.match(line):
            name = found[1].lower().replace("_", "-")
            same = name in _UTF8 or (name in _LIKE_ASCII and source.isascii())
            return "" if same else found[1]
        if line.strip() and not line.lstrip(" \t\f").startswith("#"):
            break
    return ""


def misread(source: str, tree: ast.Module) -> int | None:
    """The line of a function that Triton would take another text for than Python; None if none.

    Args:
        source: of an answer.
        tree: of the same.
    """
    lines = syntax.lines(source)
    for node in ast.walk(tree):
        if isinstance(node, Function) and not _read_alike(node, lines):
            return node.lineno
    return None


def _read_alike(node: Function, lines: Sequence[str]) -> bool:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    if not _SOUGHT.match(lines[first - 1]):
        return False
    own = lines[first - 1 : node.end_lineno]
    text = textwrap.dedent("".join(own))
    compiled = _FIRST.search(text)
    begins = [first + text.count("\n", 0, compiled.start())] if compiled else []
    begins += [first + n for n, line in enumerate(own) if line.strip().startswith("def ")][:1]
    return all(line == node.lineno for line in begins)
