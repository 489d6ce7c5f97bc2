"""What in a traced graph keeps a kernel from standing in for its function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._pytree import tree_leaves

from triton_gym.errors import NotOptimizableError
from triton_gym.evaluation import trees
from triton_gym.optimization.inspection import Text

_READS = frozenset({"_local_scalar_dense", "item", "_to_cpu", "is_nonzero", "equal"})
_MUTATIONS = frozenset({OutputKind.USER_INPUT_MUTATION, OutputKind.BUFFER_MUTATION,
                        getattr(OutputKind, "PARAMETER_MUTATION", None)})  # fmt: skip


def hold_graph(program: ExportedProgram, text: Text, lines: Mapping[str, int]) -> None:
    """Refuse a graph of core operators that is random, reads values, or writes to its arguments.

    Args:
        program: in core operators.
        text: of the function.
        lines: of its file, by function of PyTorch that is called there.

    Raises:
        NotOptimizableError: it does; the message names the operator and the line.
    """
    for node in program.graph.nodes:
        problem = _problem(node)
        if problem:
            raise NotOptimizableError(f"{text.name} {problem} ({_where(node, text, lines)}).")
    for spec in program.graph_signature.output_specs:
        if spec.kind in _MUTATIONS:
            raise NotOptimizableError(
                f"{text.name} ({text.path}:{text.line}) writes to {spec.target}, which it was "
                "given or holds: make a copy of it first."
            )


def _where(node: Node, text: Text, lines: Mapping[str, int]) -> str:
    """Where a node comes from: the line if it is known, or the function's first."""
    name = str((node.meta.get("torch_fn") or ("", ""))[1]).rpartition(".")[2]
    return f"{text.path}:{lines.get(name, text.line)}"


def _problem(node: Node) -> str:
    """What is wrong with a node, as a verb and its object; empty for nothing."""
    if node.op != "call_function":
        return ""
    target: Any = node.target
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"uses {target._name}, whose branches are graphs of their own"
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.partition("::")[2]
        if name in _READS:
            return f"reads a value on the host ({name})"
        if torch.Tag.nondeterministic_seeded in target.tags:
            return f"draws random numbers ({name})"
    for leaf in tree_leaves(node.meta.get("val")):
        if isinstance(leaf, (torch.Tensor, torch.SymInt, torch.SymFloat)) and (
            free_unbacked_symbols(leaf)
        ):
            return f"makes a tensor whose size depends on values ({target})"
    return ""


def hold_results(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    captured: Sequence[torch.Tensor], text: Text,
) -> Any:  # fmt: skip
    """Call a function and refuse it if its arguments or its results share memory.

    Returns what the function returned.

    Raises:
        NotOptimizableError: it changed an argument or a captured tensor, or a result is one, a view
            of one, or shares memory with another result.
    """
    given = [*trees.flatten([*args, *kwargs.values()])[0], *captured]
    before = [tensor.detach().clone() for tensor in given]
    with torch.no_grad():
        result = function(*args, **kwargs)
    where = f"{text.name} ({text.path}:{text.line})"
    for tensor, copy in zip(given, before, strict=True):
        if not torch.equal(_bits(tensor), _bits(copy)):
            raise NotOptimizableError(f"{where} changes a tensor that it was given or holds.")
    memory = {_storage(tensor) for tensor in given if tensor.numel()}
    own: set[int] = set()
    for tensor in trees.flatten(result, numbers=True)[0]:
        if not tensor.numel():
            continue
        if _storage(tensor) in memory:
            raise NotOptimizableError(
                f"{where} returns one of its arguments or a view of one: what a caller then "
                "writes to it would no longer reach the argument. Return a copy."
            )
        if _storage(tensor) in own:
            raise NotOptimizableError(
                f"{where} returns two tensors that share memory. Return a copy of one."
            )
        own.add(_storage(tensor))
    return result


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The same as bytes, so that NaN equals NaN."""
    plain = tensor.detach().contiguous()
    return plain.view(torch.uint8) if plain.dim() else plain.reshape(1).view(torch.uint8)
