"""What PyTorch functions take and return, taken apart: tensors in order, and the tree around them.

A tree is plain data: it holds shapes, dtypes and strides, but no tensor, and goes as JSON to where
answers run. There an argument is put together again (`assemble`), and a result is taken apart as
the reference's was (`match`).

A Python number in a *result* depends on the inputs like a tensor does, and is judged like one: it
is a leaf `Number`, and stands among the tensors as one of no dimensions. In arguments numbers are
constants, as is whatever else is neither tensor nor container.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triton_gym.evaluation.sizes import DEEPEST, LONGEST_KEY, MOST, WIDEST, span

_NUMBERS: Mapping[type, torch.dtype] = {
    bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128,
}  # fmt: skip


class TreeError(TypeError):
    """A value holds what no tree can, or is not the value that a tree describes."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor without its values."""

    shape: tuple[int, ...]
    dtype: str
    """Name of its torch dtype."""
    stride: tuple[int, ...]
    """In elements; 0 along an axis that is expanded."""

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Leaf:
        """The leaf that describes a tensor."""
        return cls(tuple(tensor.shape), name_of(tensor.dtype), tuple(tensor.stride()))

    @property
    def span(self) -> int:
        """Elements of memory from the tensor's first to its last, both included."""
        return span(self.shape, self.stride)


@dataclass(frozen=True, slots=True)
class Number:
    """A Python number of a result."""

    kind: str
    """`bool`, `int`, `float` or `complex`."""


@dataclass(frozen=True, slots=True)
class Constant:
    """None, a text, a dtype, or a number of an argument: equal or not."""

    value: Any


@dataclass(frozen=True, slots=True)
class Branch:
    """A container."""

    kind: str
    """`tuple`, `list` or `dict`; named tuples and other subclasses count as what they extend."""
    items: tuple[Tree, ...]
    keys: tuple[str | int, ...] = ()
    """Of a dict, in the order of `items`."""


Tree = Leaf | Number | Constant | Branch


def name_of(dtype: torch.dtype) -> str:
    """The name of a dtype, without `torch.`."""
    return str(dtype).removeprefix("torch.")


def memory(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of a tensor as one row, with what lies in its gaps: two tensors of equal shape and
    strides are equal copies if these are."""
    size = span(tensor.shape, tensor.stride())
    return tensor.as_strided((size,), (1,), tensor.storage_offset())


def flatten(value: Any, *, numbers: bool = False) -> tuple[tuple[torch.Tensor, ...], Tree]:
    """The tensors in a value, in order, and the tree around them.

    Args:
        value: of a trusted function; tensors, None, numbers, texts, dtypes and containers of them.
        numbers: whether numbers count among the tensors, as those of results do.

    Raises:
        TreeError: something else is in it.
    """
    tensors: list[torch.Tensor] = []

    def walk(value: Any, name: str, depth: int) -> Tree:
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized:
                raise TreeError(f"{name or 'it'} is a tensor that is sparse, nested or quantized")
            tensors.append(value.detach().resolve_conj().resolve_neg())
            return Leaf.of(value)
        if numbers and type(value) in _NUMBERS:
            tensors.append(number_tensor(value))
            return Number(type(value).__name__)
        if value is None or isinstance(value, (bool, int, float, complex, str, torch.dtype)):
            return Constant(value)
        kind = _kind(value)
        if not kind or depth >= DEEPEST or len(tensors) > MOST or len(value) > WIDEST:
            what = f"of type {type(value).__name__}" if not kind else "nested too deep or too large"
            raise TreeError(f"{name or 'it'} is {what}")
        keys, items = _parts(value, kind)
        if not all(map(is_key, keys)):
            raise TreeError(
                f"{name or 'it'} is a dict with keys that are neither texts of {LONGEST_KEY} "
                "characters at most nor integers of 64 bits"
            )
        parts = [
            walk(item, f"{name}[{key!r}]", depth + 1) for key, item in zip(keys, items, strict=True)
        ]
        return Branch(kind, tuple(parts), keys if kind == "dict" else ())

    tree = walk(value, "", 0)
    return tuple(tensors), tree


def is_key(value: Any) -> bool:
    """Whether a value may be the key of a dict."""
    if isinstance(value, str):
        return len(value) <= LONGEST_KEY
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def number_tensor(value: complex) -> torch.Tensor:
    """A Python number of a result as a tensor of no dimensions: bool, int64, float64, complex128.

    Raises:
        TreeError: an integer beyond 64 bits.
    """
    try:
        return torch.tensor(value, dtype=_NUMBERS[type(value)], device="cpu")
    except (RuntimeError, ValueError, OverflowError):
        raise TreeError("an integer of a result has more than 64 bits") from None


def assemble(tree: Tree, tensors: Iterator[torch.Tensor]) -> Any:
    """The value that a tree describes, with these tensors for its leaves, in order."""
    if isinstance(tree, Leaf):
        return next(tensors)
    if isinstance(tree, Number):
        return next(tensors).item()
    if isinstance(tree, Constant):
        return tree.value
    items = [assemble(item, tensors) for item in tree.items]
    if tree.kind == "dict":
        return dict(zip(tree.keys, items, strict=True))
    return tuple(items) if tree.kind == "tuple" else items


def match(value: Any, tree: Tree, device: torch.device | str = "cpu") -> list[torch.Tensor]:
    """The tensors in what an answer returned, in the order of the reference's.

    A list stands for a tuple and the other way round, and a dict's keys may come in any order.
    Shapes and dtypes are not looked at. Tensors of a subclass are refused: their methods could
    compute later than the clock runs. Numbers become tensors on `device`.

    Raises:
        TreeError: it is not what the tree describes; the message says where.
    """
    found: list[torch.Tensor] = []

    def walk(value: Any, tree: Tree, name: str) -> None:
        if isinstance(tree, Leaf) and type(value) is torch.Tensor:
            found.append(value)
        elif isinstance(tree, Number) and type(value).__name__ == tree.kind:
            found.append(number_tensor(value).to(device))
        elif isinstance(tree, Constant) and type(value) is type(tree.value) and (
            value == tree.value
        ):  # fmt: skip
            return
        elif isinstance(tree, Branch) and _same_kind(_kind(value), tree.kind):
            keys, items = _parts(value, tree.kind)
            wanted = tree.keys if tree.kind == "dict" else tuple(range(len(tree.items)))
            if set(keys) != set(wanted) or len(keys) != len(wanted):
                raise TreeError(f"{_subject(name)} has {_told(keys, tree.kind)}; expected "
                                f"{_told(wanted, tree.kind)}")  # fmt: skip
            by_key = dict(zip(keys, items, strict=True))
            for key, part in zip(wanted, tree.items, strict=True):
                walk(by_key[key], part, f"{name}[{key!r}]")
        else:
            raise TreeError(f"{_subject(name)} is {_described(value)}; expected {_wanted(tree)}")

    walk(value, tree, "")
    return found


def names(tree: Tree, name: str = "") -> list[str]:
    """Where each tensor of a result is found in it, as `[0]['loss']`; empty for a lone one."""
    if isinstance(tree, Branch):
        keys = tree.keys or range(len(tree.items))
        return [
            inner
            for key, item in zip(keys, tree.items, strict=True)
            for inner in names(item, f"{name}[{key!r}]")
        ]
    return [] if isinstance(tree, Constant) else [name]


def numbers(tree: Tree) -> set[int]:
    """Which tensors of a result are Python numbers, by their place in order."""
    return {index for index, leaf in enumerate(_ends(tree)) if isinstance(leaf, Number)}


def _ends(tree: Tree) -> list[Leaf | Number]:
    if isinstance(tree, Branch):
        return [end for item in tree.items for end in _ends(item)]
    return [] if isinstance(tree, Constant) else [tree]


def leaves(tree: Tree) -> list[Leaf]:
    """What describes each tensor of a value, in order; numbers as tensors of no dimensions."""
    kinds = {kind.__name__: name_of(dtype) for kind, dtype in _NUMBERS.items()}
    ends = _ends(tree)
    return [end if isinstance(end, Leaf) else Leaf((), kinds[end.kind], ()) for end in ends]


def message(tree: Tree) -> Any:
    """A tree as JSON."""
    if isinstance(tree, Leaf):
        return {"tensor": [list(tree.shape), tree.dtype, list(tree.stride)]}
    if isinstance(tree, Number):
        return {"number": tree.kind}
    if isinstance(tree, Branch):
        return {tree.kind: [[message(item) for item in tree.items], list(tree.keys)]}
    if isinstance(tree.value, torch.dtype):
        return {"dtype": name_of(tree.value)}
    if isinstance(tree.value, complex):
        return {"complex": [tree.value.real, tree.value.imag]}
    return tree.value


def read(given: Any) -> Tree:
    """The tree that `message` wrote."""
    if not isinstance(given, dict):
        return Constant(given)
    ((kind, content),) = given.items()
    if kind == "tensor":
        shape, dtype, stride = content
        return Leaf(tuple(shape), dtype, tuple(stride))
    if kind == "number":
        return Number(content)
    if kind == "dtype":
        return Constant(getattr(torch, content))
    if kind == "complex":
        return Constant(complex(*content))
    items, keys = content
    return Branch(kind, tuple(read(item) for item in items), tuple(keys))


def _kind(value: Any) -> str:
    """The container that a value is or extends; empty for what is none."""
    return next((k.__name__ for k in (tuple, list, dict) if isinstance(value, k)), "")


def _same_kind(one: str, other: str) -> bool:
    return one == other or {one, other} == {"tuple", "list"}


def _parts(value: Any, kind: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    if kind == "dict":
        return tuple(dict.keys(value)), tuple(dict.values(value))
    items = tuple(value)
    return tuple(range(len(items))), items


def _subject(name: str) -> str:
    return f"the value at {name}" if name else "the result"


def _told(keys: Sequence[Any], kind: str) -> str:
    return f"the keys {sorted(map(str, keys))}" if kind == "dict" else f"{len(keys)} values"


def _described(value: Any) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    if type(value) in (tuple, list, dict):
        return f"a {kind} of {len(value)}"
    return f"a {kind}" if not isinstance(value, torch.Tensor) or kind == "Tensor" else (
        f"a {kind}, which is a subclass of torch.Tensor"
    )  # fmt: skip


def _wanted(tree: Tree) -> str:
    if isinstance(tree, Leaf):
        return "a torch.Tensor"
    if isinstance(tree, Number):
        return f"a Python {tree.kind}"
    if isinstance(tree, Constant):
        return repr(tree.value)
    return f"a {tree.kind} of {len(tree.items)}"
