"""Arguments and results between plans and host code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.evaluation import sizes, trees
from triton_gym.evaluation.plan.codec import Malformed
from triton_gym.evaluation.plan.value import (
    DeviceTensor,
    HostTensor,
    Plain,
    PlainKind,
    Sequence,
    SequenceKind,
    Table,
    Value,
)
from triton_gym.evaluation.recording.recorder import Recorder, dtype_name, is_standin, view_of


def made(recorder: Recorder, value: Value) -> Any:
    """What host code gets for an argument.

    Raises:
        Malformed: there is no such thing.
    """
    if isinstance(value, DeviceTensor):
        view = value.view
        memory = recorder.at(view.address)
        if memory is None:
            raise Malformed("an argument lies in no buffer")
        dtype = getattr(torch, view.dtype)
        tensor = recorder.tensor_in(memory, dtype, view.shape, view.strides, view.address)
        return tensor.requires_grad_() if value.requires_grad else tensor
    if isinstance(value, Sequence):
        items = [made(recorder, item) for item in value.items]
        return items if value.kind is SequenceKind.LIST else tuple(items)
    if isinstance(value, Table):
        items = [made(recorder, item) for item in value.items]
        return dict(zip([key.key for key in value.keys], items, strict=True))
    if isinstance(value, HostTensor):
        raise Malformed("a tensor on the host is no argument")
    return _plain(value)


def _plain(value: Plain) -> Any:
    if value.kind is PlainKind.NONE:
        return None
    if value.kind is PlainKind.TEXT:
        return value.text
    if value.kind is PlainKind.DTYPE:
        return getattr(torch, value.text)
    return value.number


def told(recorder: Recorder, result: Any, keep: Callable[[bytes], int], depth: int = 0) -> Value:
    """What host code returned, as plans write it.

    Args:
        recorder: holds its memory.
        result: of any kind.
        keep: puts bytes among the blobs, and returns where.
        depth: how deep it lies in another.

    Raises:
        Refused: a tensor is what PyTorch was to compute.
    """
    if isinstance(result, torch.Tensor):
        return _tensor(recorder, result, keep)
    if isinstance(result, (tuple, list, dict)):
        if depth >= sizes.DEEPEST or len(result) > sizes.WIDEST:  # more than a reference may have
            name = type(result).__name__
            return Plain(PlainKind.OTHER, f"{name} of {len(result)} at depth {depth}"[:200])
        if isinstance(result, dict):
            if not all(map(trees.is_key, result)):
                return Plain(PlainKind.OTHER, "dict with keys of other kinds")
            items = tuple(told(recorder, item, keep, depth + 1) for item in result.values())
            return Table(tuple(map(Plain.of, result)), items)
        kind = SequenceKind.LIST if isinstance(result, list) else SequenceKind.TUPLE
        items = tuple(told(recorder, item, keep, depth + 1) for item in result)
        return Sequence(kind, items)
    if isinstance(result, torch.dtype):
        return Plain(PlainKind.DTYPE, dtype_name(result))
    return Plain.of(result)


def _tensor(recorder: Recorder, tensor: torch.Tensor, keep: Callable[[bytes], int]) -> Value:
    with _disable_current_modes():
        if is_standin(tensor):
            recorder.use(recorder.memory_of(tensor), "the result")
            return DeviceTensor(view_of(tensor), tensor.requires_grad)
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
            return Plain(PlainKind.OTHER, f"tensor on {tensor.device}, {tensor.layout}")
        dense = tensor.detach().contiguous()
        data = dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""
        return HostTensor(dtype_name(tensor.dtype), tuple(tensor.shape), keep(data))
