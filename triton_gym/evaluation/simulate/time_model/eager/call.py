"""A call of one of PyTorch's operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.time_model.eager.kernel import Kernel
from triton_gym.evaluation.simulate.time_model.eager.tensors import tensors_of


@dataclass(frozen=True, slots=True)
class Call:
    """An operator with its arguments and results, fake tensors all of them."""

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    gpu: Gpu
    inputs: tuple[torch.Tensor, ...] = field(default=())
    outputs: tuple[torch.Tensor, ...] = field(default=())

    @classmethod
    def of(cls, func: Any, args: Any, kwargs: Any, result: Any, gpu: Gpu) -> Call:
        """A call that returned."""
        given, made = tuple(tensors_of((args, kwargs))), tuple(tensors_of(result))
        return cls(func, tuple(args), dict(kwargs or {}), result, gpu, given, made)

    @property
    def name(self) -> str:
        """Of the operator, without overload and leading underscores."""
        return str(self.func._overloadpacket.__name__).strip("_")

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by its place or its name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


Model = Callable[[Call], Sequence[Kernel]]
"""Which kernels a call of an operator launches."""
