"""A task's own functions, called: its inputs drawn, its reference run in its dtype and in float64.

Results of any kind are taken apart into tensors (`trees`). What a function of the task raises is
told as the task's fault (`faults`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import trees, writing
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.oracle import Exact
from triton_gym.task import Case, Task


@dataclass(frozen=True, slots=True)
class Returned:
    """A reference's result, taken apart."""

    tensors: tuple[torch.Tensor, ...]
    """In order, on the arguments' device; a Python number is a tensor of no dimensions."""
    tree: trees.Tree
    """What an answer must return around them."""


def draw_inputs(task: Task, case: Case, seed: int, device: torch.device) -> tuple[Any, ...]:
    """The arguments of a case from a seed, one for each parameter, tensors on `device`.

    Raises:
        InvalidTaskError: the task's generator returned something else.
    """
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    return _arguments(task, case, generator)


def _arguments(task: Task, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
    device = generator.device
    with blaming(task, "inputs()", case):
        drawn = task.inputs(case, generator)
        arguments: tuple[Any, ...] = (drawn,) if isinstance(drawn, torch.Tensor) else tuple(drawn)
    parameters = task.entry.parameters
    if len(arguments) != len(parameters):
        raise InvalidTaskError(
            f"inputs() of task {task.name!r} gave {len(arguments)} arguments for "
            f"{len(parameters)} parameters ({', '.join(parameters)})."
        )
    for name, value in zip(parameters, arguments, strict=True):
        _hold_argument(task, case, name, value, device)
    return arguments


def fake_arguments(task: Task, case: Case) -> tuple[FakeTensorMode, tuple[Any, ...]]:
    """The arguments of a case without their values, and the mode that they live in."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        return mode, _arguments(task, case, torch.Generator())


def _hold_argument(task: Task, case: Case, name: str, value: Any, device: torch.device) -> None:
    try:
        tensors, _ = trees.flatten(value)
    except trees.TreeError as error:
        raise InvalidTaskError(
            f"Argument {name!r} of task {task.name!r} must be a tensor, None, a number, a text, a "
            f"dtype, or a tuple, list or dict of these; {error}."
        ) from None
    for tensor in tensors:
        if tensor.device.type != device.type:
            raise InvalidTaskError(
                f"Argument {name!r} of task {task.name!r} must be on the generator's device "
                f"{device}; it is on {tensor.device}."
            )
        if name in case.dtypes and tensor.dtype != case.dtype_of(name):
            raise InvalidTaskError(
                f"Argument {name!r} of task {task.name!r} must be of the dtype that case {case} "
                f"names; it is {tensor.dtype}."
            )


def returned(task: Task, arguments: Sequence[Any], case: Case | None = None) -> Returned:
    """The reference's result in the arguments' own dtype.

    Args:
        task: bound to a module's parameters.
        arguments: as `draw_inputs` makes them.
        case: what they were drawn for, to be named if the reference fails.

    Raises:
        InvalidTaskError: the reference fails, or nothing in its result can be judged.
    """
    with blaming(task, "reference", case):
        return _returned(task, task.reference, arguments)


def reference(
    task: Task, arguments: Sequence[Any], case: Case | None = None
) -> tuple[torch.Tensor, ...]:
    """The tensors of `returned`."""
    return returned(task, arguments, case).tensors


def oracle(
    task: Task, arguments: Sequence[Any], case: Case | None = None
) -> tuple[torch.Tensor, ...]:
    """The tensors of the reference's result computed in float64; see `oracle`'s module."""
    return exactly(task, arguments, case)[0]


def exactly(
    task: Task, arguments: Sequence[Any], case: Case | None = None
) -> tuple[tuple[torch.Tensor, ...], Exact]:
    """The same, with what was seen of how it was computed."""
    seen = Exact()
    with seen.running():
        return nearly(task, arguments, case), seen


def nearly(
    task: Task, arguments: Sequence[Any], case: Case | None = None
) -> tuple[torch.Tensor, ...]:
    """The same for whom a reference's own casts do not matter, in less time."""
    function = getattr(task.reference, "exact", task.reference)  # a module's parameters, too
    with blaming(task, "reference in float64 (the oracle)", case):
        return _returned(task, function, [_upcast_all(value) for value in arguments]).tensors


def _returned(task: Task, function: Callable[..., Any], arguments: Sequence[Any]) -> Returned:
    with torch.no_grad():
        result = writing.called(function, task.reference, arguments)
    try:
        tensors, tree = trees.flatten(result, numbers=True)
    except trees.TreeError as error:
        raise InvalidTaskError(
            f"The reference of task {task.name!r} must return tensors, numbers, None, or tuples, "
            f"lists and dicts of these; {error}."
        ) from None
    if not tensors:
        raise InvalidTaskError(
            f"The reference of task {task.name!r} returns neither a tensor nor a number: there is "
            "nothing to judge an answer by."
        )
    # Numbers, and what a reference made on the host, are held where answers' results are.
    given, _ = trees.flatten(list(arguments))
    device = given[0].device if given else tensors[0].device
    return Returned(tuple(tensor.to(device) for tensor in tensors), tree)


def upcast(value: Any) -> Any:
    """A floating tensor in float64, a complex one in complex128, anything else as it is."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            return value.to(torch.float64)
        return value.to(torch.complex128) if value.is_complex() else value
    return value


def _upcast_all(value: Any) -> Any:
    tensors, tree = trees.flatten(value)
    return trees.assemble(tree, iter([upcast(tensor) for tensor in tensors]))
