"""A function of the user's own becomes a task: `trace(function, examples)`.

Tracing runs in a process of its own. In a thread of the program it would hold the interpreter for
longer than a call may take.
"""

from __future__ import annotations

import importlib
import keyword
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from triton_gym.errors import EvaluatorError, InvalidOptionError, NotOptimizableError
from triton_gym.optimization.shipping import Request, packed
from triton_gym.optimization.traced import TracedFunction
from triton_gym.optimization.tracing_process import TracingProcess

ROUTES = ("own", "template", "inductor")
"""Where starts come from, in the order in which they are tried."""


def trace(
    function: Callable[..., Any] | str,
    examples: Sequence[Any],
    *,
    dynamic: Mapping[str, Sequence[int] | int] | None = None,
    draw: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    device: str = "simulated:h200",
    routes: Sequence[str] = ROUTES,
    seconds: float = 60.0,
    process: TracingProcess | None = None,
) -> TracedFunction:
    """Make a task of a function.

    Args:
        function: a function, bound method or `torch.nn.Module`, or its import path
            `module:name`. It must compute new tensors from tensors; see docs/optimize.md for what
            it may not do.
        examples: calls of it: each a tuple of positional arguments, or a dict of arguments by
            name. All are timed; sizes that vary among them must be able to.
        dynamic: axes whose size may vary, by parameter (`{"x": (0,)}`); all others are fixed. None
            lets every axis vary that can.
        draw: `draw(generator, *arguments)` returns arguments to test and time on; it is given such
            as the library draws, with shapes that were chosen. For values that mean something
            together: offsets, masks of a kind, matrices with a property.
        reference: the same function in plain PyTorch, needed if `function` launches Triton kernels.
        device: GPU to make answers for, as `simulated:h200` or `cuda`.
        routes: where answers to start from may come from; see `ROUTES`.
        seconds: after which tracing is given up.
        process: which traces, if one was started early; it is used up.

    Raises:
        NotOptimizableError: no kernel can safely stand in for the function; the message names the
            reason, the function and the line.
        InvalidOptionError: an option is outside what is allowed.
        EvaluatorError: the process that traces died.
    """
    found = function_at(function) if isinstance(function, str) else function
    found = (
        getattr(found, "__wrapped__", found) if not isinstance(found, torch.nn.Module) else found
    )
    if unknown := [route for route in routes if route not in ROUTES]:
        raise InvalidOptionError(f"Unknown routes {unknown}. Allowed: {', '.join(ROUTES)}.")
    if not examples:
        raise InvalidOptionError("examples= needs at least one call of the function.")
    name = task_name(found)
    request = Request(
        function=found, examples=tuple(map(_call, examples)), dynamic=dynamic, draw=draw,
        reference=reference, name=name, gpu=gpu_of(device), routes=tuple(routes),
    )  # fmt: skip
    return _answered(packed(request), name, seconds, process or TracingProcess())


def function_at(path: str) -> Any:
    """The function that an import path names.

    Raises:
        InvalidOptionError: there is none.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise InvalidOptionError(f"A function's import path is `module:name`; got {path!r}.")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
        for piece in name.split("."):
            found = getattr(found, piece)
    except (ImportError, AttributeError) as error:
        raise InvalidOptionError(f"{path!r} cannot be imported: {error}.") from error
    return found


def task_name(function: Any) -> str:
    """The name of a function's task: its own, as an identifier."""
    name = getattr(function, "__name__", type(function).__name__)
    clean = "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")
    if not clean.isidentifier() or keyword.iskeyword(clean):
        clean = f"function_{clean}"
    return clean.lower() if clean.isupper() else clean


def gpu_of(device: str) -> str:
    """The key in `GPUS` of the GPU that a `device=` means."""
    kind, _, which = device.partition(":")
    if kind == "simulated":
        return which or "h200"
    from triton_gym.device import gpu_matching

    if torch.cuda.is_available():
        ordinal = int(which) if which.isdigit() else 0
        gpu = gpu_matching(torch.cuda.get_device_name(ordinal))
        if gpu is not None:
            return gpu.name
    return "h200"


def _call(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example as positional and named arguments."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, (tuple, list)):
        return tuple(example), {}
    return (example,), {}


def _answered(
    request: bytes, name: str, seconds: float, process: TracingProcess
) -> TracedFunction:  # fmt: skip
    try:
        found, status, printed = process.answered(request, seconds)
    except subprocess.TimeoutExpired as error:
        raise NotOptimizableError(
            f"{name} was not traced within {seconds:g} s; give more with seconds=."
        ) from error
    if status or not found:
        told = printed.decode(errors="replace").strip()[-2000:]
        raise EvaluatorError(f"The process that traced {name} ended with {status}:\n{told}")
    kind, answer = pickle.loads(found)
    if kind == "refused":
        raise NotOptimizableError(answer)
    traced: TracedFunction = answer
    return traced
