"""The code between a call and a kernel that answers it, generated so that it costs a microsecond.

A gate is the guard written out, the modes in which PyTorch would do more than compute (autograd,
autocast, transforms, dispatch modes), and the call of the answer. Whatever is not plainly inside
goes to the original. What a call's tensors are like is checked in full the first time; another
call like it is recognised (`recognised.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from triton_gym.optimization.binding import Binding
from triton_gym.optimization.dispatch import executed, identifier, names_of, parameters_of
from triton_gym.optimization.guard_source import (
    bindings,
    kind_checks,
    plain_checks,
    size_checks,
    tensor_name,
)
from triton_gym.optimization.recognised import Recognised

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
    guard = binding.guard
    call = names_of(guard.signature)
    outside = f"return {_PREFIX}outside({call})"
    fixed = [[n if isinstance(n, int) else None for n in one.shape] for one in guard.tensors]
    recognised = Recognised([*fixed, *(None for _ in binding.captured)])
    scope: dict[str, Any] = {
        **guard.namespace(), f"{_PREFIX}draw": draw, f"{_PREFIX}grad": torch.is_grad_enabled,
        f"{_PREFIX}known": recognised.exact, f"{_PREFIX}forward": forward_ad,
        f"{_PREFIX}full": _full_check(function, binding, recognised),
        f"{_PREFIX}modes": torch._C._len_torch_function_stack, f"{_PREFIX}foreign": _foreign,
        **{_PREFIX + field: getattr(ways, field) for field in Ways.__slots__},
    }  # fmt: skip
    body = [
        f"if {_PREFIX}forward._current_level >= 0: {outside}",
        f"if {_PREFIX}modes() and {_PREFIX}foreign(): {outside}",
    ]
    device = torch.device(binding.device)
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        scope[f"{_PREFIX}current"] = torch._C._cuda_getDevice  # kernels start on the current one
        body.append(f"if {_PREFIX}current() != {device.index}: {outside}")
    body += [f"if {check}: {outside}" for check in plain_checks(guard)]
    body += bindings(guard)
    body += _held(function, binding, scope, outside)
    given = ", ".join(_tensors(binding))
    body += [
        f"{_PREFIX}on = {_PREFIX}grad()",
        f"if not {_PREFIX}known[{_PREFIX}on]({given}):",
        f"    {_PREFIX}why = {_PREFIX}full({_PREFIX}on, {given})",
        f"    if {_PREFIX}why == {_OUTSIDE}: {outside}",
        f"    if {_PREFIX}why == {_DIFFERENTIABLE}: return {_PREFIX}differentiable({call})",
    ]
    if share >= 1:
        body.append(f"return {_PREFIX}sampled({call})")
    else:
        if share > 0:
            body.append(f"if {_PREFIX}draw() < {share!r}: return {_PREFIX}sampled({call})")
        body += [
            f"try: return {_PREFIX}answer({given})",
            f"except Exception as {_PREFIX}raised: {_PREFIX}error = {_PREFIX}raised",
            # Outside of the handler: what the original raises has no other context.
            f"return {_PREFIX}failed({', '.join(filter(None, (f'{_PREFIX}error', call)))})",
        ]
    made: Callable[..., Any] = _executed(
        "gate", parameters_of(guard.signature), body, scope, function
    )
    return made


_INSIDE, _OUTSIDE, _DIFFERENTIABLE = 0, 1, 2
"""What a full check says of a call."""


def _full_check(
    function: Callable[..., Any], binding: Binding, recognised: Recognised
) -> Callable[..., int]:
    """Checks all that a guard asks of tensors, and the modes; takes whether grad is on, and them.

    It remembers calls that are inside, so that the like of them need no full check.
    """
    guard, names = binding.guard, _tensors(binding)
    given = ", ".join(names)
    scope: dict[str, Any] = {
        **guard.namespace(), f"{_PREFIX}alike": recognised.alike,
        f"{_PREFIX}left": recognised.left, f"{_PREFIX}remember": recognised.remember,
    }  # fmt: skip
    # The modes come first: while torch.jit.trace records, reading a size is recorded too.
    first = [*_modes(scope), *kind_checks(guard), *_captured_checks(function, binding, scope)]
    wanting = " or ".join(f"{one}.requires_grad" for one in names)
    body = [
        f"{_PREFIX}wanting = False",
        f"if not {_PREFIX}alike[{_PREFIX}on]({given}):",
        *(f"    if {check}: return {_OUTSIDE}" for check in first),
        f"    {_PREFIX}wanting = {_PREFIX}on and ({wanting})",
        *(f"if {check}: return {_OUTSIDE}" for check in size_checks(guard)),
        f"if {_PREFIX}wanting: return {_DIFFERENTIABLE}",
        f"{_PREFIX}left[{_PREFIX}on] -= 1",
        f"if {_PREFIX}left[{_PREFIX}on] < 0: {_PREFIX}remember({_PREFIX}on, {given})",
        f"return {_INSIDE}",
    ]
    made: Callable[..., int] = _executed("full", f"{_PREFIX}on, {given}", body, scope, function)
    return made


def _foreign() -> bool:
    """Whether a mode sees the functions that are called which does more than name a device."""
    modes = _get_current_function_mode_stack()
    return any(type(one) is not DeviceContext for one in modes)


def _modes(scope: dict[str, Any]) -> Iterator[str]:
    """Conditions under which PyTorch would do more with the function than compute it."""
    for name, condition, asked in (
        ("tracing", "{}()", torch._C._is_tracing),  # of torch.jit.trace: no launch is recorded
        ("transforms", "{}() is not None", torch._C._functorch.peek_interpreter_stack),
        ("autocast", "{}()", torch._C._is_any_autocast_enabled),
        ("dispatch", "{}()", torch._C._len_torch_dispatch_stack),
    ):
        scope[_PREFIX + name] = asked
        yield condition.format(_PREFIX + name)


def _tensors(binding: Binding) -> list[str]:
    """The names of all tensors that an answer takes: arguments, then what is captured."""
    names = [tensor_name(binding.guard, place) for place in range(len(binding.guard.tensors))]
    return names + [f"{_PREFIX}tensor{place}" for place in range(len(binding.captured))]


def _captured_checks(
    function: Callable[..., Any], binding: Binding, scope: dict[str, Any]
) -> Iterator[str]:
    """Whether captured tensors, the very same ones, are no longer of the same kind: PyTorch moves
    and casts a module's parameters in place."""
    for place, captured in enumerate(binding.captured):
        name, tensor = f"{_PREFIX}tensor{place}", captured.path.resolve(function)
        kind = (tensor.dtype, tensor.device, tensor.layout, tensor.shape, tensor.stride())
        scope[f"{_PREFIX}kind{place}"] = kind
        yield (
            f"({name}.dtype, {name}.device, {name}.layout, {name}.shape, {name}.stride()) != "
            f"{_PREFIX}kind{place}"
        )


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


def _executed(
    name: str, parameters: str, body: list[str], scope: dict[str, Any],
    function: Callable[..., Any],
) -> Any:  # fmt: skip
    source = "\n".join([f"def {name}({parameters}):", *(f"    {line}" for line in body), ""])
    return executed(source, name, scope, f"<{name} of {identifier(function)}>")
