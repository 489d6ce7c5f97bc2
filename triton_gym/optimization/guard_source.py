"""A guard as plain Python that costs about a microsecond a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from triton_gym.optimization.dispatch import defaults_of, parameters_of

if TYPE_CHECKING:
    from triton_gym.optimization.guard import Guard, TensorGuard

_PREFIX = "_guard_"


def guard_namespace(guard: Guard) -> dict[str, Any]:
    """The names that `guard_source` uses besides its parameters."""
    names: dict[str, Any] = {
        **defaults_of(guard.signature),
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
    return names


def guard_source(guard: Guard, name: str) -> str:
    """See `Guard.source`."""
    lines = [f"if {check}: return False" for check in plain_checks(guard)]
    lines += bindings(guard)
    checks = [*kind_checks(guard), *size_checks(guard)]
    lines += [f"if {check}: return False" for check in checks]
    head = f"def {name}({parameters_of(guard.signature)}):"
    return "\n".join([head, *(f"    {line}" for line in [*lines, "return True"]), ""])


def tensor_name(guard: Guard, place: int) -> str:
    """What a tensor among the arguments is called in the source, after `bindings`."""
    argument = guard.tensors[place].argument
    return argument if argument.isidentifier() else f"{_PREFIX}tensor{place}"


def bindings(guard: Guard) -> Iterator[str]:
    """Lines that give a name to each tensor in a container; for after `plain_checks`."""
    for place, one in enumerate(guard.tensors):
        if not one.argument.isidentifier():
            yield f"{tensor_name(guard, place)} = {one.argument}"


def plain_checks(guard: Guard) -> Iterator[str]:
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


def kind_checks(guard: Guard) -> Iterator[str]:
    """What is wrong with tensors besides sizes and strides, as conditions over their names."""
    kind = f"{_PREFIX}kind"
    for place, one in enumerate(guard.tensors):
        x = tensor_name(guard, place)
        yield (
            f"({kind} := {_PREFIX}type({x})) is not {_PREFIX}Tensor and {kind} is not "
            f"{_PREFIX}Parameter"
        )
        yield f"{x}.dtype is not {_dtype(one)} or {_elsewhere(x, one)}"
        yield f"{x}.layout is not {_PREFIX}strided"
        # Memory that PyTorch negates or conjugates as it reads it; a kernel would not.
        complex_too = f" or {x}.is_conj()" if getattr(torch, one.dtype).is_complex else ""
        yield f"{x}.is_neg(){complex_too}"


def size_checks(guard: Guard) -> Iterator[str]:
    """What is wrong with sizes and strides, as conditions; for tensors of the right kind."""
    yield from _named_sizes(guard)
    for condition in guard.conditions:
        yield f"not ({_renamed(guard, condition)})"
    for place, one in enumerate(guard.tensors):
        x, rank = tensor_name(guard, place), tuple(range(len(one.shape)))
        own = [axis for argument, axis in guard.sizes.values() if argument == one.argument]
        if not own:  # compared whole: that is cheaper than axis by axis
            yield f"{x}.shape != ({_listed(guard, one.shape)})"
        elif others := [axis for axis in rank if axis not in own]:
            yield " or ".join(
                f"{_PREFIX}shape{place}[{axis}] != {_renamed(guard, one.shape[axis])}"
                for axis in others
            )
        if one.order is None:
            yield f"{x}.stride() != ({_listed(guard, one.stride)})"
        elif one.order != rank:
            yield f"not {x}.permute({', '.join(map(str, one.order))}).is_contiguous()"
        elif rank:
            yield f"not {x}.is_contiguous()"


def _named_sizes(guard: Guard) -> Iterator[str]:
    """What is wrong with the named sizes; binds them to names."""
    places = {one.argument: place for place, one in enumerate(guard.tensors)}
    read: set[int] = set()
    for name, (argument, axis) in guard.sizes.items():
        place = places[argument]
        shape, x = f"{_PREFIX}shape{place}", tensor_name(guard, place)
        if place not in read:
            read.add(place)
            yield f"{_PREFIX}len({shape} := {x}.shape) != {len(guard.tensors[place].shape)}"
        low, high = guard.ranges.get(name, (0, None))
        bound = "" if high is None else f" <= {high}"
        yield f"not {low} <= ({_size(name)} := {shape}[{axis}]){bound}"


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
