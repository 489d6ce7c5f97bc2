"""Time of the PyTorch reference on a GPU that is not here.

The reference runs on fake tensors at the timed case's size. What PyTorch launches for each of its
operators follows from PyTorch's sources: how many kernels, what they read and write in the layout
at hand, with which accesses. A launch costs what it costs an answer.
"""

from __future__ import annotations

import torch

from triton_gym.device import Gpu
from triton_gym.evaluation.check import fake_arguments
from triton_gym.evaluation.faults import blaming
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.profile import Light
from triton_gym.evaluation.simulate.time_model.constants import CONSTANTS, Constants
from triton_gym.evaluation.simulate.time_model.eager.clock import Launches, Whole
from triton_gym.evaluation.simulate.time_model.eager.kernel import sequence_us
from triton_gym.evaluation.simulate.time_model.eager.rates import RATES, Rates
from triton_gym.task import Case, Task


def launches_of(task: Task, case: Case, gpu: Gpu) -> Launches:
    """What PyTorch launches for a task's reference.

    Args:
        task: whose reference runs.
        case: the shapes and dtype.
        gpu: what it would run on.
    """
    mode, arguments = fake_arguments(task, case)
    launches = Launches(gpu)
    with mode:
        task = bind(task, case, 0)
    blame = blaming(task, "reference, run without values to model its time,", case)
    with blame, torch.no_grad(), mode, launches, Whole(launches):
        task.reference(*arguments)
    return launches


def baseline_us(
    task: Task, case: Case, gpu: Gpu, baseline: str, light: Light,
    rates: Rates = RATES, constants: Constants = CONSTANTS,
) -> float:  # fmt: skip
    """Modelled time of the reference, in microseconds.

    Args:
        task: whose reference runs.
        case: the shapes and dtype.
        gpu: what it would run on.
        baseline: `eager`, or `compile` for a reference that `torch.compile` fused.
        light: speed of light of the case.
        rates: of PyTorch's operators.
        constants: of the model, whose launches these are.
    """
    launches = launches_of(task, case, gpu)
    return sequence_us(launches.kernels, gpu, rates, constants)
