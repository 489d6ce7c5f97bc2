"""Time of the PyTorch reference on a GPU that is not here.

The reference runs on fake tensors at the timed case's size. What PyTorch launches for each of its
operators follows from PyTorch's sources: how many kernels, what they read and write in the layout
at hand, with which accesses. A launch costs what it costs an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)

from triton_gym.device import Gpu
from triton_gym.evaluation.check import draw_inputs, fake_arguments
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.simulate.time_model.constants import CONSTANTS, Constants
from triton_gym.evaluation.simulate.time_model.eager.clock import Launches, Whole
from triton_gym.evaluation.simulate.time_model.eager.fused import fused
from triton_gym.evaluation.simulate.time_model.eager.kernel import Kernel, sequence_us
from triton_gym.evaluation.simulate.time_model.eager.rates import RATES, Rates
from triton_gym.evaluation.simulate.time_model.eager.tensors import storage_of, tensors_of
from triton_gym.task import Case, Task


@dataclass(frozen=True, slots=True)
class Launched:
    """What PyTorch launches for a reference."""

    kernels: tuple[Kernel, ...]
    results: frozenset[int]
    """Memory that the reference returns."""

    def us(self, gpu: Gpu, baseline: str, rates: Rates, constants: Constants) -> float:
        """How long it takes, `eager` or made faster by `torch.compile`."""
        eager = sequence_us(self.kernels, gpu, rates, constants)
        if baseline != "compile":
            return eager
        return min(
            eager, sequence_us(fused(self.kernels, self.results, gpu), gpu, rates, constants)
        )


def launches_of(task: Task, case: Case, gpu: Gpu) -> Launched:
    """What PyTorch launches for a task's reference.

    Args:
        task: whose reference runs.
        case: the shapes and dtype.
        gpu: what it would run on.
    """
    launches = Launches(gpu)
    with blaming(task, "reference, run to model its time,", case), torch.no_grad():
        try:
            mode, arguments = fake_arguments(task, case)
            with mode:
                bound = bind(task, case, 0)
            with mode, launches, Whole(launches):
                result = bound.reference(*arguments)
        except (DataDependentOutputException, DynamicOutputShapeException):
            launches = Launches(gpu)  # what it does depends on values
            drawn = draw_inputs(task, case, 0, torch.device("cpu"))
            bound = bind(task, case, 0)
            with launches, Whole(launches):
                result = bound.reference(*drawn)
    memory = frozenset(map(storage_of, tensors_of(result)))
    return Launched(tuple(launches.kernels), memory)


def baseline_us(
    task: Task, case: Case, gpu: Gpu, baseline: str,
    rates: Rates = RATES, constants: Constants = CONSTANTS,
) -> float:  # fmt: skip
    """Modelled time of the reference, in microseconds.

    Args:
        task: whose reference runs.
        case: the shapes and dtype.
        gpu: what it would run on.
        baseline: `eager`, or `compile` for a reference that `torch.compile` fused.
        rates: of PyTorch's operators.
        constants: of the model, whose launches these are.
    """
    return launches_of(task, case, gpu).us(gpu, baseline, rates, constants)
