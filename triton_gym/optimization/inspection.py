"""What the text of a function shows that a traced graph does not: state it changes, kernels it has.

A graph holds what is computed from tensors. That a function also counts its calls, keeps a result
or prints is lost in it, so a function whose own text does so is refused. What is called from there
in other modules is not looked at.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.errors import NotOptimizableError

_GROWING = frozenset({"append", "extend", "insert", "add", "update", "setdefault", "pop", "clear"})
"""Methods that change the container they are called on."""


@dataclass(frozen=True, slots=True)
class Text:
    """A function's source."""

    name: str
    source: str
    """Dedented; empty if Python does not know it."""
    path: str
    line: int
    """Of the source's first line in its file."""

    def where(self, line: int) -> str:
        """A line of the source in words, counted from 1."""
        return f"{self.path}:{self.line + line - 1}"


def text_of(function: Any) -> Text:
    """The source of a function, bound method or module's `forward`."""
    called = type(function).forward if isinstance(function, torch.nn.Module) else function
    called = inspect.unwrap(called)
    name = getattr(function, "__name__", type(function).__name__)
    try:
        lines, first = inspect.getsourcelines(called)
        path = inspect.getsourcefile(called) or "?"
    except (OSError, TypeError):
        return Text(name, "", "?", 0)
    return Text(name, textwrap.dedent("".join(lines)), path, first)


def hold_text(function: Any) -> None:
    """Refuse a function whose text changes something besides its results.

    Raises:
        NotOptimizableError: it does; the message names the line.
    """
    text = text_of(function)
    definition = definition_of(text)
    if definition is None:
        return
    local = _local_names(definition)
    for node in ast.walk(definition):
        problem = _problem(node, local)
        if problem:
            raise NotOptimizableError(
                f"{text.name} {problem} ({text.where(getattr(node, 'lineno', 1))}): a kernel that "
                "stands in for it would not."
            )


def definition_of(text: Text) -> ast.FunctionDef | ast.Lambda | None:
    """The function in its source; None where the source is no whole statement."""
    try:
        tree = ast.parse(text.source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            return node
    return None


def _local_names(definition: ast.FunctionDef | ast.Lambda) -> set[str]:
    """Names that the function assigns: what they hold was most likely made by it."""
    names = set()
    for node in ast.walk(definition):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _problem(node: ast.AST, local: set[str]) -> str:
    """What is wrong with a statement, as a verb and its object; empty for nothing."""
    if isinstance(node, ast.Global | ast.Nonlocal):
        return f"assigns {', '.join(node.names)}, which lives outside it"
    if isinstance(node, ast.Yield | ast.YieldFrom | ast.Await):
        return "is a generator or a coroutine"
    if isinstance(node, ast.Call):
        return _calling(node, local)
    for target in _targets(node):
        root = _root(target)
        if isinstance(target, ast.Attribute) and root is not None and root not in local:
            return f"assigns {ast.unparse(target)}"
    return ""


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign):
        yield from node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        yield node.target


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _calling(node: ast.Call, local: set[str]) -> str:
    if isinstance(node.func, ast.Name) and node.func.id in ("print", "input", "open", "exec"):
        return f"calls {node.func.id}()"
    if isinstance(node.func, ast.Attribute) and node.func.attr in _GROWING:
        root = _root(node.func.value)
        tensor_like = node.func.attr in ("add",)  # x.add(y) of a tensor makes another
        if root is not None and root not in local and not tensor_like:
            return f"calls {ast.unparse(node.func)}(), which changes what it did not make"
    return ""


def launches(function: Any) -> list[tuple[str, int]]:
    """Triton kernels that a function launches itself: names and lines of its source."""
    from triton.runtime.jit import KernelInterface

    text = text_of(function)
    definition = definition_of(text)
    scope = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__globals__", {})
    if definition is None:
        return []
    found = []
    for node in ast.walk(definition):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
            name = node.func.value
            if isinstance(name, ast.Name) and isinstance(scope.get(name.id), KernelInterface):
                found.append((name.id, node.lineno))
    return found
