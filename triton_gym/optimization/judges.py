"""What evaluates a search's answers; its judge starts while the search still imports PyTorch."""

from __future__ import annotations

import contextlib
import os
import threading

from triton_gym.errors import TritonGymError
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.evaluation.service.protocol import EvaluatorLike

WORKERS = 4
"""Most answers that one search evaluates at the same time: several functions are searched for at
once, and the program needs processors too."""


def workers_of(*, shared: bool) -> int:
    """How many answers a search evaluates at the same time; one on a GPU that is the program's."""
    return 1 if shared else max(1, min(WORKERS, len(os.sched_getaffinity(0)) // 4))


def judge_of(device: str, workers: int) -> EvaluatorLike:
    """An evaluator for a search. Its judge starts at once, while the function is traced."""
    evaluator = Evaluator(device, workers=workers)

    def start() -> None:
        with contextlib.suppress(TritonGymError):  # the first evaluation will say so
            evaluator.hardware()

    threading.Thread(target=start, daemon=True).start()
    return evaluator
