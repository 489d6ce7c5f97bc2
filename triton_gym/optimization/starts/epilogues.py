"""Activations moved into the matrix products before them, in a graph for PyTorch's compiler.

The compiler calls a library for a product and reads its result again for the activation. Here the
two become one operator that the compiler does not know. `conversion` puts a kernel of this
library's in its place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

OPERATOR = "triton_gym_starts::activated_product"
_VIEWS = frozenset({"view", "_unsafe_view", "reshape", "expand"})


def operator() -> Any:
    """The operator `act(a @ b + bias)`, registered when it is first asked for."""
    space, _, name = OPERATOR.partition("::")
    if not hasattr(getattr(torch.ops, space), name):
        made = torch.library.custom_op(
            OPERATOR, _never, mutates_args=(),
            schema="(Tensor a, Tensor b, Tensor? bias, str act) -> Tensor",
        )  # fmt: skip
        made.register_fake(lambda a, b, bias, act: a.new_empty((a.shape[0], b.shape[1])))
    return getattr(getattr(torch.ops, space), name).default


def _never(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, act: str) -> torch.Tensor:
    raise NotImplementedError("graphs with this operator are compiled, not run")


def fused(graph: GraphModule) -> int:
    """Move activations into products. Changes the graph.

    Returns:
        How many.
    """
    count = 0
    for node in list(graph.graph.nodes):
        given = _product(node)
        if given is None:
            continue
        last = _after_views(node)
        user = _only_user(last)
        act = _activation(user) if user is not None else None
        if user is None or act is None:
            continue
        with graph.graph.inserting_before(node):
            made = graph.graph.call_function(operator(), (*given, act))
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        user.replace_all_uses_with(made if last is node else last)
        graph.graph.erase_node(user)
        graph.graph.erase_node(node)
        count += 1
    graph.recompile()
    return count


def fuses(graph: GraphModule) -> bool:
    """Whether there is an activation to be moved."""
    for node in graph.graph.nodes:
        user = _only_user(_after_views(node)) if _product(node) is not None else None
        if user is not None and _activation(user) is not None:
            return True
    return False


def _name(node: Node) -> str:
    return getattr(node.target, "__name__", "").partition(".")[0]


def _product(node: Node) -> tuple[Any, Any, Any] | None:
    """Factors and bias of a product that the operator can stand for."""
    if node.op != "call_function" or _name(node) not in ("mm", "addmm"):
        return None
    if _name(node) == "mm":
        return node.args[0], node.args[1], None
    scales = [node.kwargs.get("alpha", 1), node.kwargs.get("beta", 1)]
    if scales != [1, 1]:
        return None
    bias, a, b = node.args[:3]
    return a, b, bias


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _after_views(node: Node) -> Node:
    """The last of the views that follow a node, each its predecessor's only user."""
    while (user := _only_user(node)) is not None and _name(user) in _VIEWS:
        node = user
    return node


def _activation(node: Node) -> str | None:
    """The kernel's name of an activation of one tensor."""
    name, value = _name(node), node.meta.get("val")
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or not isinstance(value, torch.Tensor):
        return None
    if value.dtype != source.meta["val"].dtype or not value.dtype.is_floating_point:
        return None
    if name == "gelu":
        return "gelu_tanh" if node.kwargs.get("approximate", "none") == "tanh" else "gelu"
    return name if name in ("relu", "silu", "sigmoid") else None
