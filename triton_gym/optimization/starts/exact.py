"""One answer of several: kernels for the very sizes of the examples beside those for all sizes.

Where every size is known, PyTorch's compiler divides by constants, leaves masks out and knows how
long rows are. So does `torch.compile` on its first call, and a kernel for all sizes loses to that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

MOST = 3
"""Most examples whose sizes get kernels of their own: each is another set of kernels to compile."""


@dataclass(frozen=True, slots=True)
class Exact:
    """An answer that holds for one set of sizes."""

    condition: str
    """When: an expression over the parameters of the host function."""
    source: str


def joined(general: str, exact: Sequence[Exact], entry: str, parameters: Sequence[str]) -> str:
    """An answer that computes by the first exact one whose condition holds, else by `general`.

    One whose kernels are those for all sizes adds nothing, and is left out. What is equal in two of
    them stands once, and numbers of the same name are one number: what a
    search finds for the examples' sizes is the best guess for others. Numbers that are the general
    one's alone are final, since no example tells one from another.

    Args:
        general: an answer that holds for all sizes.
        exact: others, each a whole module with a host function of the same name.
        entry: name of the host functions.
        parameters: of the host functions.
    """
    taken = set(re.findall(r"\w+", "\n".join([general, *(one.source for one in exact)])))
    whole = _Module.of(general)
    numbers, imports = dict(whole.numbers), dict.fromkeys(whole.imports)
    used: set[str] = set()
    added = [whole.text({entry: (first := _fresh(f"{entry}_any", taken))})]
    hosts: list[tuple[str, str]] = []
    for place, one in enumerate(exact, 1):
        module = _Module.of(one.source)
        names = module.renamed_beside(whole.definitions, place)
        if set(names) <= {entry}:
            continue
        names[entry] = _fresh(f"{entry}_{place}", taken)
        hosts.append((one.condition, names[entry]))
        added.append(module.text(names, only=set(names)))
        used |= set(module.numbers)
        numbers |= module.numbers
        imports |= dict.fromkeys(module.imports)
    if not hosts:
        return general
    final = [name for name in numbers if name not in used]
    if final:
        imports = {"from typing import Final": None, **imports}
    lines = [
        f"{name}: Final = {value}" if name in final else f"{name} = {value}"
        for name, value in numbers.items()
    ]
    given = ", ".join(parameters)
    body = [f"    if {condition}:\n        return {host}({given})" for condition, host in hosts]
    body.append(f"    return {first}({given})")
    parts = ["\n".join(imports), "\n".join(lines), *added]
    parts.append("\n".join([f"def {entry}({given}):", *body]))
    return "\n\n\n".join(part for part in parts if part) + "\n"


@dataclass(frozen=True, slots=True)
class _Module:
    """An answer, taken apart."""

    imports: tuple[str, ...]
    numbers: Mapping[str, int]
    """Plain numbers that have names."""
    definitions: Mapping[str, ast.stmt]
    """Functions and all else that has a name, by name, in order."""

    @classmethod
    def of(cls, source: str) -> _Module:
        """The module of a source."""
        imports: list[str] = []
        numbers: dict[str, int] = {}
        definitions: dict[str, ast.stmt] = {}
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports.append(ast.unparse(node))
            elif isinstance(node, ast.FunctionDef):
                definitions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                value = node.value
                if isinstance(value, ast.Constant) and type(value.value) is int:
                    numbers[node.targets[0].id] = value.value
                else:
                    definitions[node.targets[0].id] = node
        return cls(tuple(imports), numbers, definitions)

    def text(self, names: Mapping[str, str], only: Iterable[str] | None = None) -> str:
        """Its definitions, or some of them, with other names."""
        chosen = self.definitions if only is None else set(only)
        return "\n\n\n".join(
            ast.unparse(_Renamed(names).visit(node))
            for name, node in self.definitions.items() if name in chosen
        )  # fmt: skip

    def renamed_beside(self, others: Mapping[str, ast.stmt], place: int) -> dict[str, str]:
        """Other names for what differs from definitions of the same names, and for what uses it."""
        texts = {name: ast.unparse(node) for name, node in self.definitions.items()}
        same = {
            name for name in texts if name in others and ast.unparse(others[name]) == texts[name]
        }
        uses = {name: set(re.findall(r"\w+", text)) for name, text in texts.items()}
        while changed := {name for name in same if uses[name] & (set(texts) - same)}:
            same -= changed
        return {name: f"{name}_{place}" for name in texts if name not in same}


class _Renamed(ast.NodeTransformer):
    """Gives what a module defines other names, and leaves local names as they are."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Arguments and what the function assigns hide names of the module."""
        name = self._names.get(node.name, node.name)
        inner = _Renamed({k: v for k, v in self._names.items() if k not in set(_local(node))})
        node.body = [inner.visit(one) for one in node.body]
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        node.name = name
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name that is looked up or assigned."""
        return ast.Name(self._names.get(node.id, node.id), node.ctx)


def _local(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _fresh(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "_"
    return name
