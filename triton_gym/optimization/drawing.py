"""Arguments drawn like the examples', at any size inside the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.optimization.likeness import Likeness
from triton_gym.optimization.sizes import evaluated
from triton_gym.task import Case


@dataclass(frozen=True, slots=True)
class TensorDraw:
    """How one argument is drawn."""

    name: str
    """Of the answer's parameter."""
    shape: tuple[int | str, ...]
    stride: tuple[int | str, ...] | None
    """Where memory has gaps or is read twice; None where `order` says all."""
    order: tuple[int, ...]
    """Axes from the outermost to the innermost."""
    dtype: torch.dtype
    likeness: Likeness


@dataclass(frozen=True, slots=True)
class Drawing:
    """Draws the arguments of a case: `Task.inputs`."""

    tensors: tuple[TensorDraw, ...]
    draw: Callable[..., Any] | None = None
    """The user's own: `draw(generator, *arguments)` is given the arguments that would be taken
    and returns those to take, of the same shapes, dtypes and strides."""

    def __call__(self, case: Case, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """A tensor for each of the answer's parameters, on the generator's device."""
        drawn = tuple(_drawn(one, dict(case.sizes), generator) for one in self.tensors)
        if self.draw is None:
            return drawn
        given = self.draw(generator, *drawn)
        given = (given,) if isinstance(given, torch.Tensor) else tuple(given)
        if [_kind(one) for one in given] != [_kind(one) for one in drawn]:
            raise InvalidTaskError(
                "draw() must return tensors of the shapes, dtypes and devices that it is given, "
                f"{[_kind(one) for one in drawn]}; it returned {[_kind(one) for one in given]}."
            )
        return given


def _kind(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, torch.Tensor):
        return (type(value).__name__,)
    return (tuple(value.shape), str(value.dtype), value.device.type)


def _drawn(one: TensorDraw, sizes: dict[str, int], generator: torch.Generator) -> torch.Tensor:
    shape = tuple(evaluated(size, sizes) for size in one.shape)
    bound = evaluated(one.likeness.bound, sizes) if one.likeness.bound else None
    if one.stride is None:
        if one.order == tuple(range(len(shape))):
            return one.likeness.draw(shape, one.dtype, generator, bound)
        outer = tuple(shape[axis] for axis in one.order)
        back = tuple(one.order.index(axis) for axis in range(len(shape)))
        return one.likeness.draw(outer, one.dtype, generator, bound).permute(back)
    stride = tuple(evaluated(step, sizes) for step in one.stride)
    made = torch.empty_strided(shape, stride, dtype=one.dtype, device=generator.device)
    once = tuple(1 if step == 0 else size for size, step in zip(shape, stride, strict=True))
    values = one.likeness.draw(once, one.dtype, generator, bound)
    if 0 not in shape:
        made[tuple(slice(0, size) for size in once)] = values
    return made
