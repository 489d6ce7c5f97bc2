"""Where a case's arguments lie in the window, and what a recorder is told of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from triton_gym.evaluation import trees
from triton_gym.evaluation.plan import value as plan
from triton_gym.evaluation.plan.step import Buffer, BufferKind
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ARGUMENTS, Zone, room


@dataclass(frozen=True, slots=True)
class CaseLayout:
    """The arguments of a case without their values."""

    arguments: plan.Value
    """A tuple, as a recorder takes it."""
    views: tuple[View, ...]
    """Of the tensors in the arguments, in order."""
    buffers: tuple[Buffer, ...]
    nbytes: int
    """From the zone's start to the end of the last tensor."""


def lay_out_arguments(tree: trees.Tree, zone: Zone = ARGUMENTS) -> CaseLayout:
    """Place the tensors of a case's arguments one after the other.

    Args:
        tree: of the arguments, a tuple; see `trees.flatten`.
        zone: where they go.
    """
    views = place(trees.leaves(tree), zone.start)
    buffers = tuple(
        Buffer(index, view.address, max(1, view.extent[1] - view.address), BufferKind.ARGUMENT)
        for index, view in enumerate(views)
    )
    end = max((buffer.end for buffer in buffers), default=zone.start)
    return CaseLayout(_value(tree, iter(views)), views, buffers, end - zone.start)


def place(leaves: Sequence[trees.Leaf], start: int) -> tuple[View, ...]:
    """Tensors one after the other with a gap between, aligned as PyTorch's allocator does.

    Args:
        leaves: what describes them.
        start: address of the first.
    """
    views = []
    for leaf in leaves:
        view = View(leaf.dtype, start, leaf.shape, leaf.stride)
        views.append(view)
        start += room(max(1, leaf.span * view.itemsize))
    return tuple(views)


def _value(tree: trees.Tree, views: Iterator[View]) -> plan.Value:
    if isinstance(tree, trees.Leaf):
        return plan.DeviceTensor(next(views))
    if isinstance(tree, trees.Constant):
        if isinstance(tree.value, torch.dtype):
            return plan.Plain(plan.PlainKind.DTYPE, trees.name_of(tree.value))
        return plan.Plain.of(tree.value)
    if not isinstance(tree, trees.Branch):
        raise TypeError("a number of a result is no argument")
    items = tuple(_value(item, views) for item in tree.items)
    if tree.kind == "dict":
        return plan.Table(tuple(map(plan.Plain.of, tree.keys)), items)
    kind = plan.SequenceKind.LIST if tree.kind == "list" else plan.SequenceKind.TUPLE
    return plan.Sequence(kind, items)
