"""Tasks whose reference and answers are `torch.nn.Module`s: built alike, and given the same state.

A task of kind `module` has a class as its reference; `Task.init` gives the arguments of its
constructor, and an answer's class takes the same. Both are built on the CPU after seeding PyTorch
with the same number, as KernelBench does, so that an answer which makes its parameters in the same
order has them by construction. Beyond that, parameters and buffers of the answer that have the name
and shape of one of the reference's are overwritten in place with its values: views that a
constructor made of them stay good, and the order does not matter.

The number is fresh for every evaluation and says nothing about the inputs. So parameters are
constants of an evaluation: what an answer prepares from them while it is built is its own business.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation.faults import blaming
from triton_gym.task import Case, Kind, Task

RANDOM = threading.Lock()
"""PyTorch's random numbers have one state for all threads of the judge."""
_LARGE = 1 << 16
"""Elements from which on a tensor is not filled when its values do not matter."""


class Reference:
    """A module as a function of the inputs of one case: what it returns for them."""

    def __init__(self, module: torch.nn.Module, origin: Any = None) -> None:
        self.module = module
        self.origin = origin
        """What made it, by which it is known again."""
        self.state = tuple((name, value.clone()) for name, value in named_state(module))

    def __call__(self, *inputs: Any) -> Any:
        """The module's own result."""
        return self.module(*inputs)

    def exact(self, *inputs: Any) -> Any:
        """The result of the module in float64, for inputs in float64."""
        return copy.deepcopy(self.module).double()(*inputs)


def bind(task: Task, case: Case, seed: int, device: torch.device | None = None) -> Task:
    """The task with a reference that only takes a case's inputs.

    Args:
        task: of either kind; one whose reference is a function comes back as it is.
        case: decides the arguments of the constructor, and the dtype.
        seed: of the evaluation.
        device: where the module goes; None to leave it where it was built.

    Raises:
        InvalidTaskError: the reference is no module.
    """
    if task.entry.kind != Kind.MODULE:
        return task
    with blaming(task, "constructor of the reference", case):
        module = build(task.reference, tuple(task.init(case)), init_seed(seed), case.dtype, device)
    if not isinstance(module, torch.nn.Module):
        raise InvalidTaskError(
            f"The reference of task {task.name!r} must make a torch.nn.Module; it made "
            f"{type(module).__name__}."
        )
    return dataclasses.replace(task, reference=Reference(module, task.reference))


def state_of(task: Task) -> tuple[tuple[str, torch.Tensor], ...]:
    """Names and values of a bound reference's parameters and buffers; none for a function."""
    return task.reference.state if isinstance(task.reference, Reference) else ()


def construction(task: Task, case: Case, seed: int) -> dict[str, Any] | None:
    """How a worker builds an answer for a case, as JSON; None for a function."""
    if task.entry.kind != Kind.MODULE:
        return None
    with blaming(task, "init()", case):
        init = pack(tuple(task.init(case)))
    return {"init": init, "seed": init_seed(seed), "dtype": case.dtype}


def init_seed(seed: int) -> int:
    """What both sides seed PyTorch with; the inputs' seed cannot be told from it."""
    return int.from_bytes(hashlib.sha256(f"parameters of {seed}".encode()).digest()[:6], "big")


def build(
    factory: Callable[..., Any], init: Sequence[Any], seed: int, dtype: str,
    device: torch.device | None = None, *, filled: bool = True,
) -> Any:  # fmt: skip
    """Call a constructor with PyTorch's random numbers in a known state, which is restored.

    Args:
        factory: the class.
        init: its arguments.
        seed: of the random numbers.
        dtype: of its floating-point parameters and buffers afterwards.
        device: where it goes afterwards; None to leave it where it is.
        filled: False if the values of large parameters do not matter, only their shapes.
    """
    with RANDOM, torch.random.fork_rng(devices=[]), _filling(filled):
        torch.default_generator.manual_seed(seed)
        module = factory(*init)
    if isinstance(module, torch.nn.Module):
        _convert(module, getattr(torch, dtype))
        module = module if device is None else module.to(device)
    return module


def _convert(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """What `module.to(dtype)` does, which fake tensors do not bear."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            if value.is_floating_point() and value.dtype != dtype:
                setattr(part, name, torch.nn.Parameter(value.detach().to(dtype)))
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_floating_point() and buffer.dtype != dtype:
                setattr(part, name, buffer.to(dtype))


def named_state(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, then buffers, by name."""
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        yield name, value.detach()


def load_state(module: torch.nn.Module, state: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """Overwrite what has the same name and shape; returns the names that have no counterpart."""
    own = dict(named_state(module))
    missing = []
    for name, value in state:
        if name in own and own[name].shape == value.shape:
            own[name].copy_(value)
        else:
            missing.append(name)
    return missing


def pack(value: Any) -> Any:
    """Arguments of a constructor as JSON, tuples told from lists.

    Raises:
        InvalidTaskError: a value that is neither plain nor made of plain ones.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [pack(item) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: pack(item) for key, item in value.items()}}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise InvalidTaskError(
        "Arguments of a module's constructor must be numbers, texts, dtypes, or lists, tuples and "
        f"dicts of these; got {type(value).__name__}."
    )


def unpack(value: Any) -> Any:
    """What `pack` was given."""
    if not isinstance(value, dict):
        return value
    ((kind, items),) = value.items()
    if kind == "dtype":
        return getattr(torch, items)
    if kind == "dict":
        return {key: unpack(item) for key, item in items.items()}
    made = [unpack(item) for item in items]
    return tuple(made) if kind == "tuple" else made


def _filling(filled: bool) -> AbstractContextManager[Any]:
    return nullcontext() if filled else _Blank()  # type: ignore[no-untyped-call]


class _Blank(TorchDispatchMode):
    """Leaves large tensors unfilled, so that the system need not provide their pages."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping would import the whole of torch.compile, for a second

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        first = args[0] if args else None
        if name in _FILLS and isinstance(first, torch.Tensor) and first.numel() >= _LARGE:
            if first.is_floating_point():
                return first
        if name in _DRAWS and isinstance(first, (list, tuple)):
            wanted = {k: v for k, v in (kwargs or {}).items() if k in ("dtype", "device")}
            return torch.empty(first, **wanted)
        return func(*args, **(kwargs or {}))


_FILLS = frozenset(
    {"uniform_", "normal_", "random_", "fill_", "zero_", "bernoulli_", "erfinv_", "mul_", "add_",
     "clamp_"}
)  # fmt: skip
_DRAWS = frozenset({"rand", "randn", "ones", "zeros"})
