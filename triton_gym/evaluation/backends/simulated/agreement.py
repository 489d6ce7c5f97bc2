"""Stores of replayed programs, held against the parts of the reference that they belong to.

A program stores a result in pieces, often many of one row. What the reference makes of a part, and
what its errors are relative to, is computed once for all pieces of the part.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from triton_gym.evaluation import check
from triton_gym.evaluation.backends.simulated import reports
from triton_gym.evaluation.backends.simulated.fullsize import FullSize, part_of, whole_tolerance
from triton_gym.evaluation.comparison import bits, errors_between, imprecise, sizes_of
from triton_gym.evaluation.exchange.arena import HostArena
from triton_gym.evaluation.exchange.block import Slot
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status
from triton_gym.task import Task

PIECES = 48
"""Most stores of one result that are compared."""
PART_FLOPS = 2.5e9
"""Work of the reference after which no further store is compared."""
MANY = 64
"""Values of a store from which on the root mean square of their errors is looked at."""
MOST_VALUES = 1 << 20
"""Values of the reference that are computed to compare one store."""
KEPT_VALUES = 1 << 21
"""Values of the reference that are kept for further stores of the same parts."""
TOO_MUCH = "the reference is too much to compute there"
_NEAR = 4096
_Index = Sequence[npt.NDArray[np.int64]]
_Box = tuple[tuple[int, int], ...]
"""Where a box begins and ends, along every axis."""


def compared(
    task: Task, full: FullSize, number: int, record: dict[str, Any], arena: HostArena, seed: int,
    tested: Mapping[str, float],
) -> str:  # fmt: skip
    """Hold what was stored in one result against the reference.

    Args:
        task: the task.
        full: its timed case.
        number: of the result.
        record: what an interpreter reports of it; see `tracing.evidence.Evidence.reply`.
        arena: what was stored.
        seed: decides which stores are compared.
        tested: tolerances of the tests by dtype, which are not undercut.

    Returns:
        Why not all of it was compared, or nothing.

    Raises:
        Ended: a value is wrong.
    """
    pieces = record.get("pieces")
    if not isinstance(pieces, list):
        raise reports.forged("pieces is not a list")
    slot = full.outputs[number]
    rng = random.Random(seed)
    rng.shuffle(pieces)
    work = 0.0
    result: _Result | None = None
    for piece in pieces[:PIECES]:
        positions, values = _read(piece, slot, arena)
        if result is None:
            whole = _taken_whole(task, full, number, int(positions[0]))
            if whole is None:
                return TOO_MUCH
            result = _Result(task, full, number, whole, tested)
        for chosen in boxed(positions, slot.shape, result.whole, rng):
            index = _index(positions[chosen], slot.shape)
            box = _box(index)
            volume = _volume(box, slot.shape, result.whole)
            work += task.flops(full.case) * volume / math.prod(slot.shape)
            if not result.agrees(index, box, values[torch.from_numpy(chosen)]):
                return TOO_MUCH
        if work > PART_FLOPS:
            break
    return ""


def _read(
    piece: Any, slot: Slot, arena: HostArena
) -> tuple[npt.NDArray[np.int64], torch.Tensor]:  # fmt: skip
    """Positions and values of one store, copied out of shared memory and then looked at."""
    try:
        at, of = (Slot.read(message) for message in piece)
        inside = all(s.offset >= 0 and s.offset + s.bytes <= arena.size for s in (at, of))
        alike = at.shape == of.shape and len(at.shape) == 1 and at.shape[0] > 0
        if not (inside and alike and at.dtype == "int64" and of.dtype == slot.dtype):
            raise ValueError
        positions, values = arena.view(at).numpy().copy(), arena.view(of).clone()
    except (TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError):
        raise reports.forged("a piece of a result is not one") from None
    if int(positions.min()) < 0 or int(positions.max()) >= math.prod(slot.shape):
        raise reports.forged("a piece of a result lies outside")
    return positions, values


def _taken_whole(
    task: Task, full: FullSize, number: int, position: int
) -> tuple[bool, ...] | None:  # fmt: skip
    """Which axes a part of the reference always has whole, as a softmax has rows; None if there is
    no reference."""
    box = _box(_index(np.array([position]), full.outputs[number].shape))
    found = part_of(task, full, number, [slice(*ends) for ends in box])
    return None if found is None else tuple(size > 1 for size in found[0].shape)


def _index(positions: npt.NDArray[np.int64], shape: tuple[int, ...]) -> _Index:
    """Flat positions as an array for each axis."""
    return np.unravel_index(positions, shape) if shape else ()


def _box(index: _Index) -> _Box:
    """The box around some places."""
    return tuple((int(i.min()), int(i.max()) + 1) for i in index)


def _volume(box: _Box, shape: tuple[int, ...], whole: tuple[bool, ...]) -> int:
    """How many values of the reference are computed for a box."""
    return math.prod(
        size if all_ else end - start
        for (start, end), size, all_ in zip(box, shape, whole, strict=True)
    )


def computed(index: _Index, shape: tuple[int, ...], whole: tuple[bool, ...]) -> int:
    """How many values of the reference are computed for some places: the box around them."""
    return _volume(_box(index), shape, whole)


def boxed(
    positions: npt.NDArray[np.int64], shape: tuple[int, ...], whole: tuple[bool, ...],
    rng: random.Random,
) -> list[npt.NDArray[np.bool_]]:  # fmt: skip
    """Which positions to compare together: all, or, where they are scattered, some neighbours.

    Args:
        positions: flat, of one store, (n,).
        shape: of the result.
        whole: which axes a part of the reference always has whole.
        rng: chooses the neighbours.

    Returns:
        Masks, (n,).
    """
    index = _index(positions, shape)
    box = _box(index)
    close = _volume(box, shape, (False,) * len(shape)) <= max(16 * len(positions), 1 << 16)
    if close and _volume(box, shape, whole) <= MOST_VALUES:
        return [np.ones(len(positions), dtype=np.bool_)]
    width = shape[-1] if len(shape) > 1 else _NEAR
    chosen = []
    for _ in range(4):
        anchor = rng.randrange(len(positions))
        at = int(positions[anchor])
        near = (positions // width == at // width) & (np.abs(positions - at) < _NEAR)
        if computed([i[near] for i in index], shape, whole) > MOST_VALUES:
            for i, all_ in zip(index, whole, strict=True):
                near &= all_ | (i == i[anchor])
        chosen.append(near)
    return chosen


class _Part:
    """A part of the reference's result.

    Args:
        exact: the oracle's values.
        plain: computes the plain reference's.
        begins: where it begins in the result, along every axis.
    """

    def __init__(
        self, exact: torch.Tensor, plain: Callable[[], torch.Tensor], begins: Sequence[int]
    ) -> None:
        self.exact, self.plain = exact, plain
        self._begins = begins
        self._values: torch.Tensor | None = None
        self._sizes: torch.Tensor | None = None

    def places(self, index: _Index) -> torch.Tensor:
        """Flat indices in the part of places in the result."""
        at = [i - begin for i, begin in zip(index, self._begins, strict=True)]
        shape = self.exact.shape
        flat = np.ravel_multi_index(at, shape) if shape else np.zeros(1, np.int64)
        return torch.from_numpy(np.asarray(flat))

    def with_values(self, index: _Index, values: torch.Tensor) -> torch.Tensor:
        """The part with some values of an answer in place of its own."""
        got = self.exact.clone(memory_format=torch.contiguous_format)
        values = values.to(self.exact.dtype)
        if got.is_complex():
            got.view(-1)[self.places(index)] = values
        else:  # as whole numbers: PyTorch stores few dtypes at places
            bits(got).view(-1)[self.places(index)] = bits(values)
        return got

    def errors(self, index: _Index, values: torch.Tensor) -> torch.Tensor:
        """The error of each of some floating-point values, (n,)."""
        if self._values is None or self._sizes is None:
            self._values = self.exact.reshape(-1)
            self._sizes = sizes_of(self.exact).reshape(-1)
        at = self.places(index)
        return errors_between(
            values.to(self.exact.dtype), self._values.take(at), self._sizes.take(at)
        )


class _Result:
    """One result of the timed case, with the parts of the reference that stores asked for.

    Args:
        task, full, number, tested: see `compared`.
        whole: which axes a part always has whole.
    """

    def __init__(
        self, task: Task, full: FullSize, number: int, whole: tuple[bool, ...],
        tested: Mapping[str, float],
    ) -> None:  # fmt: skip
        self._task, self._full, self._number, self._tested = task, full, number, tested
        self._shape = full.outputs[number].shape
        self.whole = whole
        self._parts: OrderedDict[_Box, _Part] = OrderedDict()
        self._kept = 0

    def agrees(self, index: _Index, box: _Box, values: torch.Tensor) -> bool:
        """Raise if values differ from the reference; whether there is a reference.

        Args:
            index: where they lie in the result, an array (n,) for each axis.
            box: the box around them.
            values: the answer's, (n,).
        """
        part = self._part(box)
        if part is None:
            return False
        exact = part.exact
        if exact.is_floating_point():
            errors = part.errors(index, values)
            largest, worst = errors.max(dim=0)
            error, place = float(largest), int(worst)
            tolerance = self._tolerance(part, error)
        else:
            error, place = check.largest(part.with_values(index, values), exact)
            tolerance = 0.0
        if error > tolerance:
            self._refuse(part, index, values, error, place, tolerance)
        if exact.is_floating_point():
            self._hold_usual(part, errors, values)
        return True

    def _part(self, box: _Box) -> _Part | None:
        shape = self._shape
        key = tuple(
            (0, size) if all_ else ends
            for ends, size, all_ in zip(box, shape, self.whole, strict=True)
        )
        if key in self._parts:
            self._parts.move_to_end(key)
            return self._parts[key]
        found = part_of(self._task, self._full, self._number, [slice(*ends) for ends in box])
        if found is None:
            return None
        exact, plain = found
        begins = [
            0 if exact.shape[axis] == size else box[axis][0] for axis, size in enumerate(shape)
        ]
        part = self._parts[key] = _Part(exact, plain, begins)
        self._kept += exact.numel()
        while self._kept > KEPT_VALUES and len(self._parts) > 1:
            self._kept -= self._parts.popitem(last=False)[1].exact.numel()
        return part

    def _tolerance(self, part: _Part, error: float) -> float:
        """The tolerance of a part, computed as far as an error makes it matter."""
        task, case = self._task, self._full.case
        tolerance = self._tested.get(case.dtype, 0.0)
        if error > tolerance:
            ((own, _),) = check.limits(task, case, (part.plain(),), (part.exact,))
            tolerance = max(own, tolerance)
        if error > tolerance:
            tolerance = max(tolerance, whole_tolerance(task, self._full, self._number))
        return tolerance

    def _refuse(
        self, part: _Part, index: _Index, values: torch.Tensor, error: float, place: int,
        tolerance: float,
    ) -> None:  # fmt: skip
        """Raise, naming a wrong value.

        Args:
            place: of a floating-point value among the values, of another in the part.
        """
        exact = part.exact
        if exact.is_floating_point():
            chosen = place
        else:
            chosen = int((part.places(index) == place).nonzero()[0, 0])
        at = tuple(int(i[chosen]) for i in index)
        got = values[chosen].to(exact.dtype)
        want = exact.reshape(-1)[part.places(index)[chosen]]
        raise Ended(
            Status.INCORRECT,
            f"Wrong result on {self._full.case}, the timed case, of which some programs were run: "
            f"at index {at} of shape {tuple(self._shape)} the value is {got.item():.6g}, "
            f"expected {want.item():.6g}; the relative error {error:.3g} is above the tolerance "
            f"{tolerance:.3g}.",
            max_error=error,
            tolerance=tolerance,
        )

    def _hold_usual(self, part: _Part, errors: torch.Tensor, values: torch.Tensor) -> None:
        """Raise if many values are off by more than their number of bits makes them."""
        task, case = self._task, self._full.case
        if len(values) < MANY:
            return
        usual = float(errors.double().square().mean().sqrt())
        # A narrow reference takes longer than the oracle: it is only asked where it matters.
        if usual <= check.floor(values, task.reduction(case)) / 3:
            return
        ((_, allowed),) = check.limits(task, case, (part.plain(),), (part.exact,))
        if usual > 1.25 * allowed:  # few values have more of it by chance
            raise Ended(
                Status.INCORRECT,
                f"Wrong result on {case}, the timed case, of which some programs were run: the "
                f"values are off by {imprecise(usual)}, above the {1.25 * allowed:.3g} that is "
                "allowed: too few bits somewhere.",
                max_error=usual,
                tolerance=1.25 * allowed,
            )
