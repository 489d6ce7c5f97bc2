"""A graph as PyTorch: the text that a task shows is the function that its reference runs."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triton_gym import syntax
from triton_gym.composition.graph import Graph, Kind, Layout, Step, number
from triton_gym.composition.operators import BINARY, SCALAR, UNARY


@dataclass(frozen=True, slots=True)
class Reference:
    """The PyTorch function of a graph. Pickles as the graph."""

    graph: Graph
    name: str
    """Name of the function, in its text too."""

    @property
    def text(self) -> str:
        """The function as PyTorch source; `F` is `torch.nn.functional`."""
        return torch_text(self.graph, self.name)

    def __call__(self, *arguments: Any) -> Any:
        """The result of the graph, in the arguments' dtype."""
        return _function(self.text, self.name)(*arguments)


def torch_text(graph: Graph, name: str) -> str:
    """A graph as a PyTorch function."""
    lines = [f"def {name}({', '.join(graph.parameters)}):"]
    t = "x"
    if graph.kind is Kind.MATMUL:
        lines.append("    t = x @ w")
        t = "t"
    for step, reduced in graph.positions():
        lines.append(f"    t = {_torch_expression(graph, step, t, reduced)}")
        t = "t"
    last = lines.pop() if len(lines) > 1 else "    t = x"
    return "\n".join([*lines, last.replace("    t = ", "    return ", 1)]) + "\n"


def _torch_expression(graph: Graph, step: Step, t: str, reduced: bool) -> str:
    if step.row:
        return step.row.torch.format(t=t)
    if step.operator in UNARY:
        return UNARY[step.operator].torch.format(t=t)
    if step.operator in SCALAR:
        return SCALAR[step.operator].torch.format(t=t, u=number(step.value))
    operand = step.operand
    if step.inner:
        operand = bracketed(UNARY[step.inner].torch.format(t=operand))
    if graph.layout(step.operand) is Layout.COLUMN and not reduced:
        operand += "[:, None]"
    return BINARY[step.operator].torch.format(t=t, u=operand)


def bracketed(expression: str) -> str:
    """An expression that stays one when it becomes an operand."""
    node = syntax.parse_expression(expression).body
    plain = isinstance(node, ast.Call | ast.Name | ast.Constant | ast.Subscript)
    return expression if plain else f"({expression})"


def english(graph: Graph) -> str:
    """What a graph computes, in words, as a list of what happens to a value `t`."""
    first = "x @ w" if graph.kind is Kind.MATMUL else "x"
    return "; ".join([f"start from t = {first}", *map(_english_part, graph.steps)])


def _english_part(step: Step) -> str:
    if step.row:
        return step.row.english
    if step.operator in UNARY:
        return UNARY[step.operator].english
    if step.operator in SCALAR:
        return SCALAR[step.operator].english.format(u=number(step.value))
    operand = f"{step.inner}({step.operand})" if step.inner else step.operand
    return BINARY[step.operator].english.format(u=operand)


@functools.lru_cache(maxsize=256)
def _function(text: str, name: str) -> Callable[..., Any]:
    """The function that a text written above defines."""
    import torch

    scope: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    exec(compile(text, f"<reference {name}>", "exec"), scope)
    return scope[name]  # type: ignore[no-any-return]
