"""The user's own Triton kernel as an answer: what the function needs of its file, and no more."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

import torch

from triton_gym.optimization.building import Inputs
from triton_gym.optimization.exporting import Flat, called_text
from triton_gym.optimization.inspection import launches
from triton_gym.optimization.shipping import Request
from triton_gym.optimization.starts.route import NoStartError


def own_answer(request: Request, inputs: Inputs, flat: Flat) -> str:
    """An answer.

    Raises:
        NoStartError: the function launches no kernel by itself, or its file is not known.
    """
    function = request.function
    if isinstance(function, torch.nn.Module) or not launches(function):
        raise NoStartError("it launches no Triton kernel of its own")
    if inputs.captured:
        raise NoStartError("it holds tensors that it does not take as arguments")
    path = inspect.getsourcefile(function)
    if path is None:
        raise NoStartError("its file is not known")
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    name = function.__name__
    needed = "\n\n".join(ast.unparse(node) for node in _needed(tree, name))
    parameters = [inputs.parameters[one] for one in inputs.placeholders]
    call = called_text(flat.called, parameters)
    return (
        f"{needed}\n\n\n_own = {name}\n\n\n"
        f"def {request.name}({', '.join(parameters)}):\n    return _own({call})\n"
    )


def _needed(tree: ast.Module, name: str) -> list[ast.stmt]:
    """Top-level statements that a function needs, in order, its decorators of this library gone."""
    defined: dict[str, list[int]] = {}
    for place, node in enumerate(tree.body):
        for one in _defines(node):
            defined.setdefault(one, []).append(place)
    wanted: set[int] = set()
    pending = [name]
    seen = set()
    while pending:
        one = pending.pop()
        if one in seen:
            continue
        seen.add(one)
        for place in defined.get(one, ()):
            wanted.add(place)
            node = _undecorated(tree.body[place], name)
            pending += [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
    return [_undecorated(tree.body[place], name) for place in sorted(wanted)]


def _undecorated(node: ast.stmt, name: str) -> Any:
    if isinstance(node, ast.FunctionDef) and node.name == name:
        node.decorator_list = []
    return node


def _defines(node: ast.stmt) -> Iterator[str]:
    """Names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield (alias.asname or alias.name).partition(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
