"""A function's arguments by parameter: from a call, and back into one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from triton_gym.evaluation import trees

_DROPPED = ("out",)
"""Optional parameters that say where a result goes: an answer returns its own."""


def bound(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by parameter, defaults included; those of `*args` as `name0`, `name1`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin
        return {**{f"x{i}": value for i, value in enumerate(args)}, **kwargs}
    given = signature.bind(*args, **kwargs)
    given.apply_defaults()
    found: dict[str, Any] = {}
    for name, value in given.arguments.items():
        kind = signature.parameters[name].kind
        if kind == inspect.Parameter.VAR_POSITIONAL:
            found |= {f"{name}{i}": item for i, item in enumerate(value)}
        elif kind == inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return {
        name: value for name, value in found.items()
        if name not in _DROPPED or _required(signature, name)
    }  # fmt: skip


def _required(signature: inspect.Signature, name: str) -> bool:
    one = signature.parameters.get(name)
    return one is not None and one.default is inspect.Parameter.empty


def called(function: Callable[..., Any], names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """Call a function with arguments by parameter; the inverse of `bound`."""
    given = dict(zip(names, values, strict=True))
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        by_place = [given.pop(n) for n in names if n.startswith("x") and n[1:].isdigit()]
        return function(*by_place, **given)
    args: list[Any] = []
    for one in parameters:
        if one.kind == inspect.Parameter.VAR_POSITIONAL:
            for index in range(len(given)):
                if f"{one.name}{index}" in given:
                    args.append(given.pop(f"{one.name}{index}"))
        elif one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.name in given:
            if len(args) == [p.name for p in parameters].index(one.name):
                args.append(given.pop(one.name))
    return function(*args, **given)


def passed(calls: list[dict[str, Any]], function: Callable[..., Any]) -> tuple[str, ...]:
    """Parameters that an answer takes: those that some call gives another value than the default.

    Positional ones before the last of these stay, so that their order is the function's.
    """
    names: dict[str, None] = {}
    for call in calls:
        names |= dict.fromkeys(call)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return tuple(names)

    def varies(name: str) -> bool:
        one = parameters.get(name)
        if one is None or one.default is inspect.Parameter.empty:
            return True
        return any(name in call and not _same(call[name], one.default) for call in calls)

    order = list(names)
    last = max((i for i, name in enumerate(order) if varies(name)), default=-1)
    kept = []
    for name in order[: last + 1]:
        one = parameters.get(name)
        keyword = one is not None and one.kind == inspect.Parameter.KEYWORD_ONLY
        if varies(name) or not (keyword or _impassable(calls, name)):
            kept.append(name)
    return tuple(kept)


def _impassable(calls: list[dict[str, Any]], name: str) -> bool:
    """Whether a parameter's values are of a type that answers are not called with."""
    try:
        trees.flatten([call.get(name) for call in calls])
    except trees.TreeError:
        return True
    return False


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return False
    return type(one) is type(other) and bool(one == other)


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """What each parameter is where it is not given; `inspect.Parameter.empty` if it must be."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin
        return {}
    return {name: one.default for name, one in parameters.items()}
