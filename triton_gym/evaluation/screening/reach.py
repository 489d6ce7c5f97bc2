"""What of an answer's source can run; the rest is taken out before it is screened, and never runs.

People hand in whole files: with tests under `if __name__ == "__main__":`, with the PyTorch model
that they started from, with imports for both, which need not be installed here. None of it is part
of the answer. Lines keep their numbers.

A definition or an import stays unless its name occurs nowhere in what stays. A source that may find
names otherwise (`globals`, `vars`, `exec`, …) is left as it is.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from triton_gym import syntax
from triton_gym.task import Entry

_FINDERS = frozenset(
    {"globals", "locals", "vars", "eval", "exec", "dir", "__import__", "inspect", "sys"}
)
"""Names by which code finds what it does not name."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def reachable(source: str, entry: Entry) -> str:
    """The source with blank lines in place of what cannot run.

    Args:
        source: the answer; one that does not parse comes back as it is.
        entry: what the task calls.
    """
    try:
        tree = syntax.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _unix(source)
    return reached(source, tree, entry)


def reached(source: str, tree: ast.Module, entry: Entry) -> str:
    """The same for a source whose tree is known."""
    source = _unix(source)
    parts = [_Part.of(node) for node in tree.body]
    if any(not _FINDERS.isdisjoint(part.names) for part in parts):
        return source
    lines = source.encode().split(b"\n")
    stays = _stays(tree, parts, entry)
    kept = set(map(id, stays))
    shared = _shared(tree.body)
    for node in tree.body:
        if id(node) not in kept and id(node) not in shared:
            _replace(lines, node, b"")
    return b"\n".join(lines).decode()


def _unix(source: str) -> str:
    return source.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True, slots=True)
class _Part:
    """A statement of the module."""

    node: ast.stmt
    names: set[str]
    """Those that occur in it, whatever for."""
    bound: set[str]
    """Those that something in it binds."""

    @classmethod
    def of(cls, node: ast.stmt) -> _Part:
        names: set[str] = set()
        bound: set[str] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                names.add(inner.id)
                if not isinstance(inner.ctx, ast.Load):
                    bound.add(inner.id)
            elif isinstance(inner, (ast.Global, ast.Nonlocal)):
                names.update(inner.names)
                bound.update(inner.names)
            elif isinstance(inner, ast.arg):
                bound.add(inner.arg)
            elif isinstance(inner, (Definition, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
                bound.add(inner.name or "")
            elif isinstance(inner, (ast.Import, ast.ImportFrom)):
                bound.update(_imported(inner))
        return cls(node, names, bound)


def _stays(tree: ast.Module, parts: Sequence[_Part], entry: Entry) -> list[ast.stmt]:
    """The module's statements that run, or that something that runs could call."""
    if not any(entry.name in part.bound for part in parts):
        return tree.body  # without its entry point; a worker says what there is instead
    imported = {name for node in tree.body for name in _imported(node)}
    main = all("__name__" not in part.bound for part in parts)
    waiting = {id(part): part for part in parts if _optional(part.node, imported, main)}
    binders: dict[str, list[_Part]] = {}
    for part in waiting.values():
        for name in _binds(part.node):
            binders.setdefault(name, []).append(part)
    named = {entry.name}.union(*(part.names for part in parts if id(part) not in waiting))
    asked = list(named)
    while asked:  # each name is asked for once, and each statement read once
        for part in binders.pop(asked.pop(), ()):
            if waiting.pop(id(part), None) is not None:
                fresh = part.names - named
                named |= fresh
                asked += fresh
    return [part.node for part in parts if id(part) not in waiting]


def _optional(node: ast.stmt, imported: set[str], main: bool) -> bool:
    """Whether a statement of the module does nothing but bind names, or never runs.

    Args:
        node: the statement.
        imported: names that imports of the module bind.
        main: whether `__name__` is what Python sets it to.
    """
    if isinstance(node, Definition):
        # A decorator of the answer's own may keep what it is given; one that is imported does not.
        return all(_root(decorator) in imported for decorator in node.decorator_list)
    if isinstance(node, ast.Import):
        return True
    if isinstance(node, ast.ImportFrom):
        return (
            node.module not in ("__future__", None)
            and not node.level
            and "*" not in {alias.name for alias in node.names}
        )
    return main and _is_main(node)


def _is_main(node: ast.stmt) -> bool:
    """Whether a statement is `if __name__ == "__main__":`; an answer is imported."""
    if not isinstance(node, ast.If) or node.orelse or not isinstance(node.test, ast.Compare):
        return False
    left, right = node.test.left, node.test.comparators[0]
    return (
        len(node.test.ops) == 1
        and isinstance(node.test.ops[0], ast.Eq)
        and isinstance(left, ast.Name)
        and left.id == "__name__"
        and isinstance(right, ast.Constant)
        and right.value == "__main__"
    )


def _imported(node: ast.AST) -> Iterator[str]:
    """Names that an import binds."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]


def _binds(node: ast.stmt) -> Iterable[str]:
    """Names that an optional statement binds."""
    return (node.name,) if isinstance(node, Definition) else _imported(node)


def _root(node: ast.expr) -> str:
    """The name that a decorator starts with."""
    while isinstance(node, (ast.Call, ast.Attribute)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _first(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(d.lineno for d in decorators)])


def _shared(statements: list[ast.stmt]) -> set[int]:
    """Those of a module's statements, which stand in order, that share a line with another."""
    found: set[int] = set()
    for before, after in itertools.pairwise(statements):
        if _first(after) <= _last(before):
            found |= {id(before), id(after)}
    return found


def _last(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _replace(lines: list[bytes], node: ast.stmt, text: bytes) -> None:
    """Put `text` in a statement's place; what it leaves are blank lines."""
    first, last = _first(node) - 1, _last(node) - 1
    before = lines[first][: node.col_offset] if text else b""
    after = lines[last][node.end_col_offset :] if text else b""
    lines[first : last + 1] = [before + text + after, *[b""] * (last - first)]
