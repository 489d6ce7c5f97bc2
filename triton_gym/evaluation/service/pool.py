"""One evaluator a device and process, shared by the environments that do not bring their own."""

from __future__ import annotations

import os
import threading

from triton_gym.errors import unknown
from triton_gym.evaluation.service.evaluator import Evaluator, Path

KINDS = ("local", "ray")
"""What `evaluator=` may name: processes of this machine, or a Ray cluster."""
_evaluators: dict[tuple[int, str, str, str], Evaluator] = {}
_lock = threading.Lock()


def evaluator_for(device: str, kind: str = "local", store: Path | None = None) -> Evaluator:
    """The shared evaluator of a device; its processes start with the first evaluation.

    Args:
        device: see `Evaluator`.
        kind: one of `KINDS`.
        store: file of outcomes that were found before.

    Raises:
        InvalidOptionError, DeviceError: see `triton_gym.evaluation.backends.resolve`.
        StoreError: the store cannot be opened.
    """
    file = "" if store is None else os.path.realpath(store)
    with _lock:
        key = (os.getpid(), kind, device, file)
        if key not in _evaluators:
            fresh = make_evaluator(kind, device, store=store)
            same = (os.getpid(), kind, fresh.describe(), file)
            # `cuda:all` is described by its first device, and is not that device.
            _evaluators[key] = fresh if ":all" in device else _evaluators.setdefault(same, fresh)
        return _evaluators[key]


def make_evaluator(
    kind: str, device: str, *, workers: int | None = None, store: Path | None = None
) -> Evaluator:
    """A new evaluator of a kind, one of `KINDS`; further arguments as of `Evaluator`.

    Raises:
        InvalidOptionError, DeviceError: see `triton_gym.evaluation.backends.resolve`.
        StoreError: the store cannot be opened.
    """
    if kind not in KINDS:
        raise unknown("evaluator", kind, KINDS)
    if kind == "ray":
        from triton_gym.evaluation.service.cluster import RayEvaluator

        return RayEvaluator(device=device, workers=workers, store=store)
    return Evaluator(device, workers=workers, store=store)
