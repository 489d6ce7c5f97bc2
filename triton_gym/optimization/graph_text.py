"""A traced graph as Python text, which any process runs without what made it.

The text calls PyTorch's operators one after another. It holds for every size inside the guard, on
any device: a factory makes its tensor where the first argument is. It is what answers are timed
against, so operators stay as the user wrote them, and are not taken apart.
"""

from __future__ import annotations

import builtins
import keyword
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.fx import Node

from triton_gym.errors import NotOptimizableError

_DROPPED = frozenset({"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range",
                      "sym_constrain_range_for_size", "_assert_async"})  # fmt: skip
"""Operators that only check: of dtypes, which are others in the oracle."""
_MODULES = {"_operator": "operator", "operator": "operator", "math": "math", "torch": "torch"}


@dataclass(frozen=True, slots=True)
class GraphFunction:
    """A function of tensors, as the text that defines it."""

    source: str
    name: str

    def __call__(self, *tensors: Any) -> Any:
        """The result, in the containers that the user's function returned."""
        return _compiled(self.source, self.name)(*tensors)


@lru_cache(maxsize=256)
def _compiled(source: str, name: str) -> Any:
    scope: dict[str, Any] = {
        "torch": torch, "operator": operator, "math": math, "inf": math.inf, "nan": math.nan,
    }  # fmt: skip
    exec(compile(source, f"<graph of {name}>", "exec"), scope)
    return scope[name]


def graph_text(
    nodes: Iterable[Node], name: str, parameters: Mapping[str, str],
    constants: Mapping[str, torch.Tensor], result: str, replaced: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """A graph as the text of a function.

    Args:
        nodes: of the graph, in order.
        name: of the function.
        parameters: of the function: by placeholder, those that are constants left out.
        constants: the values of the other placeholders.
        result: an expression for what is returned, with `{n}` for the n-th output of the graph.
        replaced: other calls for some nodes, with `{n}` for the n-th argument.

    Raises:
        NotOptimizableError: the graph calls what no text can name.
    """
    writer = _Writer(dict(parameters))
    lines = [f"def {name}({', '.join(parameters.values())}):"]
    if parameters:
        lines.append(f"    device = {next(iter(parameters.values()))}.device")
    for placeholder, value in constants.items():
        writer.names[placeholder] = writer.fresh(placeholder)
        lines.append(f"    {writer.names[placeholder]} = {_constant(value)}")
    outputs: list[str] = []
    for node in nodes:
        if node.op == "output":
            outputs = [writer.value(value) for value in node.args[0]]  # type: ignore[union-attr]
        elif node.op != "placeholder" and not _is_check(node):
            lines.append(f"    {writer.line(node, (replaced or {}).get(node.name))}")
    lines.append(f"    return {result.format(*outputs)}")
    return "\n".join([*lines, ""])


def _is_check(node: Node) -> bool:
    return getattr(node.target, "__name__", "").partition(".")[0] in _DROPPED


def _constant(value: torch.Tensor) -> str:
    dtype = str(value.dtype)
    return f"torch.tensor({value.detach().cpu().tolist()!r}, dtype={dtype}, device=device)"


class _Writer:
    """Names of nodes, and their arguments as text."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self._taken = {"device", "torch", "operator", "math", "inf", "nan", *names.values()}

    def fresh(self, wanted: str) -> str:
        """A name like the one wanted that nothing has yet."""
        name = wanted if not keyword.iskeyword(wanted) else f"{wanted}_"
        while name in self._taken or hasattr(builtins, name):
            name += "_"
        self._taken.add(name)
        return name

    def line(self, node: Node, other: str | None = None) -> str:
        """A call as an assignment; another call in its place if one is given."""
        if node.op != "call_function":
            raise NotOptimizableError(f"Its graph holds a {node.op} of {node.target}.")
        arguments = [self.value(value) for value in node.args]
        arguments += [f"{key}={self.value(value)}" for key, value in node.kwargs.items()]
        if other is not None:
            named = {key: self.value(value) for key, value in node.kwargs.items()}
            called = other.format(*arguments, **named)
        else:
            called = f"{_target(node)}({', '.join(arguments)})"
        self.names[node.name] = self.fresh(node.name)
        return f"{self.names[node.name]} = {called}"

    def value(self, value: Any) -> str:
        """An argument."""
        if isinstance(value, Node):
            return self.names[value.name]
        if isinstance(value, (list, tuple)):
            inner = ", ".join(self.value(item) for item in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if value else "()"
        if isinstance(value, torch.device):
            return "device"
        if isinstance(value, slice):
            return f"slice({self.value(value.start)}, {self.value(value.stop)}, " \
                   f"{self.value(value.step)})"  # fmt: skip
        if value is None or isinstance(
            value,
            (bool, int, float, complex, str, torch.dtype, torch.memory_format, torch.layout),
        ):
            return repr(value)
        raise NotOptimizableError(f"Its graph holds {value!r}, a {type(value).__name__}.")


def _target(node: Node) -> str:
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        if target.namespace not in ("aten", "prims"):
            raise NotOptimizableError(
                f"It calls the operator {target}, which PyTorch does not have by itself."
            )
        return f"torch.ops.{target}"
    module = _MODULES.get(getattr(target, "__module__", "") or "")
    name = getattr(target, "__name__", "")
    if module is None and getattr(torch, name, None) is target:
        module = "torch"
    if module is None or not name:
        raise NotOptimizableError(f"Its graph calls {target}, which stands for no operator.")
    return f"{module}.{name}"
