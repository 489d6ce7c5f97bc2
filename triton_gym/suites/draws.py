"""Tensors that a function draws at random in its own code: noted, or given to it.

Some published wrappers draw what they compute with, and nobody could foresee their result. What
they draw becomes inputs: an answer is given it, and so is the wrapper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DRAWS = frozenset({
    torch.rand, torch.randn, torch.randint, torch.randperm, torch.rand_like, torch.randn_like,
    torch.randint_like,
})  # fmt: skip


class Noted(TorchFunctionMode):
    """While it is active, keeps what is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[torch.Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in DRAWS:
            self.drawn.append(found.detach().clone())
        return found


class Given(TorchFunctionMode):
    """While it is active, hands out tensors in place of what would be drawn.

    Args:
        drawn: the tensors, in order; a draw beyond them raises `IndexError`.
    """

    def __init__(self, drawn: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._left = list(drawn)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in DRAWS:
            return self._left.pop(0).clone()
        return func(*args, **(kwargs or {}))
