"""A judge as a Ray actor. Runs in a process of the cluster; imports no Ray itself."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from typing import Any

from triton_gym.device import Device
from triton_gym.errors import EvaluatorError, TritonGymError
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.evaluation.service.future import Evaluation
from triton_gym.evaluation.service.transport import Work


class JudgeActor:
    """Holds what Ray gave it, and an `Evaluator` on it: the actor itself runs no answer.

    Args:
        device: what to evaluate on; Ray makes its GPU `cuda:0`.
        workers: evaluations at the same time.
    """

    def __init__(self, device: Device, workers: int) -> None:
        self._evaluator = Evaluator(str(device), workers=workers)
        self._under_way: dict[int, Evaluation] = {}
        self._lock = threading.Lock()

    def ready(self) -> tuple[str, str]:
        """`("ready", hardware)` once the judge is up, or `("unusable", why)`."""
        try:
            return ("ready", self._evaluator.hardware())
        except TritonGymError as error:
            return ("unusable", str(error))

    def evaluate(self, number: int, work: Work) -> tuple[str, Any]:
        """`("answered", outcome or error or None)`, or `("unusable", why)`."""
        future = self._evaluator.submit_work(work)
        with self._lock:
            self._under_way[number] = future
        try:
            return ("answered", future.result())
        except CancelledError:
            return ("answered", None)
        except EvaluatorError as error:
            judges = self._evaluator.progress().judges
            over = all(judge.state == "drained" for judge in judges)
            return ("unusable", str(error)) if over else ("answered", error)
        except TritonGymError as error:
            return ("answered", error)
        finally:
            with self._lock:
                del self._under_way[number]

    def close(self) -> None:
        """End the judge. The actor is killed next, and could not clean up then."""
        self._evaluator.close()

    def drop(self, number: int) -> None:
        """Give an evaluation up if it has not begun."""
        with self._lock:
            future = self._under_way.get(number)
        if future is not None:
            future.cancel()
