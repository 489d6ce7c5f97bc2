"""triton-gym: the Gymnasium for GPU kernels.

Importing this package registers the environments with Gymnasium and loads neither torch nor
Triton; both come with the first environment that is made.
"""

from __future__ import annotations

import importlib
import os as _os
from typing import TYPE_CHECKING, Any

from triton_gym import registration as _registration

if TYPE_CHECKING:
    from triton_gym.action import InvalidAction, extract
    from triton_gym.device import Gpu
    from triton_gym.errors import (
        DeviceError,
        EvaluatorError,
        InvalidOptionError,
        InvalidTaskError,
        RunError,
        TritonGymError,
    )
    from triton_gym.evaluation.service.deferring import DeferringEvaluator
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.evaluation.workers.sandbox import Limits
    from triton_gym.optimization.decorator import optimize
    from triton_gym.outcome import Outcome, Status
    from triton_gym.registration import load, register, tasks
    from triton_gym.task import Case, Entry, Span, Task, Unit
    from triton_gym.verification import verify

__version__ = "0.1.0"

_HOMES = {
    "Case": "task",
    "DeferringEvaluator": "evaluation.service.deferring",
    "DeviceError": "errors",
    "Entry": "task",
    "Evaluator": "evaluation.service.evaluator",
    "EvaluatorError": "errors",
    "Gpu": "device",
    "InvalidAction": "action",
    "InvalidOptionError": "errors",
    "InvalidTaskError": "errors",
    "Limits": "evaluation.workers.sandbox",
    "Outcome": "outcome",
    "RunError": "errors",
    "Span": "task",
    "Status": "outcome",
    "Task": "task",
    "TritonGymError": "errors",
    "Unit": "task",
    "extract": "action",
    "load": "registration",
    "optimize": "optimization.decorator",
    "register": "registration",
    "tasks": "registration",
    "verify": "verification",
}

__all__ = [
    "Case",
    "DeferringEvaluator",
    "DeviceError",
    "Entry",
    "Evaluator",
    "EvaluatorError",
    "Gpu",
    "InvalidAction",
    "InvalidOptionError",
    "InvalidTaskError",
    "Limits",
    "Outcome",
    "RunError",
    "Span",
    "Status",
    "Task",
    "TritonGymError",
    "Unit",
    "extract",
    "load",
    "optimize",
    "register",
    "tasks",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


_registration.register_catalogue()
if _os.environ.get("TRITON_GYM_SUITES"):
    _suites = importlib.import_module("triton_gym.suites")
    _suites.register_from_environment()
