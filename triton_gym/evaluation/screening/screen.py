"""The screen: what an answer is refused for before it runs, and what of its text runs.

An answer's host code runs in a confined process without a device, and nothing that it does there
has an effect but what it records. So there is little to refuse: a text that is no Python, that is
too long, that Python and Triton would read differently, or that holds no Triton kernel at all. What
the answer does beyond its launches is the recorder's to judge (`recording/`), where it runs.
"""

from __future__ import annotations

import ast

from triton_gym import syntax
from triton_gym.evaluation.screening.reach import reached
from triton_gym.evaluation.screening.reading import foreign_encoding, misread
from triton_gym.evaluation.screening.source import parse
from triton_gym.outcome import Status
from triton_gym.task import Entry

_MISREAD = (
    "Triton would take another text for this function than Python does. No line of its decorators "
    "may begin with `def `, no string may stand further left, and its first line must be whole."
)
_NO_KERNEL = "There is no Triton kernel: expected a function with @triton.jit."


def screen(source: str, entry: Entry) -> tuple[Status, str] | None:
    """Why an answer is refused before it runs, or None.

    Args:
        source: the answer as a Python module.
        entry: what the task expects it to define.

    Returns:
        `INVALID_ACTION` when it is not Python, `REJECTED` when it cannot be an answer.
    """
    return screened(source, entry)[0]


def screened(source: str, entry: Entry) -> tuple[tuple[Status, str] | None, str]:
    """The same, and what of the source is to run if it is not refused."""
    tree = parse(source)
    if isinstance(tree, str):
        return (Status.INVALID_ACTION, tree), ""
    if encoding := foreign_encoding(source):
        told = f"The source declares the encoding {encoding!r}; an answer is UTF-8."
        return (Status.REJECTED, f"{told} Leave that comment out."), ""
    try:
        what = reached(source, tree, entry)
        tree = tree if what == source else syntax.parse(what)
        if not any(_names_jit(node) for node in ast.walk(tree)):
            return (Status.REJECTED, _no_kernel(source, entry)), ""
        if line := misread(what, tree):
            return (Status.REJECTED, f"Line {line}: {_MISREAD}"), ""
    except RecursionError:
        return (Status.REJECTED, "The source is nested too deeply."), ""
    return None, what


def _no_kernel(source: str, entry: Entry) -> str:
    """Why there is none: kernels that nothing calls were taken out."""
    unused = [
        node for node in ast.walk(syntax.parse(source))
        if isinstance(node, ast.FunctionDef) and any(map(_names_jit, _decorators(node)))
    ]  # fmt: skip
    if not unused:
        return _NO_KERNEL
    names = ", ".join(f"{node.name} (line {node.lineno})" for node in unused[:5])
    return (
        f"{entry.name!r} launches no Triton kernel: nothing that a call of it reaches names "
        f"{names}. A kernel counts that a call launches."
    )


def _decorators(node: ast.FunctionDef) -> list[ast.AST]:
    return [inner for decorator in node.decorator_list for inner in ast.walk(decorator)]


def _names_jit(node: ast.AST) -> bool:
    """Whether it names what makes a kernel: `triton.jit`, `gluon.jit`, or either as imported."""
    if isinstance(node, ast.Attribute):
        return node.attr == "jit"
    return isinstance(node, ast.ImportFrom) and any(alias.name == "jit" for alias in node.names)
