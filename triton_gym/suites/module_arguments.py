"""Modules that a function takes as arguments: an answer is given what they are made of.

A training step is called with a model and a loss. Neither can be handed to an answer, whose
arguments are tensors and plain values; what they hold can: a dict with the text of the module, as
`repr` has it, and its parameters and buffers by name.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

TEXT = "module"
"""The key of a module's text; names of parameters have no such."""
TOLD = (
    "A module among its arguments is given as a dict: its text under `{key!r}`, and its parameters "
    "and buffers by name."
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
