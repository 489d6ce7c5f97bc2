"""Sees to it that an answer's own kernels do the work: watches what else it has PyTorch do.

Syntax cannot tell a sum of two sizes from a sum of two tensors; PyTorch's dispatcher can. While an
answer is tested, every operator that it reaches passes here. Allocations and views are free,
copies (as `contiguous` makes) are counted, everything else is foreign.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

FREE = frozenset(
    {
        "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "zeros",
        "zeros_like", "new_zeros", "zero_", "detach", "alias", "lift_fresh", "set_", "device",
        "is_pinned", "_local_scalar_dense_size", "sym_size", "sym_stride", "sym_numel",
    }
)  # fmt: skip
"""Operators that allocate or describe."""
COPIES = frozenset({"clone", "copy_", "_to_copy", "contiguous"})
"""Operators that move values without computing any."""


class Watch(TorchDispatchMode):
    """Notes the operators that run under it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping would import the whole of torch.compile, for a second

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.foreign: set[str] = set()
        self.copied_bytes = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if name in COPIES:
            if isinstance(result, torch.Tensor):
                self.copied_bytes += 2 * result.numel() * result.element_size()
        elif name not in FREE and not func.is_view:
            self.foreign.add(name)
        return result


def exempt_kernels() -> None:
    """Let Triton itself use PyTorch: its interpreter and its autotuner do."""
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    for kind in (JITFunction, Autotuner, InterpretedFunction):
        kind.run = _unwatched(kind.run)
    # What these import on first use is imported before workers are forked.
    with Watch():
        torch.empty(1)
        with _disable_current_modes():
            torch.empty(1)


def _unwatched(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def unwatched(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return run(*args, **kwargs)

    return unwatched
