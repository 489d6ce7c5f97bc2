"""What a call must return: inputs, reference, oracle, and the tolerance that follows from them.

A judge needs four functions of this module. `draw_inputs` makes the arguments of a case,
`returned` calls the reference on them, `expect` (or `bounded`, if the reference's result is at
hand) says what an answer must return, and `compare` holds its tensors against that. Results of any
kind are lists of tensors there: `trees` takes them apart, and says what an answer's must look like.

The tolerance of a floating-point output is `max(FACTOR · error of the PyTorch reference in the
task's dtype, 2 ε(dtype) + 8 ε(float32) √n)` with n the longest sum, errors as in `comparison`. The
second term is the rounding of the result plus the statistical growth of rounding errors in a
float32 sum of n terms in any order (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd
ed., §2.8 and §4.2). Integers and booleans must be equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import trees
from triton_gym.evaluation.comparison import (
    Expected,
    Verdict,
    compare,
    compare_all,
    largest,
    plainly_right,
    read,
    told,
    worst_of,
)
from triton_gym.evaluation.faults import blaming
from triton_gym.task import Case, Task

__all__ = [
    "FACTOR", "Expected", "Returned", "Verdict", "bounded", "compare", "compare_all",
    "draw_inputs", "expect", "fake_arguments", "floor", "largest", "oracle", "plainly_right",
    "reference",
    "returned", "told", "tolerances", "upcast",
]  # fmt: skip

FACTOR = 4.0
"""How many times the reference's own error an answer may make."""


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
    """The tensors of the reference's result computed in float64."""
    exact = getattr(task.reference, "exact", task.reference)  # a module's parameters are upcast too
    with blaming(task, "reference in float64 (the oracle)", case):
        return _returned(task, exact, [_upcast_all(value) for value in arguments]).tensors


def _returned(task: Task, function: Callable[..., Any], arguments: Sequence[Any]) -> Returned:
    with torch.no_grad():
        result = function(*arguments)
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


def expect(task: Task, case: Case, arguments: Sequence[Any]) -> Expected:
    """What a call on the arguments of a case must return; see `bounded`."""
    plain = returned(task, arguments, case)
    return bounded(task, case, plain, oracle(task, arguments, case))


def bounded(task: Task, case: Case, plain: Returned, exact: Sequence[torch.Tensor]) -> Expected:
    """The oracle's outputs with the tolerance of each.

    Where the oracle leaves the range of the result's dtype, infinity is expected. Where one of
    reference and oracle is NaN or infinite and the other is not, or is so otherwise, nothing is.

    Raises:
        InvalidTaskError: the reference returns other shapes or dtypes for float64 inputs.
    """
    _hold_oracle(task, case, plain.tensors, exact)
    expected = [_ranged(o, p) for p, o in zip(plain.tensors, exact, strict=True)]
    masks = [_unlike(p, o) for p, o in zip(plain.tensors, expected, strict=True)]
    errors = [
        worst_of(p, o, m)[0]
        for p, o, m in zip(plain.tensors, expected, masks, strict=True)
    ]  # fmt: skip
    masked = [errors[0].new_zeros(()) if m is None else m.any() for m in masks]
    finite = [_finite(o).any() for o in expected if o.numel()]
    found = iter(read([*masked, *errors, *finite]))
    undecided = tuple(mask if next(found) else None for mask in masks)
    own = [next(found) for _ in errors]
    if finite and not any(found):
        raise InvalidTaskError(
            f"The oracle of task {task.name!r} is not finite on {case}: there is nothing to judge."
        )
    return Expected(
        tuple(expected),
        _tolerances(task, case, plain.tensors, own),
        tuple(trees.names(plain.tree)),
        undecided if any(mask is not None for mask in undecided) else (),
    )


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float().isfinite() if tensor.itemsize == 1 else tensor.isfinite()


def _hold_oracle(
    task: Task, case: Case, plain: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> None:
    """Raise unless two results of the reference are alike but for precision."""

    def kind(tensor: torch.Tensor) -> tuple[Any, ...]:
        real = tensor.is_floating_point() or tensor.is_complex()
        return tuple(tensor.shape), "floating point" if real else str(tensor.dtype)

    one, other = [kind(p) for p in plain], [kind(o) for o in exact]
    if one != other:
        raise InvalidTaskError(
            f"The reference of task {task.name!r} returns {one} on {case}, and {other} for the "
            "same values in float64: shapes and kinds must not depend on rounding."
        )


def _ranged(exact: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """The oracle's output, with infinity where the dtype of the result has nothing larger."""
    if not plain.is_floating_point() or plain.itemsize < 2 or exact.dtype == plain.dtype:
        return exact
    return exact.where(exact.to(plain.dtype).isfinite(), exact.to(plain.dtype).to(exact.dtype))


def _unlike(plain: torch.Tensor, exact: torch.Tensor) -> torch.Tensor | None:
    """Where only one of two results is finite, or both are not in different ways."""
    if not (plain.is_floating_point() or plain.is_complex()):
        return None
    one, other = (t.float() if t.itemsize == 1 else t for t in (plain, exact))
    same = (one == other) | (one.isnan() & other.isnan())
    return ~(one.isfinite() & other.isfinite()) & ~same


def tolerances(
    task: Task, case: Case, plain: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> tuple[float, ...]:
    """Tolerance of each output, from the reference's own error against the oracle."""
    masks = [_unlike(p, o) for p, o in zip(plain, exact, strict=True)]
    errors = [worst_of(p, o, m)[0] for p, o, m in zip(plain, exact, masks, strict=True)]
    return _tolerances(task, case, plain, read(errors))


def _tolerances(
    task: Task, case: Case, plain: Sequence[torch.Tensor], errors: Sequence[float]
) -> tuple[float, ...]:
    with blaming(task, "reduction()", case):
        length = task.reduction(case)
    return tuple(
        max(FACTOR * error, floor(p.dtype, length))
        if p.is_floating_point() or p.is_complex()
        else 0.0
        for p, error in zip(plain, errors, strict=True)
    )


def floor(dtype: torch.dtype, reduction: int) -> float:
    """The smallest tolerance of an output, see the head of this module."""
    return 2 * torch.finfo(dtype).eps + 8 * torch.finfo(torch.float32).eps * math.sqrt(reduction)
