"""Modules and objects that a function takes as arguments: an answer is given what they hold.

A training step is called with a model and a loss. Neither can be handed to an answer, whose
arguments are tensors and plain values; what they hold can: a dict with the text of the module, as
`repr` has it, and its parameters and buffers by name. An object of a class that the problem's file
defines, such as a configuration, is given as a dict of its class's name and its attributes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch

TEXT = "module"
"""The key of a module's text; names of parameters have no such."""
TOLD = (
    "A module among its arguments is given as a dict: its text under `{key!r}`, and its parameters "
    "and buffers by name."
)

CLASS = "class"
"""The key of the name of an object's class; no attribute can be called so."""
TOLD_OBJECT = (
    "An object among its arguments is given as a dict: the name of its class under `{key!r}`, and "
    "its attributes by name."
)


def described(module: torch.nn.Module) -> dict[str, Any]:
    """What an answer is given for a module, its tensors copied."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {TEXT: repr(module), **{name: t.detach().clone() for name, t in state.items()}}


def is_described(value: Any) -> bool:
    """Whether a value stands for a module."""
    return isinstance(value, dict) and isinstance(value.get(TEXT), str)


def restored(value: Mapping[str, Any], known: Mapping[str, torch.nn.Module]) -> torch.nn.Module:
    """A module with the values that were given, in their dtypes and on their device.

    Args:
        value: what `described` gave, with tensors of any dtype.
        known: modules by their text.
    """
    module = copy.deepcopy(known[value[TEXT]])
    for name, tensor in value.items():
        if name == TEXT:
            continue
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path)
        own = tensor.detach().clone()  # a step changes it
        if last in owner._parameters:
            setattr(owner, last, torch.nn.Parameter(own, requires_grad=own.is_floating_point()))
        else:
            setattr(owner, last, own)
    return module


def is_own(value: Any) -> bool:
    """Whether a value is an object of a class that a problem's file defines, and no memory."""
    own = type(value).__module__ == "problem" and hasattr(value, "__dict__")
    return own and not hasattr(value, "data_ptr")


def described_object(value: Any) -> dict[str, Any]:
    """What an answer is given for an object."""
    return {CLASS: type(value).__name__, **vars(value)}


def is_object(value: Any) -> bool:
    """Whether a value stands for an object."""
    return isinstance(value, dict) and isinstance(value.get(CLASS), str)


def restored_object(value: Mapping[str, Any], classes: Mapping[str, type]) -> Any:
    """The object with these attributes, of the class of that name."""
    found: Any = object.__new__(classes[value[CLASS]])
    vars(found).update({name: one for name, one in value.items() if name != CLASS})
    return found


def told_of(values: Iterable[Any]) -> str:
    """What a statement says of arguments that stand for modules and objects."""
    given = list(values)
    said = [TOLD.format(key=TEXT)] if any(map(is_described, given)) else []
    said += [TOLD_OBJECT.format(key=CLASS)] if any(map(is_object, given)) else []
    return " ".join(said)
