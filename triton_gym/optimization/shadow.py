"""Calls that are computed twice: by what answers, and by the original or a kernel on trial.

The caller pays for copies of the arguments and of the result, queued on its stream, and waits for
nothing. The second computation and the comparison happen in the watcher's thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triton_gym.evaluation.check import Timed
from triton_gym.evaluation.comparison import compare
from triton_gym.evaluation.trees import flatten, memory
from triton_gym.optimization.binding import Binding

SLACK = 4.0
"""How many times the tolerance of an answer the two may differ: other shapes round otherwise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: copies of what it was given, and of what came out."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[torch.Tensor, ...]
    versions: tuple[int, ...]
    """Of the tensors that the function captured: they must not change before they are read."""
    ready: Any
    """An event after the copies; None on a CPU."""


def take(
    function: Callable[..., Any], binding: Binding, args: tuple[Any, ...],
    kwargs: Mapping[str, Any], call: Callable[..., Any],
) -> tuple[Any, Sample | None]:  # fmt: skip
    """Make a call, and keep copies of it.

    Returns:
        What the call returned, and the sample; None where there is no memory for one, or where
        the stream is being captured and copies would become part of it.
    """
    device = torch.device(binding.device)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return call(*args, **kwargs), None
    try:
        kept_args, kept_kwargs = pytree.tree_map(_copy, (tuple(args), dict(kwargs)))
    except torch.OutOfMemoryError:
        return call(*args, **kwargs), None
    result = call(*args, **kwargs)
    try:
        with torch.no_grad():
            results = tuple(_copy(tensor) for tensor in flatten(result, numbers=True)[0])
    except torch.OutOfMemoryError:
        return result, None
    ready = None
    if device.type == "cuda":
        ready = torch.cuda.Event()
        ready.record()
    return result, Sample(kept_args, kept_kwargs, results, versions(function, binding), ready)


def versions(function: Callable[..., Any], binding: Binding) -> tuple[int, ...]:
    """How often each captured tensor was changed in place, as far as PyTorch counts it."""
    held = (one.path.resolve(function) for one in binding.captured)
    return tuple(-1 if one.is_inference() else one._version for one in held)


def disagreement(
    sample: Sample, function: Callable[..., Any], binding: Binding, timed: Timed,
    other: Callable[..., Any] | None,
) -> str | None:  # fmt: skip
    """What is wrong with a kernel on a sample, in words; None if nothing is.

    Args:
        sample: of a call.
        function: the original.
        binding: of the kernel.
        timed: how its results are held against the original's.
        other: the kernel, if the sample's results are the original's; None if they are its own.

    Raises:
        Stale: what the function captured was changed meanwhile, so nothing can be said.
        Exception: whatever the kernel or the original raises.
    """
    with torch.no_grad(), _beside(binding, sample.ready):
        if other is None:
            found, expected = sample.results, _results(function(*sample.args, **sample.kwargs))
        else:
            arguments = binding.answer_arguments(function, sample.args, sample.kwargs)
            found, expected = _results(other(*arguments)), sample.results
        different = unlike(found, expected)
        if different is None:
            verdict = compare(found, slackened(timed).of(tuple(expected)), "a call")
            different = None if verdict.ok else verdict.message
    if versions(function, binding) != sample.versions:
        raise Stale
    return different


class Stale(Exception):
    """A sample came too late."""


def unlike(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> str | None:
    """In what two results differ besides their values."""
    if len(found) != len(expected):
        return f"{len(found)} tensors were returned, not {len(expected)}"
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one.dtype != other.dtype or one.device != other.device or one.shape != other.shape:
            return (
                f"tensor {place} of the result is {tuple(one.shape)} {one.dtype} on {one.device}, "
                f"not {tuple(other.shape)} {other.dtype} on {other.device}"
            )
        if other.numel() and _steps(one) != _steps(other):
            return f"tensor {place} of the result has strides {one.stride()}, not {other.stride()}"
    return None


def slackened(timed: Timed) -> Timed:
    """Tolerances for calls of any shape inside a guard."""
    return Timed(
        tuple(SLACK * one for one in timed.tolerances),
        tuple(SLACK * one for one in timed.spared),
        timed.exact,
        tuple(SLACK * one for one in timed.typical),
    )


def _results(value: Any) -> tuple[torch.Tensor, ...]:
    return flatten(value, numbers=True)[0]


def _steps(tensor: torch.Tensor) -> list[int]:
    """Strides of the axes along which there is anything to step over."""
    return [step for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def _copy(value: Any) -> Any:
    """A copy of a tensor with the same strides, in memory of its own; anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    with torch.no_grad():
        plain = value.detach()
        # Expanded memory, and gaps, are copied as they lie.
        return memory(plain).clone().as_strided(plain.shape, plain.stride())


@contextlib.contextmanager
def _beside(binding: Binding, ready: Any) -> Iterator[None]:
    """A stream of its own, once the copies are there. What runs on it is over at the end."""
    if ready is None:
        yield
        return
    device = torch.device(binding.device)
    with torch.cuda.device(device):
        stream = torch.cuda.Stream(device)
        stream.wait_event(ready)
        with torch.cuda.stream(stream):
            try:
                yield
            finally:
                stream.synchronize()
