"""Which calls of a function a traced graph, and so every answer to its task, holds for."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.optimization.guard_source import guard_namespace, guard_source


@dataclass(frozen=True, slots=True)
class TensorGuard:
    """What a tensor among the arguments must be."""

    argument: str
    """A Python expression over the function's parameters: `x`, `xs[0]`, `options['mask']`."""
    dtype: str
    """Name of its torch dtype."""
    device: str
    """Type and index: `cuda:0`, `cpu`."""
    shape: tuple[int | str, ...]
    """A number where the size is fixed, else an expression over the names of `Guard.sizes`."""
    order: tuple[int, ...] | None
    """The axes from the outermost to the innermost if its memory has no gaps in that order;
    (0, 1, …) is contiguous. None: `stride` holds."""
    stride: tuple[int | str, ...] = ()
    """Where memory has gaps or is read twice: each stride, as in `shape`."""


@dataclass(frozen=True, slots=True)
class ConstantGuard:
    """A plain value among the arguments that was traced as a constant."""

    argument: str
    value: Any
    """None, a number, a text, a dtype, a device: the same type and equal."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What is checked of a call's arguments.

    Not checked here, but by who calls: grad, autocast and functorch modes, that captured tensors
    are the very same and settings equal (`TracedFunction.captured`, `settings`).
    """

    signature: inspect.Signature
    """Of the function; defaults are plain values."""
    tensors: tuple[TensorGuard, ...]
    constants: tuple[ConstantGuard, ...]
    containers: tuple[tuple[str, str, int], ...] = ()
    """Arguments that are containers: expression, `list`, `tuple` or `dict`, number of items."""
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Where each named size is read: expression of a tensor and an axis of it."""
    ranges: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """Smallest and largest of each named size, both included; None for no bound."""
    conditions: tuple[str, ...] = ()
    """Further Python expressions over the named sizes that must hold: `n % 8 == 0`."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Expressions over the function's parameters, one for each of the answer's."""
        return tuple(one.argument for one in self.tensors)

    def describe(self) -> dict[str, Any]:
        """The guard as JSON, for reports and for the keys of caches."""
        return {
            "signature": str(self.signature),
            "tensors": [
                {
                    "argument": one.argument, "dtype": one.dtype, "device": one.device,
                    "shape": list(one.shape),
                    "order": None if one.order is None else list(one.order),
                    "stride": list(one.stride),
                }
                for one in self.tensors
            ],
            "constants": {one.argument: repr(one.value) for one in self.constants},
            "containers": [list(one) for one in self.containers],
            "sizes": {name: list(where) for name, where in self.sizes.items()},
            "ranges": {name: list(range_) for name, range_ in self.ranges.items()},
            "conditions": list(self.conditions),
        }  # fmt: skip

    def answer_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """What an answer takes of a call, before the captured tensors.

        Raises:
            TypeError: the call does not fit the signature.
        """
        scope = self._bound(args, kwargs)
        return tuple(_value(one, scope) for one in self.arguments)

    def matches(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call is inside the guard: the slow and clear form of `source`."""
        return self.failure(args, kwargs) is None

    def failure(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """What keeps a call outside, in words; None if it is inside."""
        try:
            scope = self._bound(args, kwargs)
        except TypeError as error:
            return f"the call does not fit the signature {self.signature}: {error}"
        try:
            return self._plain_failure(scope) or self._tensor_failure(scope)
        except (KeyError, IndexError):
            return "a dict has other keys than the one that was traced"

    def size_values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, int]:
        """The named sizes of a call that is inside the guard."""
        scope = self._bound(args, kwargs)
        return {
            name: int(_value(argument, scope).shape[axis])
            for name, (argument, axis) in self.sizes.items()
        }

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _plain_failure(self, scope: dict[str, Any]) -> str | None:
        for argument, kind, length in self.containers:
            value = _value(argument, scope)
            if type(value).__name__ != kind or len(value) != length:
                return f"{argument} is no {kind} of {length} items"
        for constant in self.constants:
            value = _value(constant.argument, scope)
            if type(value) is not type(constant.value) or value != constant.value:
                return f"{constant.argument} is {_shown(value)}, not {constant.value!r}"
        return None

    def _tensor_failure(self, scope: dict[str, Any]) -> str | None:
        found = {one.argument: _value(one.argument, scope) for one in self.tensors}
        for one in self.tensors:
            value = found[one.argument]
            if type(value) is not torch.Tensor and type(value) is not torch.nn.Parameter:
                return f"{one.argument} is a {type(value).__name__}, not a plain tensor"
            if value.dtype is not getattr(torch, one.dtype):
                return f"{one.argument} is of {value.dtype}, not {one.dtype}"
            if str(value.device) != one.device or value.layout is not torch.strided:
                return f"{one.argument} is on {value.device} ({value.layout}), not {one.device}"
            if value.is_neg() or value.is_conj():
                return f"{one.argument} is negated or conjugated as it is read"
            if value.dim() != len(one.shape):
                return f"{one.argument} has {value.dim()} axes, not {len(one.shape)}"
        sizes = {
            name: int(found[argument].shape[axis]) for name, (argument, axis) in self.sizes.items()
        }
        for name, (low, high) in self.ranges.items():
            if sizes[name] < low or (high is not None and sizes[name] > high):
                return f"{name} is {sizes[name]}, outside {low} to {high or 'any'}"
        for condition in self.conditions:
            if not _value(condition, sizes):
                return f"{condition} does not hold for {sizes}"
        for one in self.tensors:
            value = found[one.argument]
            if tuple(value.shape) != tuple(_size(size, sizes) for size in one.shape):
                return f"{one.argument} is {tuple(value.shape)}, not {one.shape} for {sizes}"
            if not _laid_out(value, one, sizes):
                return f"{one.argument} has strides {value.stride()}"
        return None

    def source(self, name: str = "inside") -> str:
        """A function of plain Python that takes a call's arguments as the function does.

        It is to be executed in `namespace()`; it returns whether the call is inside the guard.
        Arguments that do not fit the signature raise TypeError, as the function itself would.
        """
        return guard_source(self, name)

    def namespace(self) -> dict[str, Any]:
        """The names that `source` uses besides its parameters."""
        return guard_namespace(self)


def _value(expression: str, scope: Mapping[str, Any]) -> Any:
    """An expression of this module's making, evaluated."""
    return eval(expression, {"__builtins__": {}}, dict(scope))


def _shown(value: Any) -> str:
    """A user's value in words: only that of a plain one, whose `repr` is quick and cannot raise."""
    plain = value is None or type(value) in (bool, int, float, complex, str, bytes)
    return reprlib.repr(value) if plain else f"a {type(value).__name__}"


def _size(size: int | str, sizes: Mapping[str, int]) -> int:
    return size if isinstance(size, int) else int(_value(size, sizes))


def _laid_out(value: torch.Tensor, wanted: TensorGuard, sizes: Mapping[str, int]) -> bool:
    if wanted.order is not None:
        return value.permute(wanted.order).is_contiguous()
    return value.stride() == tuple(_size(step, sizes) for step in wanted.stride)
