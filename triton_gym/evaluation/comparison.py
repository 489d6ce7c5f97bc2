"""Results held against what they must be: errors, tolerances met or not, and the first that is not.

The error of a floating-point value is taken relative to its own size plus the size of its row:
`|x - o| / (|o| + scale)`, where `o` is what is expected and `scale` the root mean square of the
finite values of `o` along the last axis. So every row must be right in its own units, and
cancellation near zero is not held against an honest kernel. NaN is right where NaN is expected,
and only there; so is each infinity. A complex value counts as its two parts, side by side.

Integers and booleans are right or wrong; the error of such a result is the share of wrong values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

_CHUNK = 1 << 26
"""Elements compared at once, which bounds the memory of a comparison."""
_SAMPLE = 1 << 22
"""Elements of an output from which its spread is told."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a call must return, each tensor of the result in the order of `trees.flatten`."""

    outputs: tuple[torch.Tensor, ...]
    """The oracle's, or a reference's."""
    tolerances: tuple[float, ...]
    """Largest error of each."""
    names: tuple[str, ...] = ()
    """Where each is found in the result, as `['loss']`; see `trees.names`."""
    undecided: tuple[torch.Tensor | None, ...] = ()
    """For each a mask of values that are not judged, or None: see `check.expect`."""
    typical: tuple[float, ...] = ()
    """Largest root mean square of the errors of each; any, if empty."""
    spared: tuple[float, ...] = ()
    """For each the share of values that may be off, since they are undecided; none if empty."""

    def spare(self, index: int) -> float:
        """The share of an output's values that may be off."""
        return self.spared[index] if self.spared else 0.0

    def name(self, index: int) -> str:
        """How a message names an output; nothing for a lone one."""
        if len(self.outputs) < 2 and not any(self.names):
            return ""
        named = self.names[index] if self.names else ""
        return f" of output {index}{f', {named}' if named and named != f'[{index}]' else ''}"

    def usual(self, index: int) -> float:
        """The largest root mean square of an output's errors."""
        return self.typical[index] if self.typical else math.inf

    def mask(self, index: int) -> torch.Tensor | None:
        """The values of an output that are not judged."""
        return self.undecided[index] if self.undecided else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison of one call."""

    ok: bool
    max_error: float
    tolerance: float
    message: str = ""

    @property
    def share(self) -> float:
        """The error as a share of what is allowed: above 1 if it is too large."""
        if self.tolerance > 0:
            return self.max_error / self.tolerance
        return math.inf if self.max_error else 0.0


def compare(results: Sequence[torch.Tensor], expected: Expected, where: str) -> Verdict:
    """Compare the results of one call; their number, shapes and dtypes agree already.

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
    worst = [worst_of(r, expected.outputs[i], expected.mask(i)) for results, expected, _ in calls
             for i, r in enumerate(results)]  # fmt: skip
    found = read([*others, *(scalar for three in worst for scalar in three)])
    errors = iter(found[len(others) :])
    verdicts = []
    for results, expected, where in calls:
        each = [(next(errors), int(next(errors)), next(errors)) for _ in results]
        verdicts.append(_verdict(results, expected, where, each))
    return verdicts, found[: len(others)]


def _verdict(
    results: Sequence[torch.Tensor], expected: Expected, where: str,
    errors: Sequence[tuple[float, int, float]],
) -> Verdict:  # fmt: skip
    worst = Verdict(True, 0.0, expected.tolerances[0])
    for index, (error, place, usual) in enumerate(errors):
        tolerance = expected.tolerances[index]
        if error > tolerance and _spared(results[index], expected, index):
            continue
        if error <= tolerance and usual > expected.usual(index):
            message = (
                f"Wrong result on {where}: the values{expected.name(index)} of shape "
                f"{tuple(expected.outputs[index].shape)} are off by {imprecise(usual)}, above the "
                f"{expected.usual(index):.3g} that is allowed: too few bits somewhere."
            )
            return Verdict(False, usual, expected.usual(index), message)
        if error <= tolerance:
            if Verdict(True, error, tolerance).share >= worst.share:
                worst = Verdict(True, error, tolerance)
            continue
        result, exact = results[index], expected.outputs[index]
        mask = expected.mask(index)
        return Verdict(
            False, error, tolerance,
            told(result, exact, place, error, tolerance, where, expected.name(index))
            + _wrong_share(result, exact, mask, tolerance),
        )  # fmt: skip
    return worst


def _spared(result: torch.Tensor, expected: Expected, index: int) -> bool:
    """Whether no more values are off than may be."""
    spare, exact = expected.spare(index), expected.outputs[index]
    if not spare:
        return False
    if exact.is_floating_point() or exact.is_complex():
        off = ~(errors_of(result, exact) <= expected.tolerances[index])
    else:
        off = _wrong(result, exact, expected.mask(index))
    return float(off.double().mean()) <= spare


def told(
    result: torch.Tensor, exact: torch.Tensor, place: int, error: float, tolerance: float,
    where: str, which: str = "",
) -> str:  # fmt: skip
    """The feedback on a wrong value: where it is, what it is, what it should be."""
    shape = tuple(exact.shape)
    position = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), shape))
    got, want = (text_of(tensor, place) for tensor in (result, exact))
    at = (
        f"at index {position}{which} of shape {shape} "
        if shape
        else f"{which.removeprefix(' of ') or 'the result'}: "
    )
    if exact.is_floating_point() or exact.is_complex():
        why = f"the relative error {error:.3g} is above the tolerance {tolerance:.3g}."
    elif tolerance:
        why = f"{error:.2%} of the values are wrong, where {tolerance:.2%} may be."
    else:
        why = "it must be equal."
    return f"Wrong result on {where}: {at}the value is {got}, expected {want}; {why}"


def imprecise(usual: float) -> str:
    """Words for a root mean square."""
    return f"{usual:.3g} of their size in the root mean square"


def text_of(tensor: torch.Tensor, place: int) -> str:
    """A value of a tensor for a message, by its flat index."""
    value = tensor.reshape(-1)[place]
    if tensor.is_floating_point():
        return f"{float(value.to(torch.float64)):.6g}"
    return f"{value.item():.6g}" if tensor.is_complex() else str(value.item())


def plainly_right(results: Sequence[torch.Tensor], expected: Expected) -> torch.Tensor:
    """Whether results are right beyond doubt, as a tensor: nobody waits for the device.

    It looks at a third of the memory that `compare` does: no error in a row exceeds what the
    tolerance makes of the row's scale alone. What is not plainly right may still be right.
    """
    right = []
    for index, (result, exact, tolerance) in enumerate(
        zip(results, expected.outputs, expected.tolerances, strict=True)
    ):
        if not exact.numel():
            continue
        if not (exact.is_floating_point() or exact.is_complex()):
            right.append((bits(result) == bits(exact)).all())
            continue
        if exact.is_complex() or exact.itemsize == 1:  # what PyTorch does not subtract
            result, exact = _widened(result, torch.float32), _widened(exact, torch.float32)
        rows, exact_rows = _rows(result - exact, exact)
        work = torch.promote_types(exact.dtype, torch.float32)
        off = torch.linalg.vector_norm(rows, torch.inf, dim=1, dtype=work)
        norm = torch.linalg.vector_norm(exact_rows, dim=1, dtype=work)
        # A difference in a narrow dtype is rounded; so a little less is allowed.
        bound = 0.98 * tolerance * norm / math.sqrt(exact_rows.shape[1])
        right.append(((off <= bound) & norm.isfinite()).all())
        if (usual := expected.usual(index)) < tolerance:
            rough = torch.linalg.vector_norm(rows, dim=1, dtype=work) / norm
            right.append(rough.square().mean() <= (0.98 * usual) ** 2)
    if not right:
        return torch.ones((), dtype=torch.bool, device=expected.outputs[0].device)
    return torch.stack(right).all()


def largest(result: torch.Tensor, exact: torch.Tensor) -> tuple[float, int]:
    """Largest error and its flat index; NaN where none is expected counts as infinite."""
    error, place, _ = read(list(worst_of(result, exact)))
    return error, int(place)


def worst_of(
    result: torch.Tensor, exact: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same, and the root mean square of all errors, as tensors: nobody waits for the device.

    Args:
        result: of an answer.
        exact: what it must be.
        mask: of values that are not judged.
    """
    if exact.numel() == 0:
        none = exact.new_zeros((), dtype=torch.float64)
        return none, none, none
    if not (exact.is_floating_point() or exact.is_complex()):
        wrong = _wrong(result, exact, mask).flatten()
        share = wrong.count_nonzero().double() / wrong.numel()
        return share, wrong.to(torch.uint8).argmax(), torch.zeros_like(share)
    rows, exact_rows = _rows(result, exact)
    width = exact_rows.shape[1]
    step = max(1, _CHUNK // width)
    values, places, squares = [], [], []
    for start in range(0, len(exact_rows), step):
        part = slice(start, start + step)
        errors = _errors(rows[part], exact_rows[part])
        if mask is not None:
            errors = errors.masked_fill_(mask.reshape(-1, width)[part], 0.0)
        value, place = errors.flatten().max(dim=0)
        values.append(value)
        places.append(place + start * width)
        squares.append(errors.square().sum(dtype=torch.float64))
    value, best = torch.stack(values).max(dim=0)
    usual = (torch.stack(squares).sum() / exact.numel()).sqrt()
    return value, torch.stack(places).take(best), usual


def errors_of(result: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """The error of every value of a floating-point or complex output, in its shape."""
    return _errors(*_rows(result, exact)).view(exact.shape)


def spread_of(exact: torch.Tensor) -> torch.Tensor:
    """The root mean square of the error that the mean of all values makes: how far they spread.

    Of many values some rows are looked at.
    """
    rows = _rows(exact, exact)[0]
    rows = rows[:: max(1, exact.numel() // _SAMPLE)]
    mean = _widened(rows, torch.float32).nanmean()
    errors = _errors(mean.to(exact.dtype).expand_as(rows), rows)
    return errors.nan_to_num_(posinf=0.0).square().mean().sqrt()


def read(scalars: Sequence[torch.Tensor]) -> list[float]:
    """Numbers from the device, all at once: on one that many share, each wait takes its turn."""
    if not scalars:
        return []
    found: list[float] = torch.stack([scalar.double() for scalar in scalars]).tolist()
    return found


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Integers or booleans as signed integers of the same width, which PyTorch can compare in any
    dtype; a byte that is neither 0 nor 1 is no boolean's."""
    words = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.view(words[tensor.itemsize])


def _wrong(result: torch.Tensor, exact: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    wrong = bits(result) != bits(exact)
    return wrong if mask is None else wrong & ~mask


def _wrong_share(
    result: torch.Tensor, exact: torch.Tensor, mask: torch.Tensor | None, tolerance: float
) -> str:
    """How much of a small result is wrong, a hint at masks and boundaries."""
    if not 1 < exact.numel() <= _CHUNK:
        return ""
    if exact.is_floating_point() or exact.is_complex():
        wrong = ~(errors_of(result, exact) <= tolerance)
        wrong = wrong if mask is None else wrong & ~mask
    else:
        wrong = _wrong(result, exact, mask)
    return f" {int(wrong.sum())} of {exact.numel()} values are wrong."


def _rows(result: torch.Tensor, exact: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    width = exact.shape[-1] if exact.dim() else 1
    return result.reshape(-1, width), exact.reshape(-1, width)


def _widened(tensor: torch.Tensor, work: torch.dtype) -> torch.Tensor:
    """A floating-point or complex tensor in `work`, a complex one with its parts side by side."""
    if not tensor.is_complex():
        return tensor.to(work)
    parts = torch.view_as_real(tensor.resolve_conj())
    return parts.flatten(-2).to(work) if tensor.dim() else parts.to(work)


def _errors(rows: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Error of every floating-point or complex value; both are (rows, width)."""
    shape = exact.shape
    work = _work_of(exact)
    rows, exact = _widened(rows, work), _widened(exact, work)
    errors = errors_between(rows, exact, _sizes(exact))
    return errors if errors.shape == shape else errors.view(*shape, 2).amax(-1)


def sizes_of(exact: torch.Tensor) -> torch.Tensor:
    """What the error of every value of a floating-point output is relative to, in its shape."""
    return _sizes(_rows(exact, exact)[1].to(_work_of(exact))).view(exact.shape)


def errors_between(values: torch.Tensor, exact: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """The error of each of some real values.

    Args:
        values: of an answer.
        exact: what they must be.
        sizes: what each error is relative to, in the dtype that errors are computed in.
    """
    values, exact = values.to(sizes.dtype), exact.to(sizes.dtype)
    errors = (values - exact).abs_().div_(sizes)
    same = (values == exact) | (values.isnan() & exact.isnan())  # equal infinities, too
    return errors.masked_fill_(same, 0.0).nan_to_num_(nan=math.inf, posinf=math.inf)


def _sizes(exact: torch.Tensor) -> torch.Tensor:
    """Size of every value plus that of its row, (rows, width).

    Squares of large and small values leave a dtype's range long before the values do, so a row is
    squared in units of its largest value's power of two.
    """
    finite = exact.isfinite()
    clean = exact.where(finite, 0.0)
    count = finite.sum(dim=1, keepdim=True).clamp_min_(1)
    unit = _power(torch.linalg.vector_norm(clean, torch.inf, dim=1, keepdim=True))
    scale = ((clean / unit).square().sum(dim=1, keepdim=True) / count).sqrt_() * unit
    # A row of zeros has no size of its own.
    least = scale.mean(dtype=torch.float64) * 1e-3 + torch.finfo(torch.float32).tiny
    scale = scale.clamp_min_(least.to(scale.dtype))
    sizes = exact.abs() + scale
    most = torch.finfo(sizes.dtype).max  # what is finite has a finite size
    return torch.where(finite, sizes.clamp_max_(most), sizes)


def _power(values: torch.Tensor) -> torch.Tensor:
    """The power of two below each of some values of 0 and more, 1 for 0."""
    exponents = torch.frexp(values).exponent
    bits = 1022 if values.dtype == torch.float64 else 126
    return torch.ldexp(torch.ones_like(values), (exponents - 1).clamp_(-bits, bits))


def _work_of(exact: torch.Tensor) -> torch.dtype:
    """The dtype that errors are computed in."""
    wide = exact.dtype in (torch.float64, torch.complex128)
    return torch.float64 if wide else torch.float32
