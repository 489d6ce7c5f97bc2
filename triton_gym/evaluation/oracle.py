"""The reference in float64, whatever casts and constants it holds.

A reference is written for its task's dtype: it casts to float32 to add up, makes constants in the
default dtype, or keeps a tensor that nobody told of float64. Run on float64 arguments alone, such a
reference is no oracle, as its error is that of float32. While the oracle runs, `Exact` sees every
operator and changes what would round: floating-point casts and factories of 2 and 4 bytes become
float64, and narrow tensors that meet a float64 one are widened first. Casts to 8 bits, integers and
booleans stay: they are what a function means, not how it computes.

What cannot be changed is noted: values stored in narrow memory that was made outside.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NARROW = {
    torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}  # fmt: skip
"""Dtypes that an oracle does not compute in, and what stands in their place."""
_WIDE = frozenset(NARROW.values())
_BUILT = frozenset({torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.full})
"""Functions that make values of Python numbers: rounded before an operator is seen."""
_FACTORIES = frozenset(
    {"empty", "zeros", "ones", "full", "arange", "linspace", "logspace", "eye", "empty_strided",
     "scalar_tensor", "bartlett_window", "blackman_window", "hamming_window", "hann_window",
     "kaiser_window", "empty_permuted"}
)  # fmt: skip
"""Operators whose result has the default dtype if none is given."""
_DRAWS = frozenset({"rand", "randn", "normal"})
"""Factories of random numbers, which would be others in float64: they are widened afterwards."""
_STEPS = frozenset(
    {"argmax", "argmin", "argsort", "sort", "topk", "kthvalue", "mode", "median", "nanmedian",
     "eq", "ne", "lt", "le", "gt", "ge", "round", "floor", "ceil", "trunc", "fix", "sign", "sgn",
     "signbit", "heaviside", "bucketize", "searchsorted", "floor_divide", "remainder", "fmod",
     "histc", "unique_dim", "_unique2", "nonzero", "max", "min", "cummax", "cummin", "isin",
     "aminmax", "logical_not", "multinomial", "bernoulli", "frac"}
)  # fmt: skip
"""Operators whose result may jump when a floating-point argument moves by its rounding."""


class Exact(TorchDispatchMode):
    """Runs a reference in float64; see the head of this module.

    Use `with exact.running():`, which also takes care of constants.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rounded: set[str] = set()
        """Operators that stored float64 values in memory of another precision."""
        self.operators = 0
        """How many ran."""
        self.steps = False
        """Whether an operator ran that makes jumps: an integer or boolean of floating values."""

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
        named = dict(kwargs or {})
        name, writes = _known(func)
        tensors = _tensors((*args, *named.values()) if named else args)
        self.operators += 1
        if not self.steps:
            self._note_steps(name, tensors, named)
        if not tensors and name in _FACTORIES and _default(func, args, named):
            named["dtype"] = torch.float64
        if named.get("dtype") in NARROW and name not in _DRAWS:
            named["dtype"] = NARROW[named["dtype"]]
        args = _wider_positional(args)
        written = _written(writes, args, named)
        if any(x.dtype in NARROW for x in tensors) and any(x.dtype in _WIDE for x in tensors):
            self._note_rounding(name, written)
            args, named = _widened(args, named, written)
        result = func(*args, **named)
        return self._kept(func, args, named, result, tensors, written)

    def _note_steps(self, name: str, tensors: list[torch.Tensor], named: Mapping[str, Any]) -> None:
        if any(x.is_floating_point() for x in tensors):
            target = named.get("dtype")
            whole = isinstance(target, torch.dtype) and (
                not target.is_floating_point or target.itemsize == 1
            )
            self.steps = self.steps or name in _STEPS or (name == "_to_copy" and whole)

    def _note_rounding(self, name: str, written: list[torch.Tensor]) -> None:
        if any(x.dtype in NARROW for x in written):
            self.rounded.add(name)

    def _kept(
        self, func: Any, args: Any, named: Any, result: Any, tensors: list[torch.Tensor],
        written: list[torch.Tensor],
    ) -> Any:  # fmt: skip
        """The result; again and wider, if it is of whole numbers that became narrow ones."""
        if not isinstance(result, torch.Tensor) or result.dtype not in NARROW or written:
            return result
        if _known(func)[0] in (*_DRAWS, "lift_fresh"):
            return result.to(NARROW[result.dtype])
        if not tensors or any(x.is_floating_point() or x.is_complex() for x in tensors):
            return result
        whole = tree_map(lambda x: x.double() if isinstance(x, torch.Tensor) else x, args)
        try:
            return func(*whole, **named)
        except (RuntimeError, TypeError):  # an operator of integers alone, as a lookup
            return result

    def running(self) -> _Running:
        """A context in which references run."""
        return _Running(self)


class _Running:
    """Both modes of an oracle."""

    def __init__(self, exact: Exact) -> None:
        self._modes: tuple[Any, ...] = (_Constants(), exact)

    def __enter__(self) -> None:
        for mode in self._modes:
            mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Constants(TorchFunctionMode):
    """Has constants made of Python numbers in float64, unrounded."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        named = kwargs or {}
        if func in _BUILT and not any(isinstance(x, torch.Tensor) for x in args):
            named = dict(named)
            given = named.get("dtype")
            if given in NARROW:
                named["dtype"] = NARROW[given]
            elif given is None and _fractional(args[0 if func is not torch.full else 1 :]):
                named["dtype"] = torch.float64
        return func(*args, **named)


def _fractional(value: Any) -> bool:
    """Whether there are floats among numbers, and nothing else than numbers."""
    leaves = tree_leaves(value)
    plain = all(isinstance(leaf, (bool, int, float)) for leaf in leaves)
    return plain and any(isinstance(leaf, float) for leaf in leaves)


def _default(func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Whether a factory's result would have the default dtype: none given, and no whole number."""
    if named.get("dtype") is not None:
        return False
    values = [*args, *(named.get(key) for key in ("fill_value", "s", "value"))]
    if func._overloadpacket in (torch.ops.aten.arange, torch.ops.aten.full):
        return any(isinstance(value, float) for value in values)
    return True


def _wider_positional(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Dtypes that are given by position."""
    if not any(isinstance(value, torch.dtype) for value in args):
        return args
    return tuple(NARROW.get(v, v) if isinstance(v, torch.dtype) else v for v in args)


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    """The tensors among an operator's arguments, and in lists of them."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [x for x in value if isinstance(x, torch.Tensor)]
    return found


@functools.cache
def _known(func: Any) -> tuple[str, tuple[tuple[int, str], ...]]:
    """An operator's name, and place and name of the arguments that it writes."""
    writes = tuple(
        (index, argument.name)
        for index, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return func._schema.name.partition("::")[2], writes


def _written(
    writes: tuple[tuple[int, str], ...], args: tuple[Any, ...], named: Mapping[str, Any]
) -> list[torch.Tensor]:
    """The arguments that an operator writes."""
    return _tensors(args[index] if index < len(args) else named.get(name) for index, name in writes)


def _widened(
    args: tuple[Any, ...], named: Mapping[str, Any], written: list[torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with narrow tensors widened, but for those that are written."""
    kept = {id(x) for x in written}

    def wide(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype in NARROW and id(value) not in kept:
            return value.to(NARROW[value.dtype])
        return value

    return tuple(tree_map(wide, list(args))), dict(tree_map(wide, dict(named)))
