"""The wrapper that stands for a function: its signature, and one attribute to look up.

What it finds there is the function itself, or a gate (`gate.py`). Also how signatures, defaults and
names are written in what is generated.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

_PREFIX = "_swap_"


def wrapper(function: Callable[..., Any], state: Any, traced: Callable[..., Any]) -> Any:
    """A function like `function` that calls `state.now`, or `traced` while PyTorch traces it.

    It is a plain function: methods bind it, `pickle` finds it by its name, `copy.deepcopy` returns
    it, and `inspect` shows the signature.
    """
    signature = inspect.signature(function)
    named = names_of(signature)
    source = (
        f"def {identifier(function)}({parameters_of(signature)}):\n"
        f"    if {_PREFIX}compiling(): return {_PREFIX}traced({named})\n"
        f"    return {_PREFIX}state.now({named})\n"
    )
    scope = {
        **defaults_of(signature), f"{_PREFIX}compiling": torch.compiler.is_dynamo_compiling,
        f"{_PREFIX}traced": traced, f"{_PREFIX}state": state,
    }  # fmt: skip
    made = executed(source, identifier(function), scope, f"<call of {identifier(function)}>")
    return functools.wraps(function)(made)


def names_of(signature: inspect.Signature) -> str:
    """The arguments of a call that passes on what it was given."""
    kinds = inspect.Parameter
    marks: dict[Any, str] = {
        kinds.VAR_POSITIONAL: "*{0}",
        kinds.VAR_KEYWORD: "**{0}",
        kinds.KEYWORD_ONLY: "{0}={0}",
    }
    return ", ".join(
        marks.get(one.kind, "{0}").format(name) for name, one in signature.parameters.items()
    )


def parameters_of(signature: inspect.Signature) -> str:
    """The parameters of a definition, their defaults by name."""
    named = [
        one.replace(
            annotation=one.empty,
            default=one.default if one.default is one.empty else _Name(f"{_PREFIX}default_{name}"),
        )
        for name, one in signature.parameters.items()
    ]
    return str(inspect.Signature(named))[1:-1]


def defaults_of(signature: inspect.Signature) -> dict[str, Any]:
    """The names that `parameters_of` writes for defaults."""
    return {
        f"{_PREFIX}default_{name}": one.default
        for name, one in signature.parameters.items()
        if one.default is not one.empty
    }


class _Name:
    """A default that is written as a name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def identifier(function: Callable[..., Any]) -> str:
    """A function's name, as it can stand in source."""
    name = str(getattr(function, "__name__", "function"))
    if inspect.ismethod(function):
        name = f"{type(function.__self__).__name__}_{name}"
    return name if name.isidentifier() else "function"


def executed(source: str, name: str, scope: dict[str, Any], file: str) -> Callable[..., Any]:
    """The function of a name that a source defines in a scope."""
    exec(compile(source, file, "exec"), scope)
    made: Callable[..., Any] = scope[name]
    return made
