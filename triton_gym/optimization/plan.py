"""One call of an answer as a straight line: what it allocates, which operators and kernels it runs.

A host function of an answer is plain (`admissible.py`): what it does follows from what its tensors
are like, not from their values or addresses. So the next call with tensors of the same shapes and
strides does the same. It is recorded while it runs: PyTorch's operators by a dispatch mode, kernels
where `@triton.jit` launches them. From that a function is written that does these things and
nothing else: no size is computed, no argument bound, no kernel looked up, no descriptor checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

ALIGNED = 16
"""Bytes that addresses are divisible by: Triton compiles kernels anew where they are not."""
_ALLOCATES = frozenset({"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided"})
_UNSTEADY = (
    torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
)  # fmt: skip
"""Marks of operators whose results, or what follows from them, differ from call to call."""
_tape = threading.local()


class NotPlannedError(Exception):
    """A call does what a plan cannot repeat."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A tensor of the plan."""

    text: str


@dataclass(frozen=True, slots=True)
class _Described:
    """A tensor descriptor: its own kind of object, and the matrix that it begins at."""

    kind: type[Any]
    base: _Name


@dataclass(frozen=True, slots=True)
class _Step:
    """A statement: a call of something in the plan's scope."""

    call: str
    results: tuple[str, ...]
    given: tuple[Any, ...]
    named: Mapping[str, Any] = field(default_factory=dict)
    needed: bool = True
    """Whether it is kept if nobody uses its results."""


def watch_launches(kernel: Any) -> None:
    """Have what `@triton.jit` made tell recordings of this thread what it launches."""
    run = kernel.run

    def told(*args: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        made = run(*args, grid=grid, warmup=warmup, **named)
        recording = getattr(_tape, "recording", None)
        if recording is not None and not warmup:
            recording.launched(kernel, made, args, grid, named)
        return made

    kernel.run = told


def recorded(
    call: Callable[..., Any], tensors: tuple[torch.Tensor, ...]
) -> tuple[Any, Callable[..., Any] | None]:
    """Make a call, and write it down.

    Returns:
        What the call returned, and a function that does the same with other tensors whose shapes
        and strides are these and whose addresses are divisible by `ALIGNED`; None if the call
        cannot be repeated.

    Raises:
        Exception: whatever the call raises.
    """
    recording = _Recording(tensors)
    with recording.launches_counted(), recording:
        _tape.recording = recording
        try:
            result = call(*tensors)
        finally:
            _tape.recording = None
    try:
        return result, recording.plan(result)
    except NotPlannedError:
        return result, None


class _Recording(TorchDispatchMode):
    """What a call does."""

    def __init__(self, tensors: tuple[torch.Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inputs = [f"t{place}" for place in range(len(tensors))]
        self._steps: list[_Step] = []
        self._scope: dict[str, Any] = {}
        self._device = tensors[0].device
        self._names: dict[int, str] = {}
        self._kept: list[torch.Tensor] = []
        """All tensors that have a name: no other one gets the identity of one that was freed."""
        self._begins: dict[str, str] = {}
        """Views that begin where another tensor does, and which: for a kernel they are the same."""
        self._seen = self._told = 0
        self._why = ""
        for name, tensor in zip(self._inputs, tensors, strict=True):
            if id(tensor) in self._names:
                self._why = "an argument is given twice"
            self._named(tensor, name)

    # -- operators --------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """See `TorchDispatchMode`: run an operator, and note it."""
        found = operator(*args, **(kwargs or {}))
        try:
            self._operator(operator, args, kwargs or {}, found)
        except NotPlannedError as error:
            self._why = self._why or str(error)
        return found

    def _operator(self, operator: Any, args: Any, kwargs: Any, found: Any) -> None:
        results = list(found) if isinstance(found, (list, tuple)) else [found]
        steady = all(isinstance(one, torch.Tensor) for one in results) and not any(
            tag in operator.tags for tag in _UNSTEADY
        )
        if not steady or any(one.device != self._device for one in results):
            raise NotPlannedError(f"{operator} is used")
        if operator._schema.name.partition("::")[2] in _ALLOCATES:
            return self._allocated(results[0])
        new = [one for one in results if id(one) not in self._names]
        base = self._viewed(args, new) if not operator._schema.is_mutable else None
        if base is not None:
            return self._view(base, new[0])
        given = tuple(self._recipe(one) for one in args)
        named = {key: self._recipe(one) for key, one in kwargs.items()}
        if len(new) not in (0, len(results)):
            raise NotPlannedError(f"{operator} returns what it was given, and more")
        many = isinstance(found, (list, tuple))
        call = self._constant(operator if not many or len(results) > 1 else _only(operator))
        names = tuple(self._named(one) for one in new)
        self._steps.append(_Step(call, names, given, named))

    def _allocated(self, tensor: torch.Tensor) -> None:
        size, stride = tuple(tensor.shape), tuple(tensor.stride())
        empty = _empty_cuda if tensor.device.type == "cuda" else None
        if empty is not None:
            given: tuple[Any, ...] = (size, stride, tensor.dtype)
            step = _Step(self._constant(empty), (self._named(tensor),), given)
        else:
            named = {"dtype": tensor.dtype, "device": tensor.device}
            call = self._constant(torch.empty_strided)
            step = _Step(call, (self._named(tensor),), (size, stride), named)
        if tensor.data_ptr() % ALIGNED:
            raise NotPlannedError("memory is not aligned")
        self._steps.append(step)

    def _viewed(self, args: Any, new: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """Which argument the only result is a view of, if it is one with the same dtype."""
        if len(new) != 1 or not args or not isinstance(args[0], torch.Tensor):
            return None
        same = args[0].untyped_storage().data_ptr() == new[0].untyped_storage().data_ptr()
        return args[0] if same and args[0].dtype == new[0].dtype and new[0].numel() else None

    def _view(self, base: torch.Tensor, view: torch.Tensor) -> None:
        beyond = view.storage_offset() - base.storage_offset()
        of, name = self._of(base), self._named(view)
        if beyond == 0:
            self._begins[name] = self._begins.get(of, of)
        given = (_Name(of), tuple(view.shape), tuple(view.stride()), beyond)
        self._steps.append(_Step(self._constant(_strided), (name,), given, needed=False))

    # -- launches ---------------------------------------------------------------------------------

    def launches_counted(self) -> Any:
        """A context in which every launch of this thread is counted, wherever it comes from."""
        return _Told(self._count)

    def _count(self, _: Any) -> None:
        if getattr(_tape, "recording", None) is self:
            self._seen += 1

    def launched(self, kernel: Any, made: Any, args: Any, grid: Any, named: Any) -> None:
        """Note a launch of a kernel."""
        self._told += 1
        try:
            self._launched(kernel, made, args, grid, named)
        except NotPlannedError as error:
            self._why = self._why or str(error)

    def _launched(self, kernel: Any, made: Any, args: Any, grid: Any, named: Any) -> None:
        from triton.runtime import driver

        if kernel.pre_run_hooks:
            raise NotPlannedError("something is done before each launch")
        device = driver.active.get_current_device()
        self._scope |= {"_stream": driver.active.get_current_stream, "_device": device}
        bound = kernel.device_caches[device][4](*args, **named)[0]
        sizes = tuple(grid(bound) if callable(grid) else grid)
        sizes = (*sizes, 1, 1)[:3]
        if 0 in sizes:
            raise NotPlannedError("a grid is empty")
        fixed = (made.function, made.packed_metadata, None, None, None)
        values = tuple(self._argument(one) for one in bound.values())
        given = (*sizes, _Name("stream"), *fixed, *values)
        self._steps.append(_Step(self._constant(made.run), (), given))

    def _argument(self, value: Any) -> Any:
        """What a kernel is given: of a tensor, all that counts is where it begins."""
        if isinstance(value, torch.Tensor):
            name = self._of(value)
            return _Name(self._begins.get(name, name))
        if isinstance(getattr(value, "base", None), torch.Tensor) and hasattr(value, "strides"):
            name = self._of(value.base)
            kept = {key: held for key, held in vars(value).items() if key != "base"}
            kind = type("Described", (), {"__slots__": ("base",), "__init__": _set_base, **kept})
            return _Described(kind, _Name(self._begins.get(name, name)))
        if hasattr(value, "data_ptr"):
            raise NotPlannedError(f"a kernel is given a {type(value).__name__}")
        return value

    # -- names ------------------------------------------------------------------------------------

    def _named(self, tensor: torch.Tensor, name: str = "") -> str:
        name = name or f"b{len(self._kept)}"
        self._names[id(tensor)] = name
        self._kept.append(tensor)
        return name

    def _of(self, tensor: torch.Tensor) -> str:
        name = self._names.get(id(tensor))
        if name is None:
            raise NotPlannedError("a tensor is neither an argument nor made in the call")
        return name

    def _recipe(self, value: Any) -> Any:
        """A value with its tensors replaced by their names."""
        return pytree.tree_map_only(torch.Tensor, lambda one: _Name(self._of(one)), value)

    def _constant(self, value: Any) -> str:
        name = f"k{len(self._scope)}"
        self._scope[name] = value
        return name

    # -- the plan ---------------------------------------------------------------------------------

    def plan(self, result: Any) -> Callable[..., Any]:
        """The function that does what was recorded.

        Raises:
            NotPlannedError: something in it cannot be repeated.
        """
        if self._why:
            raise NotPlannedError(self._why)
        if self._seen != self._told or not self._told:
            raise NotPlannedError("a kernel is launched unseen, or none is")
        returned = self._written(self._recipe(result))
        lines = ["stream = _stream(_device)", *self._lines(returned), f"return {returned}"]
        source = "\n".join(
            [f"def plan({', '.join(self._inputs)}):", *(f"    {one}" for one in lines), ""]
        )
        scope = dict(self._scope)
        exec(compile(source, "<plan of a kernel's host function>", "exec"), scope)
        made: Callable[..., Any] = scope["plan"]
        return made

    def _lines(self, returned: str) -> Iterator[str]:
        """Statements, without views that nobody uses; memory is given back as early as it can."""
        written = []
        used = set(_words(returned))
        for step in reversed(self._steps):
            if not step.needed and not used & set(step.results):
                continue
            given = [self._written(one) for one in step.given]
            given += [f"{key}={self._written(one)}" for key, one in step.named.items()]
            targets = f"{', '.join(step.results)} = " if step.results else ""
            line = f"{targets}{step.call}({', '.join(given)})"
            words = set(_words(line))
            done = sorted(words - used - set(self._inputs))
            freed = [name for name in done if name.startswith("b") and name[1:].isdigit()]
            written.append([line, *([f"del {', '.join(freed)}"] if freed else [])])
            used |= words
        for lines in reversed(written):
            yield from lines

    def _written(self, value: Any) -> str:
        """An expression for a recipe."""
        if isinstance(value, _Name):
            return value.text
        if isinstance(value, _Described):
            return f"{self._constant(value.kind)}({value.base.text})"
        if type(value) in (int, bool, type(None)):
            return repr(value)
        if type(value) in (list, tuple):
            inner = "".join(f"{self._written(one)}, " for one in value)
            return f"[{inner}]" if type(value) is list else f"({inner})"
        if any(isinstance(leaf, _Name) for leaf in pytree.tree_leaves(value)):
            leaves, tree = pytree.tree_flatten(value)
            return f"{self._constant(_unflattened(tree))}({self._written(leaves)})"
        return self._constant(value)


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


def _set_base(self: Any, base: Any) -> None:
    self.base = base


def _only(operator: Any) -> Callable[..., Any]:
    """An operator that returns a list of one, as that one."""
    return lambda *args, **kwargs: operator(*args, **kwargs)[0]


def _unflattened(tree: Any) -> Callable[[list[Any]], Any]:
    return lambda leaves: pytree.tree_unflatten(leaves, tree)


def _strided(base: torch.Tensor, size: Any, stride: Any, beyond: int) -> torch.Tensor:
    return torch.as_strided(base, size, stride, base.storage_offset() + beyond)


_empty_cuda: Callable[..., torch.Tensor] | None = getattr(
    torch._C._dynamo.guards, "_empty_strided_cuda", None
)
"""What PyTorch's own compiler allocates with: a third of the public function's cost."""


class _Told:
    """Calls a function at each launch of a kernel, in a context.

    Where this version of Triton has no such hooks it counts none, so nothing is planned.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        from triton import knobs

        self._function = function
        self._chain: Any = getattr(knobs.runtime, "launch_enter_hook", None)

    def __enter__(self) -> None:
        if hasattr(self._chain, "add"):
            self._chain.add(self._function)

    def __exit__(self, *_: object) -> None:
        if hasattr(self._chain, "remove"):
            self._chain.remove(self._function)
