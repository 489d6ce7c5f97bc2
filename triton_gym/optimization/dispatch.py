"""The code between a call and what answers it, generated so that it costs about a microsecond.

A wrapper has the signature of the function and one attribute to look up. What it finds there is
the function itself, or a *gate*: the guard written out, the modes in which PyTorch would do more
than compute (autograd, autocast, transforms, dispatch modes), and the call of the answer. Whatever
is not plainly inside goes to the original.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import forward_ad

from triton_gym.optimization.binding import Binding

_PREFIX = "_swap_"


@dataclass(frozen=True, slots=True)
class Ways:
    """Where a gate sends a call; each takes what the function takes."""

    outside: Callable[..., Any]
    """Not inside the guard, or in a mode: the original."""
    differentiable: Callable[..., Any]
    """Something requires grad."""
    sampled: Callable[..., Any]
    """One of the few calls that are computed twice."""
    failed: Callable[..., Any]
    """The answer raised; takes the exception first."""
    answer: Callable[..., Any]
    """The answer, called with tensors."""


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
    made = _made(source, identifier(function), scope, f"<call of {identifier(function)}>")
    return functools.wraps(function)(made)


def gate(
    function: Callable[..., Any], binding: Binding, ways: Ways, share: float,
    draw: Callable[[], float],
) -> Callable[..., Any]:  # fmt: skip
    """What `state.now` is while an answer is in use.

    Args:
        function: the original.
        binding: of the answer.
        ways: where calls go.
        share: of the calls, how many are `sampled`; 1 for all.
        draw: a random number from [0, 1).
    """
    guard, name = binding.guard, "gate"
    call = names_of(guard.signature)
    outside = f"return {_PREFIX}outside({call})"
    lines = guard.source(name).replace("return False", outside).splitlines()
    head, *checks = [line for line in lines if line.strip() != "return True"]
    scope: dict[str, Any] = dict(guard.namespace())
    for field in ("outside", "differentiable", "sampled", "failed", "answer"):
        scope[_PREFIX + field] = getattr(ways, field)
    scope[f"{_PREFIX}draw"] = draw
    body = [f"if {mode}: {outside}" for mode in _modes(binding, scope)]
    body += [line.strip() for line in checks]
    body += _held(function, binding, scope, outside)
    tensors = [one.argument for one in guard.tensors]
    tensors += [f"{_PREFIX}tensor{i}" for i in range(len(binding.captured))]
    wanting = " or ".join(f"{one}.requires_grad" for one in tensors)
    scope[f"{_PREFIX}grad"] = torch.is_grad_enabled
    body.append(f"if {_PREFIX}grad() and ({wanting}): return {_PREFIX}differentiable({call})")
    if share >= 1:
        body.append(f"return {_PREFIX}sampled({call})")
    else:
        if share > 0:
            body.append(f"if {_PREFIX}draw() < {share!r}: return {_PREFIX}sampled({call})")
        body += [
            f"try: return {_PREFIX}answer({', '.join(tensors)})",
            f"except Exception as {_PREFIX}raised: {_PREFIX}error = {_PREFIX}raised",
            # Outside of the handler: what the original raises has no other context.
            f"return {_PREFIX}failed({', '.join(filter(None, (f'{_PREFIX}error', call)))})",
        ]
    source = "\n".join([head, *(f"    {line}" for line in body), ""])
    return _made(source, name, scope, f"<gate of {identifier(function)}>")


def _modes(binding: Binding, scope: dict[str, Any]) -> Iterator[str]:
    """Conditions under which PyTorch would do more with the function than compute it."""
    scope[f"{_PREFIX}transforms"] = torch._C._functorch.peek_interpreter_stack
    yield f"{_PREFIX}transforms() is not None"
    scope[f"{_PREFIX}forward"] = forward_ad
    yield f"{_PREFIX}forward._current_level >= 0"
    scope[f"{_PREFIX}autocast"] = torch._C._is_any_autocast_enabled
    yield f"{_PREFIX}autocast()"
    scope[f"{_PREFIX}dispatch"] = torch._C._len_torch_dispatch_stack
    yield f"{_PREFIX}dispatch()"
    scope[f"{_PREFIX}tracing"] = torch._C._is_tracing  # of torch.jit.trace: no launch is recorded
    yield f"{_PREFIX}tracing()"
    device = torch.device(binding.device)
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        scope[f"{_PREFIX}current"] = torch._C._cuda_getDevice  # kernels start on the current one
        yield f"{_PREFIX}current() != {device.index}"


def _held(
    function: Callable[..., Any], binding: Binding, scope: dict[str, Any], outside: str
) -> Iterator[str]:
    """Whether what the function captured is what it was; binds captured tensors to names."""
    for place, tensor in enumerate(binding.captured):
        found = _looked_up(f"holder{place}", *tensor.path.holder(function), scope)
        scope[f"{_PREFIX}same{place}"] = tensor.path.resolve(function)
        yield f"{_PREFIX}tensor{place} = {found}"
        yield f"if {_PREFIX}tensor{place} is not {_PREFIX}same{place}: {outside}"
    for place, setting in enumerate(binding.settings):
        found = _looked_up(f"setting{place}", *setting.path.holder(function), scope)
        scope[f"{_PREFIX}value{place}"] = setting.value
        yield f"{_PREFIX}found = {found}"
        yield (
            f"if {_PREFIX}found is not {_PREFIX}value{place} and ({_PREFIX}found != "
            f"{_PREFIX}value{place} or type({_PREFIX}found) is not type({_PREFIX}value{place})): "
            f"{outside}"
        )


def _looked_up(name: str, container: Any, key: str | int, scope: dict[str, Any]) -> str:
    """An expression for an item of a container or an attribute of an object."""
    scope[_PREFIX + name] = container
    if isinstance(container, (dict, list, tuple)):
        return f"{_PREFIX}{name}[{key!r}]"
    return f"{_PREFIX}{name}.{key}"


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


def _made(source: str, name: str, scope: dict[str, Any], file: str) -> Callable[..., Any]:
    exec(compile(source, file, "exec"), scope)
    made: Callable[..., Any] = scope[name]
    return made
