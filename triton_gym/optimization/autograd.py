"""Kernels in a graph that PyTorch differentiates: forward by the kernel, backward by the original.

The backward pass computes the original again, under autograd, from what was saved; with
`create_graph` that recomputation is part of the graph, so second derivatives are the original's
too. A function of the user's own may take its place. There is no forward-mode derivative: PyTorch
raises where one is asked for, instead of taking it for zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree


class _Recomputed(torch.autograd.Function):
    """`apply(forward, original, backward, box, *tensors)`; `box` takes the result's containers."""

    @staticmethod
    def forward(
        ctx: Any, forward: Callable[..., Any], original: Callable[..., Any],
        backward: Callable[..., Any] | None, box: list[Any], *tensors: torch.Tensor,
    ) -> tuple[Any, ...]:  # fmt: skip
        leaves, tree = pytree.tree_flatten(forward(*tensors))
        box.append(tree)
        ctx.original, ctx.own = original, backward
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        whole = [x for x in leaves if isinstance(x, torch.Tensor) and not _real(x)]
        ctx.mark_non_differentiable(*whole)
        return tuple(leaves)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        tensors, again = ctx.saved_tensors, torch.is_grad_enabled()
        needed = [i for i, wanted in enumerate(ctx.needs_input_grad[4:]) if wanted]
        found: list[Any] = [None] * len(tensors)
        if ctx.own is not None and not again:
            own = ctx.own(*grads, *tensors)
            for i, grad in enumerate((own,) if isinstance(own, torch.Tensor) else own):
                found[i] = grad
            return (None, None, None, None, *found)
        with torch.enable_grad():
            leaves = pytree.tree_leaves(ctx.original(*tensors))
        pairs = [
            (leaf, grad)
            for leaf, grad in zip(leaves, grads, strict=True)
            if grad is not None and isinstance(leaf, torch.Tensor) and leaf.requires_grad
        ]
        if pairs and needed:
            outputs, given = zip(*pairs, strict=True)
            got = torch.autograd.grad(
                outputs, [tensors[i] for i in needed], given, create_graph=again, allow_unused=True
            )
            for i, grad in zip(needed, got, strict=True):
                found[i] = grad
        return (None, None, None, None, *found)


def differentiable(
    forward: Callable[..., Any], original: Callable[..., Any],
    backward: Callable[..., Any] | None, tensors: tuple[torch.Tensor, ...],
) -> Any:  # fmt: skip
    """The result of a kernel, with a backward pass.

    Args:
        forward: computes the result from `tensors`.
        original: the same by the original, from the same tensors.
        backward: `backward(*grads, *tensors)`, the gradients of the tensors in their order, None
            for one that has none; gradients of results are None where nothing depends on them.
            None for the original's. Second derivatives are always the original's.
        tensors: all that the result depends on.
    """
    box: list[Any] = []
    leaves = _Recomputed.apply(forward, original, backward, box, *tensors)  # type: ignore[no-untyped-call]
    return pytree.tree_unflatten(leaves, box[0])


def _real(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
