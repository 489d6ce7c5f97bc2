"""One evaluator a device and process, shared by the environments that do not bring their own."""

from __future__ import annotations

import os
import threading
from typing import Any

from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.evaluation.backends import backend_of, resolve
from triton_gym.evaluation.records.store import file_of
from triton_gym.evaluation.service.deferring import DeferringEvaluator
from triton_gym.evaluation.service.evaluator import Evaluator, Path
from triton_gym.evaluation.service.protocol import EvaluatorLike

KINDS = ("local", "ray", "deferring")
"""What `evaluator=` may name: processes of this machine, a Ray cluster, or processes of this
machine that simulate and leave to a GPU what is uncertain or best (`DeferringEvaluator`)."""
_evaluators: dict[tuple[int, str, str, str], EvaluatorLike] = {}
_lock = threading.Lock()


def evaluator_for(device: str, kind: str = "local", store: Path | None = None) -> EvaluatorLike:
    """The shared evaluator of a device; its processes start with the first evaluation.

    Args:
        device: see `Evaluator`.
        kind: one of `KINDS`.
        store: file of outcomes that were found before.

    Raises:
        InvalidOptionError, DeviceError: see `triton_gym.evaluation.backends.resolve`.
        StoreError: the store cannot be opened.
    """
    file = "" if store is None else os.path.realpath(file_of(store))
    with _lock:
        key = (os.getpid(), kind, device, file)
        if key not in _evaluators:
            fresh = make_evaluator(kind, device, store=store)
            same = (os.getpid(), kind, fresh.describe(), file)
            # `cuda:all` is described by its first device, and is not that device.
            _evaluators[key] = fresh if ":all" in device else _evaluators.setdefault(same, fresh)
        return _evaluators[key]


def chosen_evaluator(
    given: EvaluatorLike | str | None, device: str, store: Any = None
) -> EvaluatorLike:
    """What an environment evaluates with: what it was given, or what this process shares.

    Args:
        given: an evaluator, one of `KINDS`, or None.
        device, store: of one that is not given.

    Raises:
        InvalidOptionError: it is neither, or one that was given is given a store too.
        DeviceError, StoreError: see `evaluator_for`.
    """
    if given is None or isinstance(given, str):
        asked: dict[str, Any] = {"kind": given, "store": store}
        return evaluator_for(device, **{k: v for k, v in asked.items() if v is not None})
    hold_evaluator(given)
    if store is not None:
        raise InvalidOptionError("An evaluator has its own store: Evaluator(store=...).")
    return given


def hold_evaluator(given: object) -> None:
    """Raise unless it is one, as far as can be seen."""
    if not all(hasattr(given, name) for name in ("device", "deterministic", "submit")):
        raise InvalidOptionError(
            f"evaluator must be an Evaluator or one of {', '.join(KINDS)}; "
            f"got {type(given).__name__}."
        )


def make_evaluator(
    kind: str, device: str, *, workers: int | None = None, store: Path | None = None
) -> EvaluatorLike:
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
    if kind == "deferring":
        return _deferring(device, workers, store)
    return Evaluator(device, workers=workers, store=store)


def _deferring(device: str, workers: int | None, store: Path | None) -> DeferringEvaluator:
    """Simulates the GPU that it measures on."""
    measured = resolve(device)
    backend = backend_of(measured)
    if backend.deterministic:
        raise InvalidOptionError(
            f"evaluator='deferring' measures on a GPU what its simulation does not know; "
            f"device={device!r} is {measured}. Allowed: cuda or cuda:<ordinal>."
        )
    sheet = backend.sheet(measured)
    if sheet is None:
        raise InvalidOptionError(
            f"evaluator='deferring' does not know which GPU to simulate for {measured}. Say it: "
            "DeferringEvaluator(Evaluator('simulated:<gpu>'), Evaluator(device))."
        )
    return DeferringEvaluator(
        Evaluator(f"simulated:{sheet.name}", workers=workers, store=store),
        Evaluator(str(measured), workers=workers, store=store),
    )
