"""Runs a reference on fake tensors, and notes the kernels that PyTorch would launch for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.time_model.eager.call import Call
from triton_gym.evaluation.simulate.time_model.eager.kernel import Kernel
from triton_gym.evaluation.simulate.time_model.eager.operators import kernels_of
from triton_gym.evaluation.simulate.time_model.eager.products import attention
from triton_gym.evaluation.simulate.time_model.eager.reductions import row_norm


class Launches(TorchDispatchMode):
    """While it is active, `kernels` grows by those of every operator.

    Args:
        gpu: that they would run on.
    """

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gpu = gpu
        self.kernels: list[Kernel] = []
        self._alive: list[Any] = []
        """Memory that was freed would be told by another's name."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        result = func(*args, **(kwargs or {}))
        call = Call.of(func, args, kwargs, result, self.gpu)
        self._alive.append((call.inputs, call.outputs))
        self.kernels += kernels_of(call)
        return result


class Whole(TorchFunctionMode):
    """Functions that are one kernel on a GPU, and several operators for the CPU's tensors here.

    Args:
        launches: what is noted.
    """

    def __init__(self, launches: Launches) -> None:
        super().__init__()
        self._launches = launches

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        before = len(self._launches.kernels)
        result = func(*args, **(kwargs or {}))
        model = _WHOLE.get(func)
        if model is not None and isinstance(result, torch.Tensor):
            call = Call.of(func, args, kwargs, result, self._launches.gpu)
            kernels = model(call)
            self._launches.kernels[before:] = kernels
        return result


def _rms_norm(call: Call) -> list[Kernel]:
    source = call.inputs[0]
    length = source.shape[-1]
    return [row_norm("rms_norm", source, call.outputs, length, call.inputs[1:], call.gpu, 0.1)]


def _attention(call: Call) -> list[Kernel]:
    mask = call.argument(3, "attn_mask")
    causal = bool(call.argument(5, "is_causal", False))
    return list(attention(call, mask, causal=causal))


_WHOLE = {
    torch.rms_norm: _rms_norm,
    torch.nn.functional.rms_norm: _rms_norm,
    torch.nn.functional.scaled_dot_product_attention: _attention,
}
