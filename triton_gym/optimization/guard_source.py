"""A guard as plain Python that costs about a microsecond a call."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from triton_gym.optimization.guard import Guard, TensorGuard

_PREFIX = "_guard_"


def guard_namespace(guard: Guard) -> dict[str, Any]:
    """The names that `guard_source` uses besides its parameters."""
    names: dict[str, Any] = {
        f"{_PREFIX}Tensor": torch.Tensor,
        f"{_PREFIX}Parameter": torch.nn.Parameter,
        f"{_PREFIX}strided": torch.strided,
        # A parameter may have the name of a builtin.
        **{_PREFIX + one.__name__: one for one in (type, len, list, tuple, dict)},
    }
    for place, constant in enumerate(guard.constants):
        names[f"{_PREFIX}constant{place}"] = constant.value
        names[f"{_PREFIX}kind{place}"] = type(constant.value)
    for one in guard.tensors:
        names[_dtype(one)] = getattr(torch, one.dtype)
        names[_device(one)] = torch.device(one.device)
    for name, parameter in guard.signature.parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            names[f"{_PREFIX}default_{name}"] = parameter.default
    return names


def guard_source(guard: Guard, name: str) -> str:
    """See `Guard.source`."""
    lines = [f"def {name}({_parameters(guard.signature)}):"]
    lines += [f"    if {check}: return False" for check in _plain_checks(guard)]
    for place, one in enumerate(guard.tensors):
        lines += [f"    {line}" for line in _tensor_lines(guard, place, one)]
    lines += [f"    if {check}: return False" for check in _size_checks(guard)]
    return "\n".join([*lines, "    return True", ""])


def _parameters(signature: inspect.Signature) -> str:
    """The signature without annotations, its defaults by name."""
    named = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=(
                inspect.Parameter.empty
                if parameter.default is inspect.Parameter.empty
                else _Name(f"{_PREFIX}default_{name}")
            ),
        )
        for name, parameter in signature.parameters.items()
    ]
    return str(inspect.Signature(named))[1:-1]


class _Name:
    """A default that is written as a name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def _plain_checks(guard: Guard) -> Iterator[str]:
    """What is wrong with containers and constants, as conditions."""
    for argument, kind, length in guard.containers:
        yield (
            f"{_PREFIX}type({argument}) is not {_PREFIX}{kind} or "
            f"{_PREFIX}len({argument}) != {length}"
        )
        if kind == "dict":
            for key in _keys(guard, argument):
                yield f"{key} not in {argument}"
    for place, constant in enumerate(guard.constants):
        if constant.value is None or isinstance(constant.value, bool):
            yield f"{constant.argument} is not {constant.value}"
        else:
            yield (
                f"{_PREFIX}type({constant.argument}) is not {_PREFIX}kind{place} or "
                f"{constant.argument} != {_PREFIX}constant{place}"
            )


def _keys(guard: Guard, container: str) -> dict[str, None]:
    """The keys of a dict that the guard looks up."""
    looked_up = [
        *(one.argument for one in guard.tensors),
        *(one.argument for one in guard.constants),
        *(argument for argument, _, _ in guard.containers),
    ]
    inside = [one for one in looked_up if one.startswith(f"{container}[")]
    return dict.fromkeys(one.removeprefix(f"{container}[").partition("]")[0] for one in inside)


def _tensor_lines(guard: Guard, place: int, one: TensorGuard) -> Iterator[str]:
    """Checks of one tensor by itself; binds its sizes to names."""
    x = one.argument
    if not x.isidentifier():
        x = f"{_PREFIX}tensor{place}"
        yield f"{x} = {one.argument}"
    kind = f"{_PREFIX}kind"
    yield f"{kind} = {_PREFIX}type({x})"
    yield f"if {kind} is not {_PREFIX}Tensor and {kind} is not {_PREFIX}Parameter: return False"
    yield f"if {x}.dtype is not {_dtype(one)} or {_elsewhere(x, one)}: return False"
    yield f"if {x}.layout is not {_PREFIX}strided: return False"
    # Memory that PyTorch negates or conjugates as it reads it; a kernel would not.
    complex_too = f" or {x}.is_conj()" if getattr(torch, one.dtype).is_complex else ""
    yield f"if {x}.is_neg(){complex_too}: return False"
    yield f"{_PREFIX}shape{place} = {x}.shape"
    yield f"if {_PREFIX}len({_PREFIX}shape{place}) != {len(one.shape)}: return False"
    if one.order is not None and one.order == tuple(range(len(one.order))) and one.order:
        yield f"if not {x}.is_contiguous(): return False"
    for name, (argument, axis) in guard.sizes.items():
        if argument == one.argument:
            yield f"{_size(name)} = {_PREFIX}shape{place}[{axis}]"


def _size_checks(guard: Guard) -> Iterator[str]:
    """What is wrong with sizes and strides, as conditions."""
    for name, (low, high) in guard.ranges.items():
        bound = "" if high is None else f" <= {high}"
        yield f"not {low} <= {_size(name)}{bound}"
    for condition in guard.conditions:
        yield f"not ({_renamed(guard, condition)})"
    for place, one in enumerate(guard.tensors):
        fixed = [
            f"{_PREFIX}shape{place}[{axis}] != {_renamed(guard, size)}"
            for axis, size in enumerate(one.shape)
            if guard.sizes.get(str(size)) != (one.argument, axis)
        ]
        if fixed:
            yield " or ".join(fixed)
        if one.order is None:
            yield f"{one.argument}.stride() != ({_listed(guard, one.stride)})"
        elif one.order != tuple(range(len(one.order))):
            order = ", ".join(map(str, one.order))
            yield f"not {one.argument}.permute({order}).is_contiguous()"


def _listed(guard: Guard, values: tuple[int | str, ...]) -> str:
    return "".join(f"{_renamed(guard, value)}, " for value in values)


def _size(name: str) -> str:
    """A size's name in the source, where parameters have their own."""
    return f"{_PREFIX}size_{name}"


def _renamed(guard: Guard, expression: int | str) -> str:
    """An expression over named sizes, as it is written in the source."""
    import ast

    if isinstance(expression, int):
        return str(expression)
    tree = ast.parse(expression, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in guard.sizes:
            node.id = _size(node.id)
    return f"({ast.unparse(tree)})"


def _dtype(one: TensorGuard) -> str:
    return f"{_PREFIX}{one.dtype}"


def _elsewhere(x: str, one: TensorGuard) -> str:
    """Whether a tensor is on another device; of a GPU the number is asked, in half the time."""
    kind, _, index = one.device.partition(":")
    if kind == "cuda" and index:
        return f"{x}.get_device() != {index}"
    return f"{x}.device != {_device(one)}"


def _device(one: TensorGuard) -> str:
    return f"{_PREFIX}{one.device.replace(':', '_')}"
