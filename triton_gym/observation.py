"""What an agent sees: texts and numbers from a task, a kernel and its outcome."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from triton_gym.action import LIMIT
from triton_gym.outcome import NUMBERS, Outcome, Status
from triton_gym.printing import printable
from triton_gym.spaces import CodeText
from triton_gym.task import Task

METRICS: tuple[str, ...] = tuple(n for n in NUMBERS if n != "evaluation_s")
"""Fields of an outcome in the order of the `metrics` observation, after one flag per status."""
FEEDBACK_LIMIT = 4000
METRICS_SIZE = len(Status) + 2 * len(METRICS)


def metrics_space() -> gym.spaces.Box:
    """Shape `(METRICS_SIZE,)`, float32: see `metrics`."""
    return gym.spaces.Box(-np.inf, np.inf, (METRICS_SIZE,), np.float32)


def kernel_observation_space() -> gym.spaces.Dict:
    """Task, current kernel, feedback on the last action, and the numbers of its outcome."""
    return gym.spaces.Dict(
        {
            "task": CodeText(LIMIT),
            "kernel": CodeText(LIMIT),
            "feedback": CodeText(FEEDBACK_LIMIT),
            "metrics": metrics_space(),
        }
    )


def metrics(outcome: Outcome | None) -> npt.NDArray[np.float32]:
    """Numbers of an outcome for a policy.

    First one flag per `Status`, then for each name in `METRICS` the value as `sign · log(1 + |x|)`,
    then for each of them 1 if the number exists, else 0. All zero before the first outcome.
    """
    values = np.zeros(METRICS_SIZE, np.float32)
    if outcome is None:
        return values
    values[list(Status).index(outcome.status)] = 1.0
    for index, name in enumerate(METRICS):
        value = float(getattr(outcome, name))
        if math.isfinite(value):
            values[len(Status) + index] = math.copysign(math.log1p(abs(value)), value)
            values[len(Status) + len(METRICS) + index] = 1.0
    return values


def task_text(task: Task, action_mode: str) -> str:
    """What is asked, as the prompt of a language model."""
    cases = " and on ".join(map(str, task.bench))
    form = (
        "Reply with one self-contained Python module, alone or in one fenced code block."
        if action_mode == "kernel"
        else "Reply with SEARCH/REPLACE blocks or a unified diff against the current kernel."
    )
    return (
        f"{task.title}\n\n{task.statement}\n\n"
        f"Write it as Triton kernels (@triton.jit) and a host function `{task.signature}` that "
        "allocates the result, launches them and returns it. Only torch, triton and the standard "
        "library's math may be imported; the computation must happen in Triton kernels.\n"
        f"It is tested on many shapes and timed on {cases}.\n{form}\n"
    )


def observe(
    task: Task, kernel: str, feedback: str, outcome: Outcome | None, action_mode: str
) -> dict[str, Any]:
    """The observation of `kernel_observation_space`."""
    return {
        "task": printable(task_text(task, action_mode))[:LIMIT],
        "kernel": printable(kernel)[:LIMIT],
        "feedback": printable(feedback)[:FEEDBACK_LIMIT],
        "metrics": metrics(outcome),
    }
