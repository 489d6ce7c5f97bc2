"""What an answer declares, read off its syntax tree's nodes: names that it binds, its fields."""

from __future__ import annotations

import ast
import functools
import importlib
import string
import types
from collections.abc import Iterable, Iterator
from typing import Any

from triton_gym.evaluation.screening import vocabulary as allowed


def attribute_read(node: ast.Call) -> ast.Attribute | None:
    """`getattr(x, "name")` as `x.name`; None if the name is computed."""
    if not 2 <= len(node.args) <= 3 or node.keywords:
        return None
    name = node.args[1]
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
        return None
    return ast.copy_location(ast.Attribute(node.args[0], name.value, ast.Load()), node)


def plain_template(text: object) -> bool:
    """Whether a text that is formatted names arguments only, not attributes of theirs."""
    if not isinstance(text, str):
        return False
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        (field or "").replace("_", "").isalnum() or not field for _, field, _, _ in parts
    ) and not any("{" in (spec or "") for _, _, spec, _ in parts)


def tuple_fields(call: ast.Call) -> list[str]:
    """Names of the fields of `namedtuple("Name", …)`, if they stand there."""
    if len(call.args) != 2 or any(k.arg != "defaults" for k in call.keywords):
        return []
    title, names = call.args
    if not (isinstance(title, ast.Constant) and isinstance(title.value, str)):
        return []
    if isinstance(names, ast.Constant) and isinstance(names.value, str):
        return names.value.replace(",", " ").split()
    if isinstance(names, ast.List | ast.Tuple):
        found = [n.value for n in names.elts if isinstance(n, ast.Constant)]
        if len(found) == len(names.elts) and all(isinstance(n, str) for n in found):
            return [str(n) for n in found]
    return []


@functools.cache
def foreign_names() -> frozenset[str]:
    """Names of attributes that objects have which an answer comes by without making them."""
    import torch

    kinds: tuple[Any, ...] = (
        torch.Tensor, torch.nn.Module, torch.dtype, torch.device, torch.Generator, torch,
        torch.cuda, str, bytes, dict, list, tuple, set, int, float, type, property, BaseException,
        functools.partial, AttributeError, ImportError, StopIteration, OSError,
        *(kind for kind in vars(types).values() if isinstance(kind, type)),
    )  # fmt: skip
    return allowed.TRITON_FIELDS.union(*map(dir, kinds))


def bindings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names that the answer binds itself, imports aside: every way that Python has."""
    for node in nodes:
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from node.names


def set_on_self(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Attributes that are set on what goes by the name of `self` or `ctx`."""
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if is_own(node.value):
                yield node.attr


def is_own(node: ast.expr) -> bool:
    """Whether an expression is `self` or `ctx`, or an attribute of it: `self.layer`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in allowed.RECEIVERS


def defined(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Attributes that the answer's own classes define: methods, class variables, fields."""
    for node in nodes:
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else (
                node.func.id if isinstance(node.func, ast.Name) else ""
            )  # fmt: skip
            if name == "namedtuple":
                yield from tuple_fields(node)
            elif name == "SimpleNamespace":
                yield from (k.arg for k in node.keywords if k.arg)
            elif name in ("register_buffer", "register_parameter", "add_module") and node.args:
                if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                    yield node.args[0].value
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield inner.name
                else:
                    yield from bindings(ast.walk(inner))


@functools.cache
def exists(module: str, name: str) -> bool:
    """Whether a module has a member: people write functions that Triton does not have."""
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False
