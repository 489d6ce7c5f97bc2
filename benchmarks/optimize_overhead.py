"""A gate around a function that does nothing, to be timed."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from triton_gym.evaluation.check import Timed
from triton_gym.evaluation.trees import flatten
from triton_gym.optimization import dispatch
from triton_gym.optimization.binding import Binding, Verified
from triton_gym.optimization.guard import ConstantGuard, Guard, TensorGuard
from triton_gym.optimization.pairs import Ratio
from triton_gym.optimization.swap import Swap
from triton_gym.optimization.watcher import WATCHER

_SOURCES = {
    1: "def function(a, eps=1e-6): return a",
    2: "def function(a, b, eps=1e-6): return a",
    4: "def function(a, b, c, d, eps=1e-6): return a",
}


def gate_of(tensors: int, device: str) -> tuple[Any, Swap, Any, tuple[torch.Tensor, ...]]:
    """A wrapper with a kernel in use, its swap, the plain function, and arguments of a call."""
    scope: dict[str, Any] = {}
    exec(_SOURCES[tensors], scope)
    function = scope["function"]
    names = "abcd"[:tensors]
    guard = Guard(
        signature=inspect.signature(function),
        tensors=tuple(TensorGuard(name, "float32", device, ("n", 64), (0, 1)) for name in names),
        constants=(ConstantGuard("eps", 1e-6),),
        sizes={"n": ("a", 0)},
        ranges={"n": (2, None)},
    )
    arguments = tuple(torch.ones(16, 64, device=device) for _ in names)
    binding = Binding(guard, (), (), (), flatten(arguments[0])[1], "0" * 64)
    even = Ratio(1.0, 1.0, 1.0)
    verified = Verified(
        source="", entry="function", binding=binding, choices={},
        timed=Timed((0.0,), (0.0,), False, (0.0,)), device=even, wall=even, overall=1.0,
        against="eager", number=1, pairs=0, evalue=0.0, route="none",
    )  # fmt: skip
    swap = Swap(function, share=0.001)
    wrapped = dispatch.wrapper(function, swap, function)
    swap.adopt(verified, lambda *given: given[0])
    wrapped(*arguments)
    WATCHER.drain()
    if swap.report().runs != "kernel":
        raise RuntimeError(f"the gate was not taken into use: {swap.report()}")
    # The comparison of one call in a thousand is no part of what every call costs.
    ways = dispatch.Ways(function, function, function, function, lambda *given: given[0])
    swap.now = dispatch.gate(function, binding, ways, 1e-9, swap._draw)
    return wrapped, swap, function, arguments
