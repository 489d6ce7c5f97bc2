"""What PyTorch's copies and fills take beside an answer's kernels: as much as on PyTorch's side."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from triton_gym.device import Gpu
from triton_gym.evaluation.plan.step import Copy, Fill, Gather
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.simulate.time_model.eager.call import Call
from triton_gym.evaluation.simulate.time_model.eager.indexing import looked_up
from triton_gym.evaluation.simulate.time_model.eager.kernel import Cache, Kernel, kernel_us
from triton_gym.evaluation.simulate.time_model.eager.pointwise import copy, fill
from triton_gym.evaluation.simulate.time_model.eager.rates import RATES, Rates

Moving = Copy | Gather | Fill


def moves_us(steps: Sequence[Moving], gpu: Gpu, rates: Rates = RATES) -> list[float]:
    """Microseconds of each step that moves or sets anything, without its launch.

    Args:
        steps: in their order. What one of them has touched the next one may find in L2.
        gpu: the device.
        rates: of PyTorch's operators.
    """
    cache = Cache(gpu, rates)
    alive: list[torch.Tensor] = []  # memory that was freed would be told by another's name
    return [
        kernel_us(kernel, gpu, rates, cache)
        for step in steps
        if step.dst.numel
        for kernel in _kernels(step, gpu, alive)
    ]


def _kernels(step: Moving, gpu: Gpu, alive: list[torch.Tensor]) -> Sequence[Kernel]:
    target = _tensor(step.dst, alive)
    if isinstance(step, Fill):
        return [fill(target)]
    if isinstance(step, Copy):
        return [copy(target, _tensor(step.src, alive))]
    given = (_tensor(step.src, alive), step.axis, _tensor(step.index, alive))
    return looked_up(Call.of(torch.ops.aten.index_select.default, given, {}, target, gpu))


def _tensor(view: View, alive: list[torch.Tensor]) -> torch.Tensor:
    """A tensor without memory that lies as a view does."""
    strides = [abs(step) for step in view.strides]
    dtype = getattr(torch, view.dtype)
    alive.append(torch.empty_strided(view.shape, strides, dtype=dtype, device="meta"))
    return alive[-1]
