"""Answers put together of this library's own kernels: attention, largest values, bags of rows.

PyTorch's compiler calls a library for these. A graph that is views around one such operator becomes
those views around a kernel of ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from triton_gym.errors import NotOptimizableError
from triton_gym.optimization.building import Inputs
from triton_gym.optimization.exporting import Flat, result_text
from triton_gym.optimization.graph_text import graph_text
from triton_gym.optimization.starts.names import kept_apart
from triton_gym.optimization.starts.pieces import piece
from triton_gym.optimization.starts.route import NoStartError

_VIEWS = frozenset(
    {"view", "reshape", "transpose", "permute", "unsqueeze", "squeeze", "chunk", "split", "slice",
     "select", "expand", "t", "contiguous", "unbind", "flatten", "unflatten", "getitem",
     "sym_size", "sym_numel", "mul", "floordiv", "add", "split_with_sizes", "expand_as",
     "view_as", "numpy_T", "mT", "movedim", "swapaxes"}
)  # fmt: skip


def template_answer(program: ExportedProgram, inputs: Inputs, flat: Flat, name: str) -> str:
    """An answer.

    Raises:
        NoStartError: the graph is no such.
    """
    pieces: set[str] = set()
    replaced: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op != "call_function" or _plain(node):
            continue
        piece_name, call = _kernel_call(node)
        pieces.add(piece_name)
        replaced[node.name] = call
    if not pieces:
        raise NoStartError("it holds neither attention, largest values nor bags of rows")
    ordered = dict(
        sorted(inputs.parameters.items(), key=lambda item: item[0] not in inputs.placeholders)
    )
    try:
        host = graph_text(
            program.graph.nodes, name, ordered, inputs.constants,
            result_text(flat.called.tree), replaced,
        )  # fmt: skip
    except NotOptimizableError as error:
        raise NoStartError(str(error)) from error
    imports = "import operator\n\nimport torch\nimport triton\nimport triton.language as tl\n"
    signature, _, body = host.partition("\n")
    parts, body = kept_apart(
        [piece(one) for one in sorted(pieces)], body, name, [*ordered.values()]
    )
    return "\n\n".join([imports, *(one + "\n" for one in parts), f"{signature}\n{body}"])


def _plain(node: Node) -> bool:
    """Whether a node is a view, or arithmetic of sizes."""
    name = getattr(node.target, "__name__", "").partition(".")[0]
    value = node.meta.get("val")
    if name in ("mul", "floordiv", "add"):
        return not isinstance(value, torch.Tensor)
    if name == "arange":  # where bags of one length begin
        return isinstance(value, torch.Tensor) and not value.dtype.is_floating_point
    return name in _VIEWS or name.startswith("_assert_tensor_metadata")


def _kernel_call(node: Node) -> tuple[str, str]:
    """A piece, and a template of a call: `{n}` for the n-th argument of the node."""
    name = getattr(node.target, "__name__", "").partition(".")[0]
    if name == "scaled_dot_product_attention":
        return "attention", _attention(node)
    if name == "topk":
        dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", -1)
        value: Any = node.args[0].meta["val"]  # type: ignore[union-attr]
        if dim not in (-1, value.dim() - 1):
            raise NoStartError("the largest values of an axis that is not the last")
        largest = node.args[3] if len(node.args) > 3 else node.kwargs.get("largest", True)
        return "largest", f"largest_values({{0}}, {{1}}, largest={largest})"
    if name == "embedding_bag":
        return "bags", _bags(node)
    raise NoStartError(f"no kernel of this library's stands for {node.target}")


def _bags(node: Node) -> str:
    """`joined_bags(table, indices, offsets, mode, scales, last, padding)`."""
    named = (
        "weight", "indices", "offsets", "scale_grad_by_freq", "mode", "sparse",
        "per_sample_weights", "include_last_offset", "padding_idx",
    )  # fmt: skip
    given = dict(zip(named, node.args, strict=False)) | node.kwargs
    if any(user.users and user.args[1:] != (0,) for user in node.users):
        raise NoStartError("more of embedding_bag than its result is used")
    scales = "None"
    if isinstance(given.get("per_sample_weights"), Node):
        scales = "{6}" if len(node.args) > 6 else "{per_sample_weights}"
    padding = given.get("padding_idx")
    table: Any = node.args[0].meta["val"]  # type: ignore[union-attr]
    if isinstance(padding, int) and padding < 0 and padding != -1:
        padding += int(table.shape[0])
    return (
        f"joined_bags({{0}}, {{1}}, {{2}}, {given.get('mode', 0)}, {scales}, "
        f"{bool(given.get('include_last_offset', False))}, {-1 if padding is None else padding})"
    )


def _attention(node: Node) -> str:
    """`attention(q, k, v, bias, causal, scale)`."""
    given = dict(
        zip(("q", "k", "v", "attn_mask", "dropout_p", "is_causal"), node.args, strict=False)
    )
    given |= node.kwargs
    query: Any = node.args[0].meta["val"]  # type: ignore[union-attr]
    if query.dim() != 4:
        raise NoStartError("attention of tensors that have not four axes")
    if given.get("dropout_p", 0.0) != 0.0:
        raise NoStartError("attention with dropout")
    bias = "{3}" if isinstance(given.get("attn_mask"), Node) and len(node.args) > 3 else (
        "{attn_mask}" if isinstance(given.get("attn_mask"), Node) else "None")  # fmt: skip
    return (
        f"attention({{0}}, {{1}}, {{2}}, {bias}, causal={bool(given.get('is_causal', False))}, "
        f"scale={given.get('scale')!r})"
    )
