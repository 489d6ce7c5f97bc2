"""One evaluator a device and process, shared by the environments that do not bring their own."""

from __future__ import annotations

import os

from triton_gym.evaluation.service import Evaluator

_evaluators: dict[tuple[int, str], Evaluator] = {}


def evaluator_for(device: str) -> Evaluator:
    """The shared evaluator of a device; its processes start with the first evaluation.

    Raises:
        InvalidOptionError, DeviceError: see `triton_gym.device.resolve`.
    """
    key = (os.getpid(), device)
    if key not in _evaluators:
        fresh = Evaluator(device)
        same = (os.getpid(), fresh.describe())
        _evaluators[key] = _evaluators.setdefault(same, fresh)
    return _evaluators[key]
