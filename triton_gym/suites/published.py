"""A published file of Triton kernels: its host function with the calls of its tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import trees
from triton_gym.suites.captured import CapturedFile, elements
from triton_gym.suites.draws import Given, Noted
from triton_gym.suites.eager_triton import emulated, ends_only, hosted, idle
from triton_gym.suites.execution import drawing, executed
from triton_gym.suites.parameters import called
from triton_gym.suites.trying import TRIED_ELEMENTS
from triton_gym.task import Case

_CPU = torch.device("cpu")
_TRIED = 2
"""Calls that are watched for what they write to."""
_PRETENDED = (None, torch.float16, torch.float32, torch.bfloat16)
"""What float64 tensors are said to be, in turn, until a host function takes them."""


class NoResultError(InvalidTaskError):
    """A function hands out nothing of what its kernels compute."""


@dataclass(frozen=True, slots=True)
class PublishedFile(CapturedFile):
    """A file whose kernels are Triton's; see `eager_triton` for how they run without a GPU."""

    writes: tuple[str, ...] = ()
    """Parameters that the function writes to, which an answer must not."""
    returned: tuple[str, ...] = ()
    """Those of them that an answer returns after the result, which does not hold them."""
    returns_nothing: bool = False
    """Whether they are all that there is."""
    draws: int = 0
    """Tensors that the function draws at random, which are inputs here."""

    @property
    def drawn(self) -> tuple[str, ...]:
        """Names of what it would draw."""
        return tuple(f"drawn{i}" for i in range(self.draws))

    @property
    def given(self) -> tuple[str, ...]:
        """Its parameters, then what it would draw."""
        return (*self.parameters, *self.drawn)

    def scope(self) -> dict[str, Any]:
        """The names of the file, its kernels emulated."""
        with hosted():
            return emulated(self.source, self.path)

    def function(self) -> Callable[..., Any]:
        """The function, emulated."""
        return _function(self.scope(), self)

    def watched_run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function without its kernels: later calls hardly ever use earlier results."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with idle():
                return function(*args, **kwargs)

        return run

    def stand_in(self, recorder: Any) -> Any:
        """What the tests find in its place: of a module what makes one, of a kernel what is
        launched."""
        made = getattr(self.function(), "stand_in", None)
        return recorder if made is None else made(recorder)

    @contextmanager
    def environment(self, seed: int, device: torch.device) -> Iterator[None]:
        """Tensors of the tests pass for a GPU's."""
        with drawing(seed, device), hosted(device):
            yield

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """The arguments of a call, drawn on the CPU, where kernels are emulated."""
        if generator.device.type == "cuda":
            seeded = torch.Generator().manual_seed(generator.initial_seed())
            return tuple(_moved(value, generator.device) for value in self.inputs(case, seeded))
        values = CapturedFile.inputs(self, case, generator)
        return (*values, *self._drawn(values, generator)) if self.draws else values

    def _drawn(self, values: tuple[Any, ...], generator: torch.Generator) -> list[torch.Tensor]:
        """What the function draws when it is called with its arguments."""
        noted, taken = Noted(), self.taken([_copied(v) for v in values])
        where = self.environment(generator.initial_seed() ^ 1, generator.device)
        with where, torch.no_grad(), idle(), noted:
            called(self.function(), self.parameters, taken)
        return noted.drawn

    @property
    def reference(self) -> _Reference:
        """The function, which also knows how to be exact."""
        return _Reference(self)

    def watched(self, calls: Sequence[Mapping[str, Any]]) -> PublishedFile:
        """The same, knowing what of its arguments the calls change.

        Raises:
            Exception: no call runs; what the smallest one raises.
        """
        seen: list[_Seen] = []
        first: Exception | None = None
        for call in sorted(calls, key=elements):
            try:
                seen.append(self._seen(call))
            except Exception as error:  # published tests hold calls that are wrong
                first = first or error
            if len(seen) == _TRIED:
                break
        if not seen and first is not None:
            raise first
        if seen and all(s.nothing and not s.written for s in seen):
            raise NoResultError(
                f"{self.name} of {self.path} returns nothing and writes to none of its arguments: "
                "what its kernel computes it keeps to itself."
            )
        writes = tuple(name for name in self.parameters if any(name in s.written for s in seen))
        rest = tuple(name for name in writes if not any(name in s.held for s in seen))
        nothing = bool(seen) and seen[-1].nothing
        draws = seen[-1].draws if seen else 0
        return replace(self, writes=writes, returned=rest, returns_nothing=nothing, draws=draws)

    def _seen(self, call: Mapping[str, Any]) -> _Seen:
        """What a call does to its arguments."""
        before = [call.get(name) for name in self.parameters]
        after = [_copied(value) for value in before]
        large = elements(call) > TRIED_ELEMENTS
        noted, taken = Noted(), self.taken(after)
        with hosted(), torch.no_grad(), ends_only() if large else nullcontext(), noted:
            result = called(self.function(), self.parameters, taken)
        places = {x.data_ptr() for x in trees.flatten(result)[0]}
        given = list(zip(self.parameters, before, after, strict=True))
        return _Seen(
            frozenset(name for name, one, other in given if not _same(one, other)),
            frozenset(
                name for name, _, other in given
                if places & {x.data_ptr() for x in trees.flatten(other)[0]}
            ),
            result is None,
            len(noted.drawn),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a call did."""

    written: frozenset[str]
    """Parameters that it changed."""
    held: frozenset[str]
    """Parameters in whose memory its result lies."""
    nothing: bool
    """Whether it returned None."""
    draws: int
    """Tensors that it drew at random."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """The published function: it returns its result, and what it writes to arguments."""

    form: PublishedFile

    def __call__(self, *arguments: Any) -> Any:
        """On a GPU as Triton compiles it, elsewhere emulated."""
        tensors, _ = trees.flatten(list(arguments))
        if any(x.is_cuda for x in tensors):
            function = _function(_compiled(self.form.source, self.form.path), self.form)
            return self._result(function, arguments)
        device = tensors[0].device if tensors and tensors[0].device.type == "meta" else _CPU
        return self._emulated(arguments, device, None)

    def exact(self, *arguments: Any) -> Any:
        """Emulated on the CPU, for arguments in float64."""
        tensors, _ = trees.flatten(list(arguments))
        device = tensors[0].device if tensors else _CPU
        given = [_moved(value, _CPU) for value in arguments] if device.type == "cuda" else arguments
        if not any(x.is_floating_point() for x in tensors):
            with _disable_current_modes():  # it may take numbers apart into bits
                return _moved(self._emulated(given, _CPU, None), device)
        first: Exception | None = None
        for pretended in _PRETENDED:
            try:
                return _moved(self._emulated(given, _CPU, pretended), device)
            except Exception as error:  # it holds that tensors are of a narrow dtype
                first = first or error
        raise first or InvalidTaskError(f"{self.form.path} does not run in float64.")

    def _emulated(
        self, arguments: Sequence[Any], device: torch.device, pretended: torch.dtype | None
    ) -> Any:
        function = self.form.function()
        with hosted(device, pretended):
            return self._result(function, arguments)

    def _result(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        names, writes = self.form.parameters, self.form.writes
        given = [
            _copied(value) if name in writes else value
            for name, value in zip(names, arguments, strict=False)
        ]
        drawn, taken = arguments[len(names) :], self.form.taken(given)
        with Given(drawn) if drawn else nullcontext():
            result = called(function, names, taken)
        rest = [given[names.index(name)] for name in self.form.returned]
        if self.form.returns_nothing:
            return rest[0] if len(rest) == 1 else tuple(rest)
        return (result, *rest) if rest else result


def _function(scope: Mapping[str, Any], form: PublishedFile) -> Callable[..., Any]:
    found = scope.get(form.name)
    if isinstance(found, type) and issubclass(found, torch.autograd.Function):
        return _applied(found)
    owner = getattr(found, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
        return _applied(owner)
    if isinstance(found, type) and issubclass(found, torch.nn.Module):
        return _built(found)
    if hasattr(found, "arg_names"):
        return _launched(found)
    if not callable(found) or isinstance(found, type):
        raise InvalidTaskError(f"{form.path} defines no function {form.name}.")
    return found  # type: ignore[no-any-return]


def _built(cls: Any) -> Callable[..., Any]:
    """A module as a function of what it is made of and of what it is called with."""
    made = list(inspect.signature(cls).parameters.values())
    taken = [
        one.replace(name=f"{one.name}_") if one.name in {m.name for m in made} else one
        for one in list(inspect.signature(cls.forward).parameters.values())[1:]
    ]
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    both = [one.replace(kind=kind, default=empty) for one in (*made, *taken)]

    def built(*args: Any) -> Any:
        return cls(*args[: len(made)])(*args[len(made) :])

    def stand_in(recorder: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Callable[..., Any]:
            first = _bound(cls, args, kwargs)
            return lambda *args, **kwargs: recorder(*first, *_bound(forward, args, kwargs))

        return make

    def forward(*args: Any) -> None:
        """Has the signature of the module's."""

    forward.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    built.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    built.stand_in = stand_in  # type: ignore[attr-defined]
    return built


def _bound(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, ...]:
    """Arguments by position, defaults included."""
    given = inspect.signature(function).bind(*args, **kwargs)
    given.apply_defaults()
    return tuple(given.arguments.values())


def _launched(kernel: Any) -> Callable[..., Any]:
    """A kernel as a function of its arguments and its grid."""
    names = list(kernel.arg_names)

    def launched(*args: Any) -> None:
        kernel[tuple(args[-1])](**dict(zip(names, args, strict=False)))

    class StandIn:
        """Records launches."""

        def __init__(self, recorder: Callable[..., Any]) -> None:
            self._recorder = recorder

        def __getitem__(self, grid: Any) -> Callable[..., Any]:
            def launch(*args: Any, **kwargs: Any) -> Any:
                given = dict(zip(names, args, strict=False))
                given |= {n: v for n, v in kwargs.items() if n in names}
                sizes = grid(given) if callable(grid) else grid
                sizes = sizes if isinstance(sizes, (tuple, list)) else (sizes,)
                return self._recorder(*(given[n] for n in names), tuple(int(n) for n in sizes))

            return launch

    one = inspect.Parameter.POSITIONAL_OR_KEYWORD
    launched.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, one) for name in (*names, "grid")]
    )
    launched.stand_in = StandIn  # type: ignore[attr-defined]
    return launched


def _applied(cls: Any) -> Callable[..., Any]:
    """A function of autograd's, with the signature of its forward."""

    def applied(*args: Any) -> Any:
        return cls.apply(*args)

    forward = list(inspect.signature(cls.forward).parameters.values())[1:]
    applied.__signature__ = inspect.Signature(forward)  # type: ignore[attr-defined]
    return applied


@lru_cache(maxsize=256)
def _compiled(source: str, path: str) -> dict[str, Any]:
    """The names of the file with Triton's own kernels, which keep what they compiled."""
    scope = executed(source, path)
    scope.setdefault("torch", torch)
    return scope


def _copied(value: Any) -> Any:
    tensors, tree = trees.flatten(value)
    return trees.assemble(tree, iter([x.detach().clone() for x in tensors]))


def _moved(value: Any, device: torch.device) -> Any:
    tensors, tree = trees.flatten(value, numbers=False)
    return trees.assemble(tree, iter([x.to(device) for x in tensors]))


def _same(one: Any, other: Any) -> bool:
    pairs = zip(trees.flatten(one)[0], trees.flatten(other)[0], strict=True)
    return all(bool(((a == b) | (a.isnan() & b.isnan())).all()) for a, b in pairs)
