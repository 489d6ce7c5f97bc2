"""Calls of ATen's overloads that samples of PyTorch's own tests (`op_db`) lead to."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import trees
from triton_gym.suites.execution import drawing

_DTYPES = (torch.float32, torch.int64, torch.bool, torch.complex64)
"""What samples are drawn in: the first that an operator takes."""
CALLED, FITTED, BACKWARD = "called", "fitted", "backward"
"""Ways from a sample to a call: running it, taking its arguments, computing its gradients."""
_NUMBERS = ("number", "Scalar", "int", "float", "bool", "Optional[number]")
"""What a schema calls a parameter that is a number."""
_SCANNED = 6
"""Samples of an operator that are run to see what it calls."""
_CPU = torch.device("cpu")


def resolved(overload: str) -> Any:
    """The operator of a name as `add.Tensor`.

    Raises:
        InvalidTaskError: this version of PyTorch has none, or its result is a view of an argument.
    """
    base, _, name = overload.partition(".")
    try:
        operator = getattr(getattr(torch.ops.aten, base), name)
    except AttributeError:
        raise InvalidTaskError(f"PyTorch {torch.__version__} has no aten.{overload}.") from None
    if any(result.alias_info is not None for result in operator._schema.returns):
        raise InvalidTaskError(
            f"aten.{overload} returns a view or an argument: nothing to compute."
        )
    return operator


def called(overload: str, given: Mapping[str, Any]) -> Any:
    """The operator's result for arguments by parameter."""
    operator = resolved(overload)
    args: list[Any] = []
    named: dict[str, Any] = {}
    for one in operator._schema.arguments:
        if one.name in given and (one.kwarg_only or len(args) < _place(operator, one.name)):
            named[one.name] = given[one.name]
        elif one.name in given:
            args.append(given[one.name])
    return operator(*args, **named)


def _place(operator: Any, name: str) -> int:
    return [one.name for one in operator._schema.arguments].index(name)


def default_of(overload: str, name: str) -> Any:
    """What a parameter is where it is not given."""
    arguments = resolved(overload)._schema.arguments
    return next((one.default_value for one in arguments if one.name == name), None)


def passed(overload: str, calls: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Parameters that some call gives another value than the default, in the schema's order."""
    found = []
    for one in resolved(overload)._schema.arguments:
        values = [call[one.name] for call in calls if one.name in call]
        if values and not all(_equal(value, one.default_value) for value in values):
            found.append(one.name)
    return tuple(found)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return False
    return type(one) is type(other) and bool(one == other)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an overload's calls come from."""

    way: str = CALLED
    names: tuple[str, ...] = ()
    """Of `op_db`'s entries."""


def calls_of(overload: str, source: Source, seed: int, most: int) -> list[dict[str, Any]]:
    """Arguments by parameter of the calls, on the CPU.

    Args:
        overload: e.g. `add.Tensor`.
        source: which samples lead to them, and how.
        seed: of what they draw.
        most: calls that are wanted.
    """
    operator = resolved(overload)
    found: list[dict[str, Any]] = []
    with drawing(seed, _CPU), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in (one for name in source.names for one in _entries()[name]):
            for sample in _samples(info, source.way):
                if source.way == FITTED:
                    found += _fitted(operator, sample)
                    continue
                with _Watching(operator) as watching:
                    if _runs(info, sample, source.way):
                        found += watching.calls
                if len(found) >= most:
                    return found[:most]
    return found[:most]


def source_of(overload: str) -> Source:
    """Which samples lead to an overload: those of the entry of its name that call it or fit its
    schema, since PyTorch takes some apart before any mode sees them (an alias, one that is composed
    of others, one for numbers); then those of others that call it, or whose gradients do.
    """
    base = overload.partition(".")[0]
    entries = _entries()
    named = tuple(name for name, infos in entries.items() if base in _names(name, infos))
    forward = base.removesuffix("_backward")
    near = named or tuple(n for n, infos in entries.items() if forward in _names(n, infos))
    if any(overload in _callees(name, CALLED) for name in near):
        return Source(CALLED, near)
    if named and calls_of(overload, fitted := Source(FITTED, named), 1, 1):
        return fitted
    if any(overload in _callees(name, BACKWARD) for name in near):
        return Source(BACKWARD, near)
    for way in (CALLED, BACKWARD):  # which runs half of PyTorch's samples
        if others := tuple(name for name in entries if overload in _callees(name, way)):
            return Source(way, others)
    return Source()


def _names(name: str, infos: Sequence[Any]) -> set[str]:
    """What an entry's operator is called, aliases included."""
    found = {name.replace(".", "_"), name.rpartition(".")[2]}
    for one in infos:
        found |= {one.aten_name, *(a.name.rpartition(".")[2] for a in one.aliases)}
    return found


@lru_cache(maxsize=1)
def _entries() -> dict[str, list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, list[Any]] = {}
    for info in op_db:
        found.setdefault(info.name, []).append(info)
    return found


@lru_cache(maxsize=4096)
def _callees(name: str, way: str) -> frozenset[str]:
    """Overloads that the first samples of an entry call."""
    with drawing(1, _CPU), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watching = _Watching(None)
        for info in _entries()[name]:
            for _, sample in zip(range(_SCANNED), _samples(info, way), strict=False):
                with watching:
                    _runs(info, sample, way)
    return frozenset(watching.seen)


def _samples(info: Any, way: str) -> Iterator[Any]:
    gradient = way == BACKWARD
    dtypes = _DTYPES[:1] if gradient else _DTYPES
    dtype = next((one for one in dtypes if one in info.supported_dtypes("cpu")), None)
    if dtype is None or (gradient and not info.supports_autograd):
        return
    try:  # the seed is ours
        yield from info.sample_inputs("cpu", dtype, requires_grad=gradient, set_seed=False)
    except Exception:  # it needs a package or a device that is not here
        return


def _runs(info: Any, sample: Any, way: str) -> bool:
    try:
        with torch.set_grad_enabled(way == BACKWARD):
            result = info.op(sample.input, *sample.args, **sample.kwargs)
            if way == BACKWARD:
                _differentiated(result)
    except Exception:  # e.g. without LAPACK
        return False
    return True


def _differentiated(result: Any) -> None:
    """Call what the gradient of a result is computed by."""
    outputs = [x for x in _tensors(result) if x.requires_grad]
    for x in outputs:
        x.backward(torch.randn_like(x), retain_graph=True)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [x for one in value for x in _tensors(one)] if isinstance(value, (tuple, list)) else []


def _fitted(operator: Any, sample: Any) -> list[dict[str, Any]]:
    """A sample's arguments as those of an overload, a tensor's first value where that takes a
    number; nothing if they do not fit."""
    schema = operator._schema.arguments
    names = [one.name for one in schema if not one.kwarg_only]
    given = (sample.input, *sample.args)
    if len(given) > len(names):
        return []
    call = {**dict(zip(names, given, strict=False)), **sample.kwargs}
    for one in schema:
        value = call.get(one.name)
        if isinstance(value, torch.Tensor) and str(one.type) in _NUMBERS:
            if not value.numel():
                return []
            call[one.name] = value.detach().flatten()[0].item()
    if (kept := _kept(call)) is None:
        return []
    try:
        return [kept] if _judgeable(called(_name(operator), call)) else []
    except Exception:  # whatever an operator says to what does not fit
        return []


def _name(operator: Any) -> str:
    return str(operator).removeprefix("aten.")


class _Watching(TorchDispatchMode):
    """Keeps the arguments of an operator's calls, or the names of all that are called.

    Args:
        operator: the one that is watched; None to note names.
    """

    def __init__(self, operator: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operator = operator
        self.seen: set[str] = set()
        self.calls: list[dict[str, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.seen.add(str(func).removeprefix("aten."))
        kept = self._given(args, kwargs) if func is self._operator else None
        result = func(*args, **kwargs)
        if kept is not None and _judgeable(result):
            self.calls.append(kept)
        return result

    def _given(self, args: Any, kwargs: Any) -> dict[str, Any] | None:
        names = [one.name for one in self._operator._schema.arguments]
        return _kept({**dict(zip(names, args, strict=False)), **kwargs})


def copied(value: Any) -> Any:
    """An argument with tensors of its own."""
    tensors, tree = trees.flatten(value)
    return trees.assemble(tree, iter([x.clone() for x in tensors]))


def _kept(call: dict[str, Any]) -> dict[str, Any] | None:
    """A call's arguments as they are now; None if no answer can be given them."""
    try:
        tensors, tree = trees.flatten(call)
    except trees.TreeError:  # a layout, a generator
        return None
    if any(not x.numel() for x in tensors):
        return None
    kept: dict[str, Any] = trees.assemble(tree, iter([x.clone() for x in tensors]))
    return kept


def _judgeable(result: Any) -> bool:
    try:
        return any(x.numel() for x in trees.flatten(result, numbers=True)[0])
    except trees.TreeError:
        return False
