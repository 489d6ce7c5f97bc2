"""Whether a result is right: oracle, derived tolerance, comparison.

The error of a value is taken relative to its own size plus the size of its row:
`|x - o| / (|o| + scale)`, where `o` is the float64 oracle and `scale` the root mean square of the
oracle along the last axis. So every row must be right in its own units, and cancellation near
zero is not held against an honest kernel.

The tolerance of an output is `max(FACTOR · error of the PyTorch reference in the task's dtype,
2 ε(dtype) + 8 ε(float32) √n)` with n the longest sum. The second term is the rounding of the
result plus the statistical growth of rounding errors in a float32 sum of n terms in any order
(Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., §2.8 and §4.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.task import Case, Task

FACTOR = 4.0
"""How many times the reference's own error an answer may make."""
_CHUNK = 1 << 26
"""Elements compared at once, which bounds the memory of a comparison."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a call must return: the oracle's outputs and the tolerance of each."""

    outputs: tuple[torch.Tensor, ...]
    tolerances: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison of one call."""

    ok: bool
    max_error: float
    tolerance: float
    message: str = ""


def draw_inputs(task: Task, case: Case, seed: int, device: torch.device) -> tuple[Any, ...]:
    """The arguments of a case from a seed: tensors on `device`, and plain numbers.

    Raises:
        InvalidTaskError: the task's generator returned something else.
    """
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    arguments: tuple[Any, ...] = tuple(task.inputs(case, generator))
    if len(arguments) != len(task.entry.parameters):
        raise InvalidTaskError(
            f"inputs() of task {task.name!r} gave {len(arguments)} arguments for "
            f"{len(task.entry.parameters)} parameters ({', '.join(task.entry.parameters)})."
        )
    for name, value in zip(task.entry.parameters, arguments, strict=True):
        if isinstance(value, torch.Tensor):
            if value.device.type != device.type or not value.is_contiguous():
                raise InvalidTaskError(
                    f"Argument {name!r} of task {task.name!r} must be a contiguous tensor on the "
                    f"generator's device {device}; it is on {value.device}, "
                    f"contiguous: {value.is_contiguous()}."
                )
        elif not isinstance(value, (int, float, bool)):
            raise InvalidTaskError(
                f"Argument {name!r} of task {task.name!r} must be a tensor or a number; "
                f"got {type(value).__name__}."
            )
    return arguments


def reference(task: Task, arguments: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    """The reference's outputs as a tuple, in the arguments' own dtype."""
    return _outputs(task, task.reference, arguments)


def _outputs(
    task: Task, function: Callable[..., Any], arguments: Sequence[Any]
) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        result = function(*arguments)
    outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    if not all(isinstance(output, torch.Tensor) for output in outputs):
        raise InvalidTaskError(f"The reference of task {task.name!r} must return tensors.")
    return outputs


def oracle(task: Task, arguments: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    """The reference's outputs computed in float64."""
    exact = getattr(task.reference, "exact", task.reference)  # a module's parameters are upcast too
    return _outputs(task, exact, [upcast(value) for value in arguments])


def upcast(value: Any) -> Any:
    """A floating tensor in float64, anything else as it is."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(torch.float64)
    return value


def expect(task: Task, case: Case, arguments: Sequence[Any]) -> Expected:
    """Oracle and tolerances for the arguments of a case; see `bounded`."""
    return bounded(task, case, reference(task, arguments), oracle(task, arguments))


def bounded(
    task: Task, case: Case, plain: Sequence[torch.Tensor], exact: tuple[torch.Tensor, ...]
) -> Expected:
    """The oracle's outputs with the tolerance of each.

    Raises:
        InvalidTaskError: the oracle is not finite.
    """
    finite = [torch.isfinite(o).all() for o in exact if o.is_floating_point()]
    found = _read([*finite, *_own_errors(plain, exact)])
    if not all(found[: len(finite)]):
        raise InvalidTaskError(f"The oracle of task {task.name!r} is not finite on {case}.")
    return Expected(exact, _tolerances(task, case, plain, found[len(finite) :]))


def tolerances(
    task: Task, case: Case, plain: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> tuple[float, ...]:
    """Tolerance of each output, from the reference's own error against the oracle."""
    return _tolerances(task, case, plain, _read(_own_errors(plain, exact)))


def _own_errors(plain: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [_worst(p, o)[0] for p, o in zip(plain, exact, strict=True) if p.is_floating_point()]


def _tolerances(
    task: Task, case: Case, plain: Sequence[torch.Tensor], errors: Sequence[float]
) -> tuple[float, ...]:
    own = iter(errors)
    return tuple(
        max(FACTOR * next(own), floor(p.dtype, task.reduction(case)))
        if p.is_floating_point()
        else 0.0
        for p in plain
    )


def floor(dtype: torch.dtype, reduction: int) -> float:
    """The smallest tolerance of an output, see the head of this module."""
    return 2 * torch.finfo(dtype).eps + 8 * torch.finfo(torch.float32).eps * math.sqrt(reduction)


def compare(results: Sequence[torch.Tensor], expected: Expected, where: str) -> Verdict:
    """Compare the results of one call; shapes and dtypes agree already.

    Args:
        results: what the answer returned, on the device of the expected outputs.
        expected: the oracle's outputs, or a reference's with doubled tolerances.
        where: name of the case, for the message.
    """
    return compare_all([(results, expected, where)], [])[0][0]


def compare_all(
    calls: Sequence[tuple[Sequence[torch.Tensor], Expected, str]], others: Sequence[torch.Tensor]
) -> tuple[list[Verdict], list[float]]:
    """Compare the results of several calls, and read other numbers from the device with them.

    Args:
        calls: of each what `compare` takes.
        others: tensors of one value.

    Returns:
        A verdict for each call; the values of `others`.
    """
    worst = [_worst(r, o) for results, expected, _ in calls
             for r, o in zip(results, expected.outputs, strict=True)]  # fmt: skip
    found = _read([*others, *(scalar for pair in worst for scalar in pair)])
    errors = iter(found[len(others) :])
    verdicts = []
    for results, expected, where in calls:
        each = [(next(errors), int(next(errors))) for _ in results]
        verdicts.append(_verdict(results, expected, where, each))
    return verdicts, found[: len(others)]


def _verdict(
    results: Sequence[torch.Tensor], expected: Expected, where: str,
    errors: Sequence[tuple[float, int]],
) -> Verdict:  # fmt: skip
    worst = Verdict(True, 0.0, expected.tolerances[0])
    for index, (error, place) in enumerate(errors):
        result, exact = results[index], expected.outputs[index]
        tolerance = expected.tolerances[index]
        if error <= tolerance:
            if error > worst.max_error or worst.max_error == 0.0:
                worst = Verdict(True, error, tolerance)
            continue
        position = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), exact.shape))
        which = f" of output {index}" if len(results) > 1 else ""
        got, want = result.flatten()[place].item(), exact.flatten()[place].item()
        message = (
            f"Wrong result on {where}: at index {position}{which} of shape {tuple(exact.shape)} "
            f"the value is {got:.6g}, expected {want:.6g}; the relative error {error:.3g} is above "
            f"the tolerance {tolerance:.3g}."
        )
        return Verdict(False, error, tolerance, message + _wrong_share(result, exact, tolerance))
    return worst


def plainly_right(results: Sequence[torch.Tensor], expected: Expected) -> torch.Tensor:
    """Whether results are right beyond doubt, as a tensor: nobody waits for the device.

    It looks at a third of the memory that `compare` does: no error in a row exceeds what the
    tolerance makes of the row's scale alone. What is not plainly right may still be right.
    """
    right = []
    for result, exact, tolerance in zip(
        results, expected.outputs, expected.tolerances, strict=True
    ):
        if not exact.numel():
            continue
        if not exact.is_floating_point():
            right.append((result == exact).all())
            continue
        rows, exact_rows = _rows(result - exact, exact)
        off = torch.linalg.vector_norm(rows, torch.inf, dim=1, dtype=torch.float32)
        norm = torch.linalg.vector_norm(exact_rows, dim=1, dtype=torch.float32)
        # A difference in a narrow dtype is rounded; so a little less is allowed.
        bound = 0.98 * tolerance * norm / math.sqrt(exact_rows.shape[1])
        right.append(((off <= bound) & norm.isfinite()).all())
    if not right:
        return torch.ones((), dtype=torch.bool, device=expected.outputs[0].device)
    return torch.stack(right).all()


def _wrong_share(result: torch.Tensor, exact: torch.Tensor, tolerance: float) -> str:
    """How much of a small result is wrong, a hint at masks and boundaries."""
    if exact.numel() > _CHUNK:
        return ""
    wrong = ~(_errors(*_rows(result, exact)) <= tolerance)
    return f" {int(wrong.sum())} of {exact.numel()} values are wrong."


def _rows(result: torch.Tensor, exact: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    width = exact.shape[-1] if exact.dim() else 1
    return result.reshape(-1, width), exact.reshape(-1, width)


def largest(result: torch.Tensor, exact: torch.Tensor) -> tuple[float, int]:
    """Largest error and its flat index; NaN where none is expected counts as infinite."""
    error, place = _read(list(_worst(result, exact)))
    return error, int(place)


def _worst(result: torch.Tensor, exact: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same as tensors: nobody waits for the device."""
    if exact.numel() == 0:
        return exact.new_zeros((), dtype=torch.float64), exact.new_zeros((), dtype=torch.int64)
    rows, exact_rows = _rows(result, exact)
    width = exact_rows.shape[1]
    step = max(1, _CHUNK // width)
    values, places = [], []
    for start in range(0, len(exact_rows), step):
        errors = _errors(rows[start : start + step], exact_rows[start : start + step]).flatten()
        value, place = errors.max(dim=0)
        values.append(value)
        places.append(place + start * width)
    value, best = torch.stack(values).max(dim=0)
    return value, torch.stack(places).take(best)


def _read(scalars: Sequence[torch.Tensor]) -> list[float]:
    """Numbers from the device, all at once: on one that many share, each wait takes its turn."""
    if not scalars:
        return []
    found: list[float] = torch.stack([scalar.double() for scalar in scalars]).tolist()
    return found


def _errors(rows: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Error of every value; both are (rows, width)."""
    if not exact.is_floating_point():
        return torch.where(rows != exact, math.inf, 0.0)
    work = torch.promote_types(exact.dtype, torch.float32)
    exact = exact.to(work)
    scale = exact.square().mean(dim=1, keepdim=True).sqrt_()
    # A row of zeros has no size of its own.
    scale = scale.clamp_min_(scale.mean() * 1e-3 + torch.finfo(torch.float32).tiny)
    errors = (rows.to(work) - exact).abs_().div_(exact.abs() + scale)
    same = rows.to(work) == exact  # equal infinities
    return errors.masked_fill_(same, 0.0).nan_to_num_(nan=math.inf, posinf=math.inf)
