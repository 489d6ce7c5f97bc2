"""An operator of PyTorch's for a function: what `torch.compile` and export see of a kernel.

In eager mode nothing goes through it: an operator costs several microseconds, a gate one. It is
defined once a binding and stays, whatever answers later: the kernel, or the original if the call
is outside the guard or the kernel was taken back.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.autograd import forward_ad

from triton_gym.evaluation.trees import Branch, Leaf
from triton_gym.optimization import dispatch
from triton_gym.optimization.autograd import differentiable
from triton_gym.optimization.binding import Binding
from triton_gym.optimization.traced import Result

_LIBRARY = "triton_gym"
_count = itertools.count()
_library: list[Any] = []
"""Keeps the library alive: its operators end with it."""


def define(
    name: str, binding: Binding, original: Callable[..., Any], now: Callable[..., Any],
    backward: Callable[..., Any] | None,
) -> Callable[..., Any] | None:  # fmt: skip
    """An operator over the tensors among the arguments; takes what the function takes.

    Args:
        name: of the function.
        binding: says which arguments are tensors and what comes out.
        original: the function.
        now: what answers a call at the time; takes what the function takes.
        backward: see `autograd.differentiable`.

    Returns:
        None where an operator cannot stand for the function: a tensor in a container, a captured
        one, another result than a tensor or a plain sequence of them.
    """
    shape = _shape(binding)
    parameters = [one.argument for one in binding.guard.tensors]
    if shape is None or binding.captured or not all(map(str.isidentifier, parameters)):
        return None
    if not _library:
        _library.append(torch.library.Library(_LIBRARY, "FRAGMENT"))
    library = _library[0]
    suffix = hashlib.sha256(binding.digest.encode()).hexdigest()[:8]
    own = f"{name}_{suffix}_{next(_count)}"
    given = ", ".join(f"Tensor {one}" for one in parameters)
    count = len(binding.results)
    library.define(f"{own}({given}) -> {'Tensor' if count == 1 else _tuple(count)}")
    operator = getattr(getattr(torch.ops, _LIBRARY), own).default
    call = _caller(binding.guard.signature, _constants(binding), parameters)

    def compute(*tensors: torch.Tensor) -> Any:
        return _flat(call(now, tensors))

    def fake(*tensors: torch.Tensor) -> Any:
        return _flat_of([_empty(one, binding, tensors) for one in binding.results])

    def autograd(*tensors: torch.Tensor) -> Any:
        def forward(*given: torch.Tensor) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                return operator(*given)

        if forward_ad._current_level >= 0 and any(
            forward_ad.unpack_dual(one).tangent is not None for one in tensors
        ):
            raise NotImplementedError(
                f"{own} has no forward-mode derivative; call the original, {name}.__wrapped__."
            )
        if not torch.is_grad_enabled() or not any(one.requires_grad for one in tensors):
            return forward(*tensors)
        return differentiable(
            forward, lambda *given: _flat(call(original, given)), backward, tensors
        )

    def cast(*tensors: torch.Tensor) -> Any:
        return _flat(call(original, tensors))  # autocast is the original's matter

    for key in ("CPU", "CUDA"):
        library.impl(own, compute, key)
    torch.library.register_fake(f"{_LIBRARY}::{own}", fake, lib=library)
    library.impl(own, autograd, "Autograd")
    for key in ("AutocastCPU", "AutocastCUDA"):
        library.impl(own, cast, key)
    return _shaped(operator, shape, count, parameters, binding.guard.signature)


def _shape(binding: Binding) -> type[Any] | None:
    """`tuple` or `list` for a sequence of tensors, `Leaf` for a lone one, else None."""
    tree = binding.tree
    if isinstance(tree, Leaf):
        return Leaf
    plain = isinstance(tree, Branch) and tree.kind in ("tuple", "list")
    if not plain or not tree.items or not all(isinstance(one, Leaf) for one in tree.items):
        return None
    return tuple if tree.kind == "tuple" else list


def _tuple(count: int) -> str:
    return f"({', '.join(['Tensor'] * count)})"


def _constants(binding: Binding) -> dict[str, Any]:
    return {
        one.argument: one.value
        for one in binding.guard.constants
        if one.argument in binding.guard.signature.parameters
    }


def _caller(
    signature: inspect.Signature, constants: Mapping[str, Any], parameters: list[str]
) -> Callable[..., Any]:
    """Calls a function of the signature with tensors, and constants where the guard has them."""
    by_name = inspect.Parameter.KEYWORD_ONLY

    def call(function: Callable[..., Any], tensors: tuple[torch.Tensor, ...]) -> Any:
        values = {**constants, **dict(zip(parameters, tensors, strict=True))}
        args = [
            values.get(name, one.default)
            for name, one in signature.parameters.items() if one.kind is not by_name
        ]  # fmt: skip
        kwargs = {
            name: values.get(name, one.default)
            for name, one in signature.parameters.items() if one.kind is by_name
        }  # fmt: skip
        return function(*args, **kwargs)

    return call


def _flat(result: Any) -> Any:
    return _flat_of([result] if isinstance(result, torch.Tensor) else list(result))


def _flat_of(tensors: list[torch.Tensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _empty(result: Result, binding: Binding, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A tensor of a result's shape and strides, over sizes that may be symbols."""
    places = {one.argument: index for index, one in enumerate(binding.guard.tensors)}
    sizes = {
        name: tensors[places[argument]].shape[axis]
        for name, (argument, axis) in binding.guard.sizes.items()
    }

    def value(size: int | str) -> Any:
        return size if isinstance(size, int) else eval(size, {"__builtins__": {}}, dict(sizes))

    return torch.empty_strided(
        [value(size) for size in result.shape], [value(step) for step in result.stride],
        dtype=getattr(torch, result.dtype), device=tensors[0].device,
    )  # fmt: skip


def _shaped(
    operator: Any, shape: type[Any], count: int, parameters: list[str],
    signature: inspect.Signature,
) -> Callable[..., Any]:  # fmt: skip
    """The operator as the function is called, in plain Python that Dynamo can follow."""
    found = f"_swap_operator({', '.join(parameters)})"
    if shape is not Leaf:
        sequence = "_swap_sequence"
        found = f"{sequence}({found})" if count > 1 else f"{sequence}(({found},))"
    scope: dict[str, Any] = {
        "_swap_operator": operator, "_swap_sequence": shape, **dispatch.defaults_of(signature),
    }  # fmt: skip
    source = f"def call({dispatch.parameters_of(signature)}):\n    return {found}\n"
    exec(compile(source, "<operator of a kernel>", "exec"), scope)
    call: Callable[..., Any] = scope["call"]
    return call
