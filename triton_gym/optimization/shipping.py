"""A function and examples of its calls, sent to the process that traces: tensors without values.

Large tensors go as their layout and what their values are like (`likeness`); tracing looks at no
value. So a model of gigabytes on a GPU costs a few kilobytes, and the process that traces needs no
GPU. Functions of `__main__` and local ones go by value, as cloudpickle does it.
"""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle
import torch

from triton_gym.errors import NotOptimizableError
from triton_gym.optimization.likeness import Likeness, Pattern

WHOLE = 4096
"""Most elements of a tensor that is sent with its values."""
DEVICE = "_triton_gym_device"
"""Attribute of a tensor in the process that traces: the device it is on where the user is."""
DRAWN = 65_521
"""Most values of a tensor without a pattern that are drawn in the process that traces: they are
repeated. A draw of a hundred million would take longer than all the rest. A prime, so that rows
differ."""
LIKENESS = "_triton_gym_likeness"
"""Attribute of such a tensor: its values' likeness."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be traced."""

    function: Any
    """A function, bound method or module."""
    examples: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]
    """Positional and named arguments of each example's call."""
    dynamic: Any
    """Axes whose size may vary, by parameter; None for all that can."""
    draw: Callable[..., Any] | None
    reference: Callable[..., Any] | None
    """The function in plain PyTorch, where it launches kernels of its own."""
    name: str
    """Of the task and the answer's function."""
    gpu: str
    """Key in `GPUS` of the GPU to emit kernels for."""
    routes: tuple[str, ...]
    """Which routes to a start are tried, in order."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Sends tensors by `_layout`."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return _reduced(value)
        if isinstance(value, torch.Generator):
            return torch.Generator, ()
        return super().reducer_override(value)


def packed(request: Request) -> bytes:
    """A request as bytes, for `cloudpickle.loads` in the process that traces.

    Raises:
        NotOptimizableError: the function refers to what cannot be sent.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer).dump(request)
    except NotOptimizableError:
        raise
    except Exception as error:  # whatever objects of the user's raise when they are pickled
        raise NotOptimizableError(
            f"{request.name} cannot be sent to the process that traces it: {error}. It must not "
            "refer to locks, files, connections or the like."
        ) from error
    return buffer.getvalue()


def _reduced(tensor: torch.Tensor) -> Any:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        raise NotOptimizableError(
            f"A tensor is a {type(tensor).__name__}: subclasses of torch.Tensor have operators of "
            "their own, which no kernel stands in for."
        )
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise NotOptimizableError(f"A tensor has the layout {tensor.layout}; it must be strided.")
    with torch.no_grad():
        plain = tensor.detach()
        whole = tensor.numel() <= WHOLE
        values = plain.cpu().contiguous().view(torch.uint8).numpy().tobytes() if (
            whole and tensor.dim()) else (plain.cpu().item() if whole else None)  # fmt: skip
        likeness = Likeness.of(plain)
    kind = "parameter" if isinstance(tensor, torch.nn.Parameter) else "tensor"
    layout = (tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype, str(tensor.device))
    return _rebuilt, (layout, kind, tensor.requires_grad, values, likeness)


def _rebuilt(
    layout: tuple[Any, ...], kind: str, requires_grad: bool, values: Any, likeness: Likeness
) -> torch.Tensor:
    """A tensor on the CPU with the same layout and such values."""
    shape, stride, dtype, device = layout
    made = torch.empty_strided(shape, stride, dtype=dtype)
    filled = _values(shape, dtype, values, likeness)
    if made.stride() == filled.stride():
        made = filled
    elif 0 not in stride:
        made.copy_(filled)
    elif made.numel():
        axes = tuple(0 if step == 0 else slice(None) for step in stride)
        made[axes] = filled[axes]
    if kind == "parameter":
        made = torch.nn.Parameter(made, requires_grad=requires_grad)
    elif requires_grad:
        made.requires_grad_(True)
    setattr(made, DEVICE, device)
    setattr(made, LIKENESS, likeness)
    return made


def _values(
    shape: tuple[int, ...], dtype: torch.dtype, values: Any, likeness: Likeness
) -> torch.Tensor:
    if values is None:
        generator, count = torch.Generator().manual_seed(0), math.prod(shape)
        if count <= DRAWN or likeness.pattern is not Pattern.NONE:
            return likeness.draw(shape, dtype, generator)
        drawn = likeness.draw((DRAWN,), dtype, generator)
        return drawn.repeat(-(-count // DRAWN))[:count].reshape(shape)
    if isinstance(values, bytes):
        if not values:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(values), dtype=torch.uint8).view(dtype).reshape(shape)
    return torch.tensor(values, dtype=dtype)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """How a function is called: its parameters without annotations; of a module, of `forward`."""
    called = function.forward if isinstance(function, torch.nn.Module) else function
    signature = inspect.signature(called)
    parameters = [
        one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()
    ]
    return inspect.Signature(parameters)
