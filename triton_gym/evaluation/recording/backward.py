"""Runs backward passes of host code without PyTorch's engine, which wants a device to wait for.

Nodes are those of PyTorch's own graph, and each computes its gradients itself; only the order is
made here. What they launch and compute is recorded like anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import get_gradient_edge

_LEAF: Any = vars(torch._C._functions)["AccumulateGrad"]
"""The node of a leaf, which adds to its gradient."""
Gradients = list[torch.Tensor | None]


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: Any = None, create_graph: bool = False,
    grad_variables: Any = None, inputs: Any = None,
) -> None:  # fmt: skip
    """What `torch.autograd.backward` does: gradients are added to those of the leaves."""
    del retain_graph, create_graph
    roots = _many(tensors)
    given = _many(grad_tensors if grad_tensors is not None else grad_variables)
    wanted = None if inputs is None else {id(one) for one in _many(inputs)}
    for node, gradients in _Pass(roots, given).run():
        if not isinstance(node, _LEAF):
            continue
        leaf, gradient = node.variable, gradients[0]
        if gradient is None or (wanted is not None and id(leaf) not in wanted):
            continue
        leaf.grad = gradient.detach() if leaf.grad is None else leaf.grad + gradient


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: Any = None,
    create_graph: bool = False, allow_unused: Any = None, is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[torch.Tensor | None, ...]:  # fmt: skip
    """What `torch.autograd.grad` does: gradients of the inputs.

    Raises:
        RuntimeError: one of them is not used, and may not be.
    """
    del retain_graph, create_graph, is_grads_batched
    wanted = _many(inputs)
    edges = [get_gradient_edge(one) for one in wanted]
    found: dict[Any, Gradients] = dict(_Pass(_many(outputs), _many(grad_outputs)).run())
    made: list[torch.Tensor | None] = []
    for one, edge in zip(wanted, edges, strict=True):
        gradient = found[edge.node][edge.output_nr] if edge.node in found else None
        if gradient is None and materialize_grads:
            gradient = torch.zeros_like(one)
        if gradient is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
        made.append(gradient)
    return tuple(made)


class _Pass:
    """One walk through a graph, from its results to its leaves."""

    def __init__(self, roots: Sequence[torch.Tensor], given: Sequence[Any]) -> None:
        self._buffers: dict[Any, Gradients] = {}
        self._waiting: Counter[Any] = Counter()
        starts = []
        for number, root in enumerate(roots):
            gradient = given[number] if number < len(given) else None
            if gradient is None:
                if root.numel() != 1:
                    raise RuntimeError("grad can be implicitly created only for scalar outputs")
                gradient = torch.ones_like(root)
            edge = get_gradient_edge(root)
            starts.append(edge.node)
            self._add(edge.node, edge.output_nr, gradient)
        seen: set[Any] = set()
        while starts:
            node = starts.pop()
            if node in seen:
                continue
            seen.add(node)
            for after, _ in node.next_functions:
                if after is not None:
                    self._waiting[after] += 1
                    starts.append(after)
        self._ready = [node for node in self._buffers if not self._waiting[node]]

    def run(self) -> Iterable[tuple[Any, Gradients]]:
        """Every node with the gradients of its results, once all of them are there."""
        with torch.no_grad():
            while self._ready:
                node = self._ready.pop()
                gradients = self._buffers.pop(node, [None])
                yield node, gradients
                made = _apply(node, gradients)
                for (after, number), gradient in zip(node.next_functions, made, strict=False):
                    if after is None:
                        continue
                    if gradient is not None:
                        self._add(after, number, gradient)
                    self._waiting[after] -= 1
                    if not self._waiting[after]:
                        self._ready.append(after)

    def _add(self, node: Any, number: int, gradient: torch.Tensor) -> None:
        held = self._buffers.setdefault(node, [])
        held.extend([None] * (number + 1 - len(held)))
        before = held[number]
        held[number] = gradient if before is None else before + gradient


def _apply(node: Any, gradients: Gradients) -> tuple[torch.Tensor | None, ...]:
    """The gradients of a node's arguments."""
    leaf = isinstance(node, _LEAF)
    if leaf or all(gradient is None for gradient in gradients):
        return (None,) * len(node.next_functions)
    if isinstance(node, BackwardCFunction):
        about = node._input_metadata  # type: ignore[attr-defined]
        given = [
            gradient if gradient is not None
            else torch.zeros(tuple(one.shape), dtype=one.dtype, device=one.device)
            for gradient, one in zip(
                gradients + [None] * (len(about) - len(gradients)), about, strict=True
            )
        ]  # fmt: skip
        made = node.apply(*given)
    else:
        made = node(*gradients)
    return made if isinstance(made, tuple) else (made,)


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, torch.Tensor) else list(value)
