"""What tracing makes of a function: the calls it holds for, the task, and answers to start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.optimization.captured import CapturedSetting, CapturedTensor
from triton_gym.optimization.guard import Guard
from triton_gym.task import Task

__all__ = ["Guard", "Result", "Start", "TracedFunction"]


@dataclass(frozen=True, slots=True)
class Start:
    """An answer to start a search from: a whole module, as any answer to a task."""

    source: str
    route: str
    """Where it comes from: `own` (the user's own Triton kernel), `inductor`, `template`, …"""
    note: str = ""
    """What a user should know of it."""


@dataclass(frozen=True, slots=True)
class Result:
    """A tensor of what the function returns. Shape and strides are numbers or Python expressions
    over the named sizes of `Guard.sizes`."""

    dtype: str
    shape: tuple[int | str, ...]
    stride: tuple[int | str, ...]
    """As PyTorch gives it on the device that was traced on; another device's may differ."""


@dataclass(frozen=True, slots=True)
class TracedFunction:
    """A function of a user's as a task, for all calls inside its guard."""

    task: Task
    guard: Guard
    starts: tuple[Start, ...]
    """The most promising first; none of them was judged yet."""
    captured: tuple[CapturedTensor, ...]
    """Tensors that an answer takes after `guard.arguments`, in this order."""
    settings: tuple[CapturedSetting, ...]
    """Plain values that were traced as constants."""
    results: tuple[Result, ...]
    """Every tensor of the result, in order."""
    tree: Any
    """The result around its tensors, see `triton_gym.evaluation.trees`; an answer returns the
    same containers."""
    digest: str
    """SHA-256 of what was traced: graph, guard and the versions that traced it."""
    routes: Mapping[str, str] = field(default_factory=dict)
    """Each route that was tried for a start, and what became of it."""

    def captured_tensors(self, function: Callable[..., Any]) -> tuple[torch.Tensor, ...]:
        """The captured tensors as this process holds them.

        Raises:
            AttributeError, KeyError, IndexError: what the function captured is gone.
        """
        return tuple(one.path.resolve(function) for one in self.captured)

    def answer_arguments(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """What an answer is called with in place of a call of the function: slow and clear."""
        return (*self.guard.answer_arguments(args, kwargs), *self.captured_tensors(function))
