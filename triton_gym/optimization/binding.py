"""What the user's process holds of a traced function and of a kernel that was verified for it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from triton_gym.evaluation.check import Timed
from triton_gym.optimization.captured import CapturedSetting, CapturedTensor
from triton_gym.optimization.guard import Guard
from triton_gym.optimization.pairs import Ratio
from triton_gym.optimization.traced import Result, TracedFunction


@dataclass(frozen=True, slots=True)
class Binding:
    """The calls of a function that an answer can take, and what it is given."""

    guard: Guard
    captured: tuple[CapturedTensor, ...]
    settings: tuple[CapturedSetting, ...]
    results: tuple[Result, ...]
    tree: Any
    """The result around its tensors."""
    digest: str
    """Of what was traced."""

    @classmethod
    def of(cls, traced: TracedFunction) -> Binding:
        """What a swap needs of a traced function; plain data, but for the defaults of arguments."""
        plain = [
            one.replace(annotation=inspect.Parameter.empty)
            for one in traced.guard.signature.parameters.values()
        ]
        guard = dataclasses.replace(traced.guard, signature=inspect.Signature(plain))
        return cls(guard, traced.captured, traced.settings, traced.results, traced.tree,
                   traced.digest)  # fmt: skip

    @property
    def device(self) -> str:
        """Type and index of the device that the function works on, e.g. `cuda:0`."""
        return self.guard.tensors[0].device

    def answer_arguments(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """What an answer is called with in place of a call of the function."""
        held = (one.path.resolve(function) for one in self.captured)
        return (*self.guard.answer_arguments(args, kwargs), *held)


@dataclass(frozen=True, slots=True)
class Verified:
    """An answer that a judge found correct, and that was faster than what ran, pair by pair."""

    source: str
    entry: str
    """Name of its host function."""
    binding: Binding
    choices: Mapping[str, Mapping[str, Any]]
    """What its tuners chose; see `running.Loaded.pin`."""
    timed: Timed
    """How its results are held against those of the original."""
    device: Ratio
    """Device time of what ran before over its own."""
    wall: Ratio
    """The same of a caller's time."""
    overall: float
    """Device time of the original over its own: the product of all swaps up to it."""
    against: str
    """What it was compared with: `eager`, `compile`, or `kernel` for an earlier swap."""
    number: int
    """Which candidate of its function it was."""
    pairs: int
    evalue: float
    """See `decision.Decision`."""
    route: str
    """Where it comes from: a route to a start, or an agent's name."""
    replays: bool = True
    """Whether its calls may be repeated as they were; see `replay`."""
    compiled: Ratio | None = None
    """Device time of `torch.compile` over its own, where that was measured."""
    beats_compile: bool = False
    """Whether pairs have shown that it is faster than what `torch.compile` makes."""
