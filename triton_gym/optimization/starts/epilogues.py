"""What follows matrix products moved into them, in a graph for PyTorch's compiler.

The compiler calls a library for a product and reads its result again for an activation, and again
for a residual or a gate. Here they become one operator that the compiler does not know: an
activation of the product, joined with another matrix by a sum or a product. `conversion` puts a
kernel of this library's in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

OPERATOR = "triton_gym_starts::activated_product"
_VIEWS = frozenset({"view", "_unsafe_view", "reshape", "expand"})
_JOINS = frozenset({"add", "mul"})


def operator() -> Any:
    """The operator `act(a @ b + bias) op other`, registered when it is first asked for."""
    space, _, name = OPERATOR.partition("::")
    if not hasattr(getattr(torch.ops, space), name):
        made = torch.library.custom_op(
            OPERATOR, _never, mutates_args=(),
            schema="(Tensor a, Tensor b, Tensor? bias, str act, Tensor? other, str op) -> Tensor",
        )  # fmt: skip
        made.register_fake(lambda a, b, bias, act, other, op: a.new_empty((a.shape[0], b.shape[1])))
    return getattr(getattr(torch.ops, space), name).default


def _never(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, act: str,
    other: torch.Tensor | None, op: str,
) -> torch.Tensor:  # fmt: skip
    raise NotImplementedError("graphs with this operator are compiled, not run")


@dataclass(frozen=True, slots=True)
class _Epilogue:
    """A product, and what follows it that can become part of it."""

    product: Node
    views: tuple[Node, ...]
    """Between the product and what follows."""
    act: str
    other: Node | None
    op: str
    nodes: tuple[Node, ...]
    """All that is replaced, in order; the last one's value is what the operator computes."""


def fused(graph: GraphModule) -> int:
    """Move what follows products into them. Changes the graph.

    Returns:
        How many products took something in.
    """
    count = 0
    gone: set[Node] = set()
    for node in list(graph.graph.nodes):
        found = None if node in gone else _epilogue(node)
        if found is not None:
            _replace(graph, found)
            gone |= set(found.nodes)
            count += 1
    graph.recompile()
    return count


def fuses(graph: GraphModule) -> bool:
    """Whether there is anything to be moved."""
    return any(_epilogue(node) is not None for node in graph.graph.nodes)


def _replace(graph: GraphModule, found: _Epilogue) -> None:
    given, last = _product(found.product), found.nodes[-1]
    with graph.graph.inserting_before(last):  # all that it needs is there by then
        other: Any = found.other
        if other is not None and found.views:
            other = graph.graph.call_function(torch.ops.aten.flatten.using_ints, (other, 0, -2))
        made = graph.graph.call_function(operator(), (*(given or ()), found.act, other, found.op))
        made.meta = dict(found.product.meta)
        result, before = made, found.product
        for view in found.views:
            result = graph.graph.node_copy(view, _instead(before, result))
            before = view
    last.replace_all_uses_with(result)
    for node in reversed(found.nodes):
        graph.graph.erase_node(node)


def _instead(before: Node, after: Node) -> Callable[[Node], Node]:
    return lambda node: after if node is before else node


def _epilogue(node: Node) -> _Epilogue | None:
    if _product(node) is None:
        return None
    views = tuple(_views(node))
    viewed = views[-1] if views else node
    act, end, between = _activated(viewed)
    other, op, join = _joined(end, node if views else None)
    if not act and join is None:
        return None
    nodes = (node, *views, *between, *([join] if join is not None else []))
    return _Epilogue(node, views, act, other, op, nodes)


def _name(node: Node) -> str:
    return getattr(node.target, "__name__", "").partition(".")[0]


def _value(node: Any) -> Any:
    """The tensor without values that a node stands for; None for anything else."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value if isinstance(value, torch.Tensor) else None


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


def _views(node: Node) -> Iterator[Node]:
    """The views that follow a node, each its predecessor's only user."""
    while (user := _only_user(node)) is not None and _name(user) in _VIEWS:
        yield user
        node = user


def _activated(node: Node) -> tuple[str, Node, tuple[Node, ...]]:
    """The kernel's name of the activation that follows a node, its last node, and all of them."""
    user = _only_user(node)
    act = _activation(user) if user is not None else ""
    if user is not None and act:
        return act, user, (user,)
    return _silu(node) or ("", node, ())


def _activation(node: Node) -> str:
    """The kernel's name of an activation of one tensor."""
    name, value = _name(node), _value(node)
    source = _value(node.args[0]) if node.args else None
    if source is None or value is None or value.dtype != source.dtype:
        return ""
    if not value.dtype.is_floating_point:
        return ""
    if name == "gelu":
        return "gelu_tanh" if node.kwargs.get("approximate", "none") == "tanh" else "gelu"
    return name if name in ("relu", "silu", "sigmoid") else ""


def _silu(node: Node) -> tuple[str, Node, tuple[Node, ...]] | None:
    """x · sigmoid(x), in float32 between two casts if x is of 16 bits: silu taken apart."""
    cast = _cast(_only_user(node), torch.float32)
    base = cast or node
    users = {_name(user): user for user in base.users}
    sigmoid, product = users.get("sigmoid"), users.get("mul")
    if len(base.users) != 2 or sigmoid is None or product is None:
        return None
    if set(product.args) != {base, sigmoid} or _only_user(sigmoid) is not product:
        return None
    nodes = (*([cast] if cast is not None else []), sigmoid, product)
    if cast is None:
        return "silu", product, nodes
    back = _cast(_only_user(product), _value(node).dtype)
    return None if back is None else ("silu", back, (*nodes, back))


def _cast(node: Node | None, dtype: torch.dtype) -> Node | None:
    """A node, if all that it does is to cast to a dtype."""
    value = _value(node)
    if node is None or value is None or _name(node) != "_to_copy" or value.dtype != dtype:
        return None
    return node if set(node.kwargs) == {"dtype"} else None


def _joined(node: Node, viewed: Node | None) -> tuple[Node | None, str, Node | None]:
    """What a node is added to or multiplied by, how, and the node that does it.

    Args:
        node: the end of a product, its views and its activation.
        viewed: the product, if there are views.
    """
    user, value = _only_user(node), _value(node)
    if user is None or _name(user) not in _JOINS or user.kwargs or len(user.args) != 2:
        return None, "", None
    other = user.args[0] if user.args[1] is node else user.args[1]
    beside, joined = _value(other), _value(user)
    if beside is None or joined is None or value is None or other is node:
        return None, "", None
    shapes = {str(tuple(one.shape)) for one in (beside, joined, value)}
    if len(shapes) > 1 or not beside.dtype == joined.dtype == value.dtype:
        return None, "", None
    if viewed is not None and (
        value.dim() < 2 or str(value.shape[-1]) != str(_value(viewed).shape[-1])
    ):
        return None, "", None  # rows are no rows of the product
    return other, _name(user), user  # type: ignore[return-value]
