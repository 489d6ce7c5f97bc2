"""Tensors and types of one shape share what follows from it: most of a small program's time.

A type makes its name when it is asked for it. Shapes that were seen live for ever, so that their
identity stands for their numbers.
"""

from __future__ import annotations

import functools
from typing import Any


def share_shapes(it: Any) -> None:
    """Make the types and tensors of the interpreter share."""
    tl = it.tl
    make_type, make_tensor = tl.block_type.__init__, tl.tensor.__init__
    known: dict[Any, tuple[Any, int]] = {}
    """Shape and size of types, by the numbers of the shape and by its identity."""
    tensors: dict[int, tuple[Any, Any]] = {}
    """Shape and size of tensors, by the identity of their type's shape; 0 for scalars."""

    def block_type(self: Any, element_ty: Any, shape: Any) -> None:
        found = known.get(id(shape))
        if found is None:
            numbers = _numbers(it, shape)
            found = known.get(numbers)
            if found is None:
                make_type(self, element_ty, shape)
                if numbers:
                    known[numbers] = known[id(self.shape)] = self.shape, self.numel
                return
        self.element_ty = element_ty
        self.shape, self.numel = found

    def tensor(self: Any, handle: Any, type: Any) -> None:
        key = id(type.shape) if type.is_block() else 0
        if key not in tensors:
            make_tensor(self, handle, type)
            if not key or key in known:  # and so lives for ever
                tensors[key] = self.shape, self.numel
            return
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.shape, self.numel = tensors[key]

    name = functools.cached_property(lambda self: f"<{self.shape}, {self.element_ty}>")
    name.__set_name__(tl.block_type, "name")
    tl.block_type.name = name
    tl.block_type.__init__ = block_type
    tl.tensor.__init__ = tensor
    _share_broadcasts(it, known)


def _share_broadcasts(it: Any, known: dict[Any, tuple[Any, int]]) -> None:
    """Blocks of two shapes that were broadcast once are broadcast in the same way again."""
    tl, semantic = it.tl, type(it.interpreter_semantic)
    plain = getattr(semantic, "broadcast_impl_value", None)
    if plain is None:
        return
    ways: dict[tuple[int, int], tuple[Any, Any]] = {}
    """What becomes of each of two shapes, None if it stays; by the shapes' identities."""

    def one(self: Any, value: Any, shape: Any) -> Any:
        handle = self.builder.create_broadcast(value.handle, list(shape))
        return self.tensor(handle, tl.block_type(value.type.scalar, shape))

    def broadcast(self: Any, lhs: Any, rhs: Any) -> Any:
        if not (lhs.type.is_block() and rhs.type.is_block()):
            return plain(self, lhs, rhs)
        left, right = lhs.type.shape, rhs.type.shape
        if left is right:
            return lhs, rhs
        key = id(left), id(right)
        if key in ways:
            wide, high = ways[key]
            return (
                lhs if wide is None else one(self, lhs, wide),
                rhs if high is None else one(self, rhs, high),
            )
        result = plain(self, lhs, rhs)
        shapes = [x.type.shape for x in result]
        if len(left) == len(right) and all(id(x) in known for x in (left, right, *shapes)):
            ways[key] = (
                None if result[0] is lhs else shapes[0],
                None if result[1] is rhs else shapes[1],
            )
        return result

    semantic.broadcast_impl_value = broadcast


def _numbers(it: Any, shape: Any) -> tuple[int, ...]:
    """A shape as plain numbers; empty if it is none, or holds something else."""
    if not isinstance(shape, (list, it.tl.tuple)):
        return ()
    numbers = [s.value if isinstance(s, it.tl.constexpr) else s for s in shape]
    return tuple(numbers) if all(type(n) is int for n in numbers) else ()
