"""Which arithmetic units a task's FLOPs run on, and how many of them a GPU can do a second.

An answer that is faster than the peak is called cheating, so the peak is never one too low: it is
that of the narrowest dtype among a case's arguments, and that of the matrix units where a task does
not say which ones it means and its reference multiplies matrices, or does so much arithmetic that
the vector units would bound it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from triton_gym.device import Gpu
from triton_gym.evaluation import check, trees
from triton_gym.evaluation.fingerprint import remembered_fingerprint
from triton_gym.evaluation.modules import bind
from triton_gym.task import Case, Task, Unit

_KEPT = 256
_known: OrderedDict[tuple[str, Case], tuple[bool, tuple[str, ...]]] = OrderedDict()
_NARROW = {"uint8": "int8"}


def peak_tflops(task: Task, case: Case, gpu: Gpu) -> float:
    """The highest rate at which a GPU could do the case's FLOPs, in 10¹² a second."""
    vector = gpu.peak_tflops(case.dtype, matrix=False)
    if task.unit is Unit.VECTOR:
        return vector
    multiplies, dtypes = _seen(task, case)
    if task.unit is None and not multiplies:
        # Time on the vector units, against time for the bytes: in s, by 10¹² and 10⁹ a second.
        if task.flops(case) / vector / 1e12 <= task.min_bytes(case) / gpu.memory_gbps / 1e9:
            return vector
    return max(gpu.peak_tflops(dtype, matrix=True) for dtype in (case.dtype, *dtypes))


def _seen(task: Task, case: Case) -> tuple[bool, tuple[str, ...]]:
    """Whether the reference multiplies matrices, and the dtypes of factors among its arguments."""
    key = (remembered_fingerprint(task), case)
    if key not in _known:
        _known[key] = _look(task, case)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return _known[key]


def _look(task: Task, case: Case) -> tuple[bool, tuple[str, ...]]:
    mode, arguments = check.fake_arguments(task, case)
    dtypes = {trees.name_of(x.dtype) for x in trees.flatten(arguments)[0] if _factor(x.dtype)}
    if task.unit is not None:
        return True, tuple(sorted(dtypes))
    seen = _Products()
    try:
        with mode:
            bound = bind(task, case, 0)
        with torch.no_grad(), mode, seen:
            bound.reference(*arguments)
    except Exception:  # what depends on values cannot run without them
        seen.found = True
    return seen.found, tuple(sorted(dtypes))


def _factor(dtype: torch.dtype) -> bool:
    """Whether matrix units multiply numbers of a dtype: floating point, and integers of a byte."""
    return dtype.is_floating_point or dtype in (torch.int8, torch.uint8)


class _Products(TorchDispatchMode):
    """Notes whether an operator that the matrix units do runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found = self.found or func._overloadpacket in flop_registry
        return func(*args, **(kwargs or {}))
