"""Operators of other libraries that do what a task of the catalogue asks, where they are installed.

`pip install liger-kernel conch-triton-kernels` brings both. A library that is missing, or an
operator that fails, is told and left out: nothing here is needed to use triton-gym.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch


def _liger(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(
        importlib.import_module("liger_kernel.transformers.functional"), name
    )
    return found


def _conch(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(f"conch.ops.{module}"), name)
    return found


def _group_norm(x: Any, weight: Any, bias: Any, groups: int) -> Any:
    return _liger("liger_group_norm")(x, weight, bias, x.shape[1], groups, 1e-5)


def _cross_entropy(logits: Any, target: Any) -> Any:
    return _liger("liger_cross_entropy")(logits, target, reduction="none")


def _swiglu(x: Any) -> Any:
    gate, up = x.chunk(2, dim=-1)
    return _liger("liger_swiglu")(gate, up)


OPERATORS: dict[str, dict[str, Callable[..., Any]]] = {
    "softmax": {"liger": lambda x: _liger("liger_softmax")(x)},
    "layer_norm": {"liger": lambda x, w, b: _liger("liger_layer_norm")(x, w, b, 1e-5)},
    "rms_norm": {
        "liger": lambda x, w: _liger("liger_rms_norm")(x, w, 1e-6, in_place=False),
        "conch": lambda x, w: _conch("normalization.rms_norm", "rms_norm")(x, w, 1e-6),
    },
    "group_norm": {"liger": _group_norm},
    "silu_mul": {"liger": lambda gate, up: _liger("liger_swiglu")(gate, up)},
    "llama_swiglu": {
        "liger": _swiglu,
        "conch": lambda x: _conch("activation.silu_and_mul", "silu_and_mul")(x),
    },
    "llama_residual_rms_norm": {
        "liger": lambda x, r, w: _liger("liger_fused_add_rms_norm")(x, r, w, 1e-5, in_place=False),
    },
    "llama_cross_entropy": {"liger": _cross_entropy},
}
"""For each task what others have: by library, a function of the task's arguments."""


def of(task: str, arguments: tuple[Any, ...]) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """Calls of other libraries' operators on a task's arguments, and why others are left out."""
    calls: dict[str, Callable[[], Any]] = {}
    missing: list[str] = []
    for library, operator in OPERATORS.get(task, {}).items():

        def call(operator: Callable[..., Any] = operator) -> Any:
            return operator(*arguments)

        try:
            call()
            torch.cuda.synchronize()
        except Exception as error:  # whatever a library does, the others are to be timed
            missing.append(f"{library}: {type(error).__name__}: {error}"[:200])
            continue
        calls[library] = call
    return calls, missing
