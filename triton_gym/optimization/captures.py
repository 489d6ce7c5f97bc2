"""What a function uses besides its arguments: tensors and plain settings, found in its objects."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.optimization.captured import CapturedSetting, Path, Step

DEEPEST = 8
"""How many steps from the function are followed."""
_PLAIN = (bool, int, float, complex, str, type(None), torch.dtype)
_MODAL = (
    torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase, torch.nn.RReLU,
    torch.nn.MultiheadAttention,
)  # fmt: skip
"""PyTorch's own modules that do something else while they are trained."""


@dataclass(slots=True)
class Captures:
    """What was found, each with the shortest path to it."""

    tensors: list[tuple[Path, torch.Tensor]] = field(default_factory=list)
    settings: list[CapturedSetting] = field(default_factory=list)
    modules: list[torch.nn.Module] = field(default_factory=list)
    """Outermost ones, so that their parameters can be lifted to inputs."""

    def path_of(self, tensor: torch.Tensor) -> Path | None:
        """The path to a tensor that was found."""
        return next((path for path, found in self.tensors if found is tensor), None)


class _Walk:
    """Follows what a function refers to, breadth first, each object once."""

    def __init__(self) -> None:
        self.found = Captures()
        self._seen: set[int] = set()
        self._next: list[tuple[tuple[Any, ...], Any]] = []
        self._names: set[str] = set()
        """Every attribute that code which was met so far looks up."""

    def run(self, function: Any) -> Captures:
        self._next = [((), function)]
        while self._next:
            steps, value = self._next.pop(0)
            if len(steps) <= DEEPEST:
                self._look(steps, value)
        return self.found

    def _look(self, steps: tuple[Any, ...], value: Any) -> None:
        if isinstance(value, _PLAIN):
            if steps:
                self.found.settings.append(CapturedSetting(Path(steps), value))
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, torch.Tensor):
            self.found.tensors.append((Path(steps), value))
        elif isinstance(value, torch.nn.Module):
            self.found.modules.append(value)
            self._look_into_module(steps, value)
        elif isinstance(value, types.MethodType):
            self._add(steps, Step.OWNER, "", value.__self__)
            inner: Any = value.__func__
            self._look_into_function(steps, inner)
        elif isinstance(value, types.FunctionType):
            self._look_into_function(steps, value)
        elif isinstance(value, (list, tuple)):
            for place, item in enumerate(value[:256]):
                self._add(steps, Step.ITEM, place, item)
        elif isinstance(value, dict):
            for key, item in list(value.items())[:256]:
                if isinstance(key, (str, int)):
                    self._add(steps, Step.ITEM, key, item)
        elif not isinstance(value, (type, types.ModuleType)) and not _is_library(
            type(value).__module__
        ):
            self._look_into_object(steps, value)

    def _add(self, steps: tuple[Any, ...], step: Step, key: str | int, value: Any) -> None:
        self._next.append(((*steps, (step, key)), value))

    def _look_into_function(self, steps: tuple[Any, ...], function: types.FunctionType) -> None:
        if _is_library(function.__module__):
            return
        names = set(_names(function.__code__))
        self._names |= names
        for name in sorted(names & set(function.__globals__)):
            self._add(steps, Step.GLOBAL, name, function.__globals__[name])
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                self._add(steps, Step.CLOSURE, name, cell.cell_contents)
            except ValueError:  # it is not assigned yet
                continue

    def _look_into_module(self, steps: tuple[Any, ...], module: torch.nn.Module) -> None:
        for name, part in module.named_modules():
            way = steps
            for piece in filter(None, name.split(".")):
                way = (*way, (Step.ATTRIBUTE, piece))
            self._seen.add(id(part))
            own = not _is_library(type(part).__module__)
            if own or isinstance(part, _MODAL):
                setting = CapturedSetting(Path((*way, (Step.ATTRIBUTE, "training"))), part.training)
                self.found.settings.append(setting)
            for key, tensor in (*part._parameters.items(), *part._buffers.items()):
                if tensor is not None and id(tensor) not in self._seen:
                    self._seen.add(id(tensor))
                    self.found.tensors.append((Path((*way, (Step.ATTRIBUTE, key))), tensor))
            if own:
                self._look_into_object(way, part)

    def _look_into_object(self, steps: tuple[Any, ...], value: Any) -> None:
        """What the methods of its class use, and its attributes that code looks up by name."""
        for key, method in inspect.getmembers(type(value), inspect.isfunction):
            if key != "__init__" and not _is_library(method.__module__):
                self._names |= set(_names(method.__code__))
                self._add(steps, Step.METHOD, key, method)
        held = getattr(value, "__dict__", {})
        for key in sorted(self._names & set(held)):
            if not key.startswith("__") and key != "training":
                self._add(steps, Step.ATTRIBUTE, key, held[key])


def _names(code: types.CodeType) -> Iterator[str]:
    """Names that a code object and those within it look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_library(module: str | None) -> bool:
    """Whether code belongs to PyTorch, Triton or NumPy, whose globals are no settings."""
    return (module or "").partition(".")[0] in ("torch", "triton", "numpy", "builtins", "math")


def captures_of(function: Any) -> Captures:
    """What a function, bound method or module uses besides its arguments."""
    return _Walk().run(function)
