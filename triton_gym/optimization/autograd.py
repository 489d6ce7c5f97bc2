"""Kernels in a graph that PyTorch differentiates: forward by the kernel, backward by the original.

The backward pass computes the original again, under autograd, from what was saved; with
`create_graph` it is a function that is differentiated in the same way, so second derivatives are
the original's too. A function of the user's own may take its place. There is no forward-mode
derivative: PyTorch raises where one is asked for, instead of taking it for zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree


class _Recomputed(torch.autograd.Function):
    """`apply(forward, original, backward, box, held, *tensors)`; `box` takes the containers."""

    @staticmethod
    def forward(
        ctx: Any, forward: Callable[..., Any], original: Callable[..., Any],
        backward: Callable[..., Any] | None, box: list[Any], held: int, *tensors: torch.Tensor,
    ) -> tuple[Any, ...]:  # fmt: skip
        leaves, tree = pytree.tree_flatten(forward(*tensors))
        box.append(tree)
        ctx.original, ctx.own, ctx.held = original, backward, held
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        whole = [x for x in leaves if isinstance(x, torch.Tensor) and not _real(x)]
        ctx.mark_non_differentiable(*whole)
        return tuple(leaves)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        tensors, again = ctx.saved_tensors, torch.is_grad_enabled()
        if ctx.own is not None and not again:
            own = ctx.own(*grads, *tensors)
            found = [own] if isinstance(own, torch.Tensor) else list(own)
            return (*_NONE, *found, *[None] * (len(tensors) - len(found)))
        needed = ctx.needs_input_grad[len(_NONE) :]
        compute = _Gradients(
            ctx.original, tuple(one is not None for one in grads), needed, ctx.held
        )
        given = (*(one for one in grads if one is not None), *tensors)
        if again:  # the gradients are differentiated like any function
            return (*_NONE, *differentiable(compute, compute, None, given, held=ctx.held))
        return (*_NONE, *compute(*given))


_NONE = (None,) * 5
"""Gradients of what `_Recomputed.apply` takes before the tensors."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Gradients:
    """The original's gradients, as a function of those that came in and of its tensors.

    Each argument gets its own share alone, also where one is another one, or was computed from it
    or from a captured tensor: PyTorch adds up along the graph that led to them.
    """

    original: Callable[..., Any]
    came: tuple[bool, ...]
    """Which results a gradient came in for."""
    needed: Sequence[bool]
    """Which tensors want one."""
    held: int

    def __call__(self, *given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        again = torch.is_grad_enabled()
        incoming = iter(given)
        grads = [next(incoming) if one else None for one in self.came]
        tensors = tuple(incoming)
        taken = len(tensors) - self.held
        with torch.enable_grad():
            apart = (_apart(one, again) for one in tensors[:taken])
            # The original finds what it captured by itself, so those stay the very same.
            inputs = (*apart, *tensors[taken:])
            leaves = pytree.tree_leaves(self.original(*inputs))
            pairs = [
                (leaf, grad)
                for leaf, grad in zip(leaves, grads, strict=True)
                if grad is not None and isinstance(leaf, torch.Tensor) and leaf.requires_grad
            ]
            wanted = [i for i, one in enumerate(self.needed) if one and inputs[i].requires_grad]
            found: list[torch.Tensor | None] = [None] * len(tensors)
            if pairs and wanted:
                outputs, incoming_grads = zip(*pairs, strict=True)
                got = torch.autograd.grad(
                    outputs, [inputs[i] for i in wanted], incoming_grads,
                    create_graph=again, allow_unused=True,
                )  # fmt: skip
                for i, grad in zip(wanted, got, strict=True):
                    found[i] = grad
        return tuple(found)


def _apart(tensor: torch.Tensor, again: bool) -> torch.Tensor:
    """A tensor for the same memory, with no history, or if `again` one that goes on from it."""
    if again:
        return tensor.view_as(tensor)
    return tensor.detach().requires_grad_(tensor.requires_grad)


def differentiable(
    forward: Callable[..., Any], original: Callable[..., Any],
    backward: Callable[..., Any] | None, tensors: tuple[torch.Tensor, ...], held: int = 0,
) -> Any:  # fmt: skip
    """The result of a kernel, with a backward pass.

    Args:
        forward: computes the result from `tensors`.
        original: the same by the original, from the same tensors.
        backward: `backward(*grads, *tensors)`, the gradients of the tensors in their order, None
            for one that has none; gradients of results are None where nothing depends on them.
            None for the original's. Second derivatives are always the original's.
        tensors: all that the result depends on.
        held: how many of the last ones `original` captured, and so does not read from what it is
            given. They must be leaves of the graph.
    """
    box: list[Any] = []
    leaves = _Recomputed.apply(forward, original, backward, box, held, *tensors)  # type: ignore[no-untyped-call]
    return pytree.tree_unflatten(leaves, box[0])


def _real(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
