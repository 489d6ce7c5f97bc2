"""An answer as its worker holds it: imported, its failures told, its results looked over.

All of this runs on hostile ground, and none of it is believed where lying would gain: see `worker`.
"""

from __future__ import annotations

import importlib.util
import math
import mmap
import sys
from types import ModuleType
from typing import Any

import torch

from triton_gym.evaluation.exchange.arena import Slot
from triton_gym.evaluation.workers.failure import Failure
from triton_gym.outcome import Status


def import_answer(path: str) -> ModuleType:
    """The answer as a module. Triton reads a kernel's source from its file."""
    spec = importlib.util.spec_from_file_location("answer", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["answer"] = module
    spec.loader.exec_module(module)
    return module


def zeros(shape: list[int], name: str) -> torch.Tensor:
    """Zeros whose pages the system provides when they are touched; `torch.zeros` touches all."""
    dtype = getattr(torch, name)
    size = max(math.prod(shape) * dtype.itemsize, 1)
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype, count=math.prod(shape)).view(shape)


def dense(result: Any) -> Any:
    """What an answer returned, each tensor as the result that is asked for lies in memory.

    A transposed view, say, must be written once more. That is part of the answer's work, and so of
    its time.
    """
    if type(result) is torch.Tensor:
        return result.contiguous()
    if type(result) in (tuple, list):
        return [dense(value) if type(value) is torch.Tensor else value for value in result]
    return result


def checked(
    result: Any, outputs: list[Any], case: str, entry: str, device: torch.device
) -> list[torch.Tensor]:
    """The result as a list of plain tensors of the right shape and dtype.

    Subclasses are refused: their methods could compute later than the clock runs.
    """
    results = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(results) != len(outputs):
        raise Failure(
            Status.INCORRECT, f"{entry} returned {len(results)} values on {case}; "
            f"expected {len(outputs)}."
        )  # fmt: skip
    for value, message in zip(results, outputs, strict=True):
        slot = Slot.read(message)
        if type(value) is not torch.Tensor:
            raise Failure(
                Status.INCORRECT,
                f"{entry} must return a torch.Tensor; on {case} it returned "
                f"{type(value).__name__}.",
            )
        dtype = str(value.dtype).removeprefix("torch.")
        if tuple(value.shape) != slot.shape or dtype != slot.dtype or value.device != device:
            raise Failure(
                Status.INCORRECT,
                f"{entry} returned shape {tuple(value.shape)}, dtype {dtype} on {value.device} "
                f"for {case}; expected shape {slot.shape}, dtype {slot.dtype} on {device}.",
            )
    return results
