"""From Inductor's wrapper to an answer: one module with its kernels, grids and a host function.

Kernels keep their bodies. Their configuration is the first that Inductor's heuristic makes, with a
name for each block size and each option of a launch, so that a search can change one by itself.
Inductor's helper functions are copied in; products by a library and the largest values of a row
become kernels of this library's own (`pieces`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from triton_gym.optimization.starts.epilogues import OPERATOR
from triton_gym.optimization.starts.names import kept_apart
from triton_gym.optimization.starts.pieces import piece
from triton_gym.optimization.starts.route import NoStartError
from triton_gym.optimization.starts.wrapper import (
    LOOP_STAGES,
    Kernel,
    Wrapper,
    blocks_of,
    constant_name,
    grid_of,
    helpers_for,
    multiplies,
    read_wrapper,
)

_SKIPPED = re.compile(
    r"(args\.clear|assert_size_stride|assert_alignment|torch\.cuda\.|\w*stream\w* = |"
    r"\w+ = copy_if_misaligned|AlignedTensor|nvtx)"
)
"""Statements of a wrapper that an answer has no use for."""
_PRODUCTS = {"mm": "product", "bmm": "product", "addmm": "product", "baddbmm": "product"}


def converted(
    code: str, entry: str, arguments: list[str], device: str, result: str, parameters: list[str],
    blocks: Mapping[str, int],
) -> str:  # fmt: skip
    """An answer.

    Args:
        code: Inductor's wrapper.
        entry: name of the host function.
        arguments: an expression for each input of the wrapper, in order.
        device: an expression for the device.
        result: a template of what is returned, `{n}` for the wrapper's n-th output.
        parameters: of the host function.
        blocks: block sizes to begin with, for kernels that have all of these.

    Raises:
        NoStartError: the wrapper calls what no kernel stands for.
    """
    wrapper = read_wrapper(code)
    for kernel in wrapper.kernels.values():
        if set(blocks) <= set(kernel.constants):
            kernel.constants.update(blocks)
    host = _Host(wrapper, arguments, device, result)
    body = host.lines()
    if not wrapper.kernels and not host.pieces:
        raise NoStartError("Inductor found nothing but movement")
    parts = [_imports(wrapper, host)]
    parts += [ast.unparse(_Helper().visit(one)) for one in helpers_for(wrapper.kernels.values())]
    parts += [
        ast.unparse(_Helper().visit(function))
        for kernel in wrapper.kernels.values() for function in kernel.functions
    ]  # fmt: skip
    parts += [piece(name) for name in sorted(host.pieces)]
    inner = "".join(f"    {line}\n" for text in body for line in text.splitlines())
    if host.constants:
        parts.append("\n".join(f"{name} = {value}" for name, value in host.constants.items()))
    parts, inner = kept_apart(parts, inner, entry, parameters)
    parts.append(f"def {entry}({', '.join(parameters)}):\n{inner}")
    return "\n\n\n".join(part.strip() for part in parts) + "\n"


def _imports(wrapper: Wrapper, host: _Host) -> str:
    lines = ["import torch", "import triton", "import triton.language as tl"]
    helpers = helpers_for(wrapper.kernels.values())
    kernels = [one for kernel in wrapper.kernels.values() for one in kernel.functions]
    text = "\n".join(ast.unparse(one) for one in (*helpers, *kernels))
    if "products" in host.pieces:
        lines.append("from triton.tools.tensor_descriptor import TensorDescriptor")
    if "libdevice." in text:
        lines.append("from triton.language.extra import libdevice")
    if "tl_math." in text or re.search(r"\bmath\.", text):
        lines.append("from triton.language import math as tl_math")
    if "_LOG_2_E" in text:
        lines.append("\n_LOG_2_E = tl.constexpr(1.4426950408889634)")
    return "\n".join(lines)


class _Helper(ast.NodeTransformer):
    """Names of helpers without the module that they came from."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`triton_helpers.max2` is `max2`; the helpers' own `math` is Triton's."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Name):
            if node.value.id == "triton_helpers":
                return ast.Name(node.attr, node.ctx)
            if node.value.id == "math":
                return ast.Attribute(ast.Name("tl_math", ast.Load()), node.attr, node.ctx)
        return node


class _Host:
    """Writes the host function, statement by statement."""

    def __init__(self, wrapper: Wrapper, arguments: list[str], device: str, result: str) -> None:
        self._wrapper = wrapper
        self._arguments = arguments
        self._device = device
        self._result = result
        self._inputs_named: set[str] = set()
        self.pieces: set[str] = set()
        self.constants: dict[str, object] = {}
        """Block sizes and options of launches, by their names in the module."""

    def lines(self) -> list[str]:
        """Statements of the host function."""
        found: list[str] = []
        for node in self._wrapper.statements:
            found += self._statement(node)
        return found

    def _statement(self, node: ast.stmt) -> list[str]:
        text = ast.unparse(node)
        if isinstance(node, ast.Delete) or _SKIPPED.match(text):
            return []
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "args":
            return self._inputs(node)
        launch = self._launch(node)
        if launch is not None:
            return launch
        changed = ast.unparse(_Expressions(self).visit(node))
        if isinstance(node, ast.Return):
            return self._returned(node)
        if "extern_kernels" in changed or "torch.ops." in changed:
            raise NoStartError(f"no kernel stands for `{changed}`")
        return [changed]

    def _inputs(self, node: ast.Assign) -> list[str]:
        target = node.targets[0]
        names = [ast.unparse(one) for one in target.elts] if isinstance(
            target, (ast.Tuple, ast.List)) else [ast.unparse(target)]  # fmt: skip
        if len(names) != len(self._arguments):
            raise NoStartError(f"the wrapper takes {len(names)} inputs, not "
                               f"{len(self._arguments)}")  # fmt: skip
        self._inputs_named = set(names)
        pairs = zip(names, self._arguments, strict=True)
        return [f"{name} = {given}" for name, given in pairs]

    def _launch(self, node: ast.stmt) -> list[str] | None:
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            return None
        call = node.value
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "run"):
            return None
        kernel = self._wrapper.kernels.get(ast.unparse(call.func.value))
        if kernel is None:
            raise NoStartError(f"a kernel that is not Triton's: `{ast.unparse(call.func)}`")
        given = [ast.unparse(_Expressions(self).visit(argument)) for argument in call.args]
        names = blocks_of(kernel)
        if LOOP_STAGES in kernel.constants:
            names[LOOP_STAGES] = constant_name(kernel, LOOP_STAGES)
        options = {"num_warps": kernel.num_warps, "num_stages": kernel.num_stages}
        if not multiplies(kernel):
            del options["num_stages"]  # pipelines loops with products only
        named = {key: constant_name(kernel, key) for key in options}
        self.constants |= {name: kernel.constants[key] for key, name in names.items()}
        self.constants |= {name: options[key] for key, name in named.items()}
        return _launched(kernel, given, names | named)

    def _returned(self, node: ast.Return) -> list[str]:
        outputs = node.value.elts if isinstance(node.value, ast.Tuple) else []
        texts = [ast.unparse(_Expressions(self).visit(output)) for output in outputs]
        return [f"return {self._result.format(*texts)}"]

    def called(self, node: ast.Call) -> ast.AST:
        """A call as an answer makes it."""
        name = ast.unparse(node.func)
        if name in ("empty_strided_cuda", "empty_strided_cpu", "empty_strided"):
            size, stride, dtype = (ast.unparse(one) for one in node.args[:3])
            return _expression(
                f"torch.empty_strided({size}, {stride}, dtype={dtype}, device={self._device})"
            )
        if name in ("reinterpret_tensor", "torch.ops.inductor._reinterpret_tensor"):
            return self._reinterpreted(node)
        if name.startswith("extern_kernels."):
            return self._library(name.removeprefix("extern_kernels."), node)
        if name.startswith("torch.ops." + OPERATOR.replace("::", ".")):
            self.pieces.add("products")
            return _expression(f"activated_product({_arguments(node)})")
        if name.startswith("torch.ops.aten.topk"):
            self.pieces.add("largest")
            return _expression(f"largest_values({_arguments(node)})")
        return node

    def _reinterpreted(self, node: ast.Call) -> ast.AST:
        """Offsets count from an argument's own beginning."""
        tensor, size, stride, *rest = map(ast.unparse, node.args)
        offset = rest[0] if rest else "0"
        if tensor in self._inputs_named:
            offset = f"{tensor}.storage_offset() + {offset}"
        return _expression(f"torch.as_strided({tensor}, {size}, {stride}, {offset})")

    def _library(self, name: str, node: ast.Call) -> ast.AST:
        if name not in _PRODUCTS:
            return node
        self.pieces.add("products")
        given = [ast.unparse(one) for one in node.args]
        named = {one.arg: ast.unparse(one.value) for one in node.keywords}
        out = named.pop("out", None)
        if out is None:
            raise NoStartError(f"a product without a place: `{ast.unparse(node)}`")
        if name in ("addmm", "baddbmm"):
            named["bias"] = given.pop(0)
        rest = "".join(f", {key}={value}" for key, value in named.items())
        return _expression(f"product({given[0]}, {given[1]}, {out}{rest})")


class _Expressions(ast.NodeTransformer):
    """Changes calls within a statement."""

    def __init__(self, host: _Host) -> None:
        self._host = host

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Inner calls first."""
        self.generic_visit(node)
        return self._host.called(node)


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _arguments(node: ast.Call) -> str:
    named = [f"{one.arg}={ast.unparse(one.value)}" for one in node.keywords]
    return ", ".join([*(ast.unparse(one) for one in node.args), *named])


def _launched(kernel: Kernel, given: list[str], names: Mapping[str, str]) -> list[str]:
    prefix, grid, arguments = grid_of(kernel, given)
    while len(grid) > 1 and grid[-1] == "1":
        grid = grid[:-1]
    named = "".join(
        f", {key}={names.get(key, repr(value))}"
        for key, value in kernel.constants.items()
        if key in kernel.parameters
    )
    launch = (
        f"{kernel.name}[({', '.join(grid)},)]({', '.join(arguments)}{named}, "
        f"num_warps={names['num_warps']}, num_stages={names.get('num_stages', kernel.num_stages)})"
    )
    return [*prefix, launch]
