"""Where a function finds what it uses besides its arguments: parameters, tensors, plain settings.

A function is traced in another process, so what it captured is named by a path of steps from the
function, which this process follows on its own objects.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Step(enum.StrEnum):
    """One step from an object to one that it holds."""

    GLOBAL = "global"
    """A global variable of the module that a function was defined in."""
    CLOSURE = "closure"
    """A variable of an enclosing function."""
    OWNER = "owner"
    """The object of a bound method; its key is empty."""
    ATTRIBUTE = "attribute"
    """An attribute of an object, a parameter or buffer of a module included."""
    METHOD = "method"
    """A function of an object's class."""
    ITEM = "item"
    """An item of a list, tuple or dict."""


@dataclass(frozen=True, slots=True)
class Path:
    """The way from a function (or module) to a value that it uses."""

    steps: tuple[tuple[Step, str | int], ...]

    def __str__(self) -> str:
        text = ""
        for step, key in self.steps:
            if step is Step.OWNER:
                text = "self"
            elif step in (Step.ATTRIBUTE, Step.METHOD):
                text = f"{text}.{key}" if text else f"self.{key}"
            elif step is Step.ITEM:
                text += f"[{key!r}]"
            else:
                text = str(key)
        return text

    def holder(self, function: Callable[..., Any]) -> tuple[Any, str | int]:
        """The container that holds the value, and its key in it: a dict, list or tuple to look the
        key up in, or a cell with the key `cell_contents`.

        The container stays the same while the value may be assigned anew, so a caller that
        looks there at every call sees it.

        Raises:
            AttributeError, KeyError, IndexError: a step leads nowhere any more.
        """
        found: Any = function
        for step, key in self.steps[:-1]:
            container, key = _container(found, step, key)
            found = _held(container, key)
        return _container(found, *self.steps[-1])

    def resolve(self, function: Callable[..., Any]) -> Any:
        """The value that the path leads to now; raises as `holder`."""
        return _held(*self.holder(function))


def _held(container: Any, key: str | int) -> Any:
    if isinstance(container, (dict, list, tuple)):
        return container[key]  # type: ignore[index]
    return getattr(container, str(key))


def _container(found: Any, step: Step, key: str | int) -> tuple[Any, str | int]:
    if step is Step.OWNER:
        return found, "__self__"
    if step is Step.GLOBAL:
        return getattr(found, "__func__", found).__globals__, key
    if step is Step.CLOSURE:
        inner = getattr(found, "__func__", found)
        place = inner.__code__.co_freevars.index(str(key))
        return inner.__closure__[place], "cell_contents"
    if step is Step.METHOD:
        return type(found), key
    if step is Step.ITEM:
        return found, key
    for name in ("_parameters", "_buffers", "_modules"):  # where a torch.nn.Module keeps them
        inside = getattr(found, "__dict__", {}).get(name)
        if isinstance(inside, dict) and key in inside:
            return inside, key
    own = getattr(found, "__dict__", {})
    return (own, key) if key in own else (found, key)


@dataclass(frozen=True, slots=True)
class CapturedTensor:
    """A tensor that a function uses and does not take: an answer takes it as an argument."""

    name: str
    """Of the answer's parameter."""
    path: Path
    """Where the function finds it. A call is inside the guard only while the very same tensor
    is there; its values may change, since an answer reads them anew."""


@dataclass(frozen=True, slots=True)
class CapturedSetting:
    """A plain value that was traced as a constant, such as a global number or `module.training`."""

    path: Path
    value: Any
    """None, a number, a text, a dtype. A call is inside the guard only while it is equal."""
