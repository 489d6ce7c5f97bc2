"""Results that do not depend on the arguments: constants, parameters, positions.

No kernel has to write these. An answer may fill them, or hand over a parameter; the tests on small
cases have held them against the reference.
"""

from __future__ import annotations

import torch

from triton_gym.evaluation import check
from triton_gym.evaluation.comparison import bits
from triton_gym.evaluation.modules import bind
from triton_gym.task import Task

_DRAWS = 3


def independent(task: Task, seed: int) -> frozenset[int]:
    """Which results of a task are equal for several draws of the arguments of its smallest case.

    Args:
        task: the task.
        seed: of the parameters, where it has some; those of the arguments follow from it.

    Raises:
        InvalidTaskError: a function of the task fails.
    """
    if not task.tiny:
        return frozenset()
    case = task.tiny[0]
    bound = bind(task, case, seed)
    first, *others = (
        check.returned(
            bound, check.draw_inputs(task, case, seed + draw, torch.device("cpu")), case
        ).tensors
        for draw in range(1, _DRAWS + 1)
    )
    return frozenset(
        index
        for index, result in enumerate(first)
        if all(
            result.shape == other[index].shape and torch.equal(bits(result), bits(other[index]))
            for other in others
        )
    )
