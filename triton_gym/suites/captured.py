"""A function with tests that call it: the arguments of the calls are the cases.

Tests of published functions draw tensors on a GPU or write them out, and print or keep what comes.
They are run with the function watched; each call is a case, its number the size `call`. What a test
draws is drawn again for every evaluation. What it writes out would be the same each time, and its
result could be learned by heart, so numbers in such tensors are drawn anew from their range, and
integers change places, where the reference bears it.
"""

from __future__ import annotations

import ast
import inspect
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any, Self

import torch

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import trees
from triton_gym.suites.execution import drawing, executed
from triton_gym.suites.module_arguments import (
    described,
    described_object,
    is_described,
    is_object,
    is_own,
    restored,
    restored_object,
)
from triton_gym.suites.module_file import converted
from triton_gym.suites.parameters import bound, called, defaults
from triton_gym.task import Case, Kind

HALVINGS = "halvings"
"""The size of a case that says how often the numbers of its tests are halved."""
KEPT = 16
"""Numbers up to this stay when others are halved: they are heads, blocks and axes."""


class Redraw:
    """What becomes of tensors that a test writes out."""

    VALUES = "values"
    """Numbers are drawn from their range, integers change places."""
    SIZE = "size"
    """Numbers are multiplied by one factor, for matrices that have to keep a property."""
    NOTHING = "nothing"
    """They stay; every evaluation sees the same."""
    SINGLE = "single"
    """As `VALUES`, and single numbers are moved by up to a half of their size or of 1: they are
    rates and exponents most often, and where there is nothing else, what the result is made of."""


@dataclass(frozen=True, slots=True)
class CapturedFile:
    """A file that defines a function, and its tests."""

    source: str
    """Defines the function."""
    tests: str
    """Call it."""
    path: str
    name: str
    """Of the function."""
    parameters: tuple[str, ...] = ()
    """Those that are passed, in order; empty until they are known."""
    redraw: str = Redraw.VALUES

    kind = Kind.FUNCTION

    def scope(self) -> dict[str, Any]:
        """The names of the file after it ran."""
        return executed(self.source, self.path)

    def function(self) -> Callable[..., Any]:
        """The function itself."""
        found = self.scope().get(self.name)
        if not callable(found):
            raise InvalidTaskError(f"{self.path} defines no function {self.name}.")
        return found  # type: ignore[no-any-return]

    @property
    def given(self) -> tuple[str, ...]:
        """Names of what an answer is given, in order."""
        return self.parameters

    def watched_run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What runs where the tests call the function."""
        return function

    def environment(self, seed: int, device: torch.device) -> AbstractContextManager[None]:
        """What the tests run in."""
        return drawing(seed, device)

    def calls(
        self, seed: int, device: torch.device, most: int = sys.maxsize
    ) -> list[dict[str, Any]]:
        """Arguments by parameter of every call of the tests, up to the first that fails.

        Args:
            seed: of what they draw.
            device: where they draw it.
            most: calls that are wanted; the tests end at the last of them.
        """
        return self._recorded(seed, device, most).calls

    def _recorded(self, seed: int, device: torch.device, most: int) -> _Recorder:
        """The tests' calls, and the modules among their arguments."""
        function = self.function()
        recorder = _Recorder(function, self.watched_run(function), most)
        scope = self.scope()
        scope[self.name] = self.stand_in(recorder)
        code = compile(_without(self.tests, self.name), self.path, "exec")
        with (
            self.environment(seed, device), _importable(self.name, scope), torch.no_grad(),
            redirect_stdout(io.StringIO()),
        ):  # fmt: skip
            try:
                exec(code, scope)
                if not recorder.calls:
                    _run_tests(scope)
            except _EnoughError:
                pass
            except Exception:
                if not recorder.calls and recorder.refused is None:
                    raise
        if not recorder.calls and recorder.refused is not None:
            raise InvalidTaskError(
                f"{self.path} calls {self.name} with what no answer can be given: "
                f"{recorder.refused}."
            )
        return recorder

    def stand_in(self, recorder: _Recorder) -> Any:
        """What the tests find in the function's place."""
        return recorder

    def init(self, case: Case) -> tuple[Any, ...]:
        """A function has none."""
        return ()

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """The arguments of a call, drawn anew."""
        if halvings := case.sizes.get(HALVINGS, 0):
            sizes = {name: size for name, size in case.sizes.items() if name != HALVINGS}
            return self.halved(halvings).inputs(replace(case, sizes=sizes), generator)
        seed, device = generator.initial_seed(), generator.device
        index = case["call"] - 1
        given = self.calls(seed, device, index + 1)[index]
        values = [given.get(name) for name in self.parameters]
        if self.redraw != Redraw.NOTHING and device.type != "meta":
            written = self._written(index)
            values = [
                _redrawn(value, self.redraw, seed + place) if place in written else value
                for place, value in enumerate(values)
            ]
        return tuple(converted(value, case.dtype, device) for value in values)

    def halved(self, times: int) -> Self:
        """The same with the numbers in its tests halved so often, those that are small kept."""
        return replace(self, tests=_halved(self.tests, times))

    def shapes(self) -> list[dict[str, Any]]:
        """The calls without values, which are drawn if the tests read any."""
        try:
            return self.calls(1, torch.device("meta"))
        except Exception:  # whatever comes of that
            return self.calls(1, torch.device("cpu"))

    def _written(self, index: int) -> frozenset[int]:
        """Places of a call's arguments that do not depend on the seed."""
        return _written_places(self, index)

    def reference(self, *arguments: Any) -> Any:
        """The function, each argument where its signature wants it."""
        if not any(map(is_described, arguments)):
            return called(self.function(), self.parameters, self.taken(arguments))
        with torch.enable_grad():  # a step is what takes a module
            return called(self.function(), self.parameters, self.taken(arguments))

    def taken(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """Arguments as the function takes them: modules and objects for what was given of them."""
        if not any(is_described(v) or is_object(v) for v in arguments):
            return tuple(arguments)
        known = _known(self)
        return tuple(
            restored(v, known.modules) if is_described(v)
            else restored_object(v, known.classes) if is_object(v) else v
            for v in arguments
        )  # fmt: skip


@lru_cache(maxsize=64)
def _known(form: CapturedFile) -> _Recorder:
    """What the tests pass: modules by their text, classes by their names."""
    return form._recorded(1, torch.device("cpu"), sys.maxsize)


@lru_cache(maxsize=256)
def _halved(tests: str, times: int) -> str:
    tree = ast.parse(tests)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value > KEPT:
            node.value = max(KEPT, node.value >> times)
    return ast.unparse(tree)


def elements(call: Mapping[str, Any]) -> int:
    """Elements of the tensors of a call."""
    return sum(x.numel() for value in call.values() for x in trees.flatten(value)[0])


@lru_cache(maxsize=4096)
def _written_places(form: CapturedFile, index: int) -> frozenset[int]:
    one, other = (form.calls(s, torch.device("cpu"), index + 1)[index] for s in (1, 2))
    found = set()
    for place, name in enumerate(form.parameters):
        first, second = (trees.flatten(call.get(name))[0] for call in (one, other))
        if first and all(map(_alike, first, second)):
            found.add(place)
    return frozenset(found)


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal, what is no number to itself as well."""
    return one.shape == other.shape and bool(
        ((one == other) | (one != one) & (other != other)).all()
    )


def _redrawn(value: Any, how: str, seed: int) -> Any:
    """The same with other numbers in its tensors."""
    tensors, tree = trees.flatten(value)
    return trees.assemble(tree, iter([_other(t, how, seed + i) for i, t in enumerate(tensors)]))


def _other(tensor: torch.Tensor, how: str, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed % (1 << 62))
    if tensor.numel() < 2:
        if how != Redraw.SINGLE or not (tensor.numel() and tensor.is_floating_point()):
            return tensor
        return tensor + (float(torch.rand((), generator=generator)) - 0.5) * tensor.abs().clamp(1)
    if how == Redraw.SIZE and (tensor.is_floating_point() or tensor.is_complex()):
        return tensor * (0.5 + float(torch.rand((), generator=generator)))
    if not tensor.is_floating_point():
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        return tensor.flatten()[order].reshape(tensor.shape)
    wide = tensor.double()
    finite = wide.isfinite()
    if not finite.all():  # infinities and what is no number change places
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        wide, finite = (x.flatten()[order].reshape(tensor.shape) for x in (wide, finite))
    if not finite.any():
        return wide.to(tensor.dtype)
    low, high = wide[finite].min(), wide[finite].max()
    if low == high:
        low, high = low - 1, high + 1
    drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
    return torch.where(finite, low + (high - low) * drawn, wide).to(tensor.dtype)


def _run_tests(scope: dict[str, Any]) -> None:
    """Call the test functions of a file that only defines them."""
    for name, found in list(scope.items()):
        if name.startswith("test") and inspect.isfunction(found):
            if not inspect.signature(found).parameters:
                found()


class _EnoughError(BaseException):
    """The last call that is wanted; tests catch exceptions, but not this."""


class _Recorder:
    """Stands for a function and keeps what it is called with."""

    def __init__(self, function: Callable[..., Any], run: Callable[..., Any], most: int) -> None:
        self._function = function
        self._run = run
        self._most = most
        self.calls: list[dict[str, Any]] = []
        self.refused: trees.TreeError | None = None
        """Why the first call that is left out is: it passes what no answer can be given."""
        self.modules: dict[str, torch.nn.Module] = {}
        self.classes: dict[str, type] = {}
        self.defaults = defaults(function)
        self.__name__ = getattr(function, "__name__", "function")
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = bound(self._function, args, kwargs)
        self.modules |= {repr(v): v for v in given.values() if isinstance(v, torch.nn.Module)}
        self.classes |= {type(v).__name__: type(v) for v in given.values() if is_own(v)}
        kept = _kept(given)
        try:
            trees.flatten([kept[n] for n, v in given.items() if v is not _default(self, n)])
        except trees.TreeError as error:
            self.refused = self.refused or error
        else:
            self.calls.append(kept)
        if len(self.calls) >= self._most:
            raise _EnoughError
        return self._run(*args, **kwargs)

    apply = __call__  # of a `torch.autograd.Function`

    def forward(self, ctx: Any, *args: Any, **kwargs: Any) -> Any:
        """Of one, too, without what keeps tensors for its backward pass."""
        return self(*args, **kwargs)


def _default(recorder: _Recorder, name: str) -> Any:
    """What a parameter is where it is not given."""
    return recorder.defaults.get(name, inspect.Parameter.empty)


def _kept(call: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments as they are now: the function may write to them."""
    return {name: _cloned(value) for name, value in call.items()}


def _cloned(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, torch.nn.Module):
        return described(value)
    if isinstance(value, torch.device):
        return str(value)  # which names it as well
    if is_own(value):
        value = described_object(value)
    if type(value) in (list, tuple):
        return type(value)(_cloned(item) for item in value)
    if type(value) is dict:
        return {key: _cloned(item) for key, item in value.items()}
    return value


def _without(tests: str, name: str) -> ast.Module:
    """Tests without a definition of the function that they would call instead."""
    tree = ast.parse(tests)
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == name)
    ]
    return tree


@contextmanager
def _importable(name: str, scope: dict[str, Any]) -> Iterator[None]:
    """While it lasts, `from <name> import <name>` finds the watched function."""
    module = ModuleType(name)
    module.__dict__.update(scope)
    before = sys.modules.get(name)
    if before is None:
        sys.modules[name] = module
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
