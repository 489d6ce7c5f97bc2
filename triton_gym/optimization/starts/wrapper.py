"""Inductor's wrapper read: the kernels that it holds, and the statements that call them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from triton_gym.optimization.starts.route import NoStartError


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of a wrapper."""

    name: str
    function: ast.FunctionDef
    """Its definition, decorated with `triton.jit` alone."""
    parameters: tuple[str, ...]
    constants: dict[str, Any]
    """The meta-parameters of the configuration that was taken."""
    num_warps: int
    num_stages: int
    meta: dict[str, Any]
    """What Inductor notes of it, the kind of its grid among others."""
    combines: tuple[ast.FunctionDef, ...] = ()
    """Functions that only it has, as what a scan combines by; their names begin with its own."""

    @property
    def functions(self) -> tuple[ast.FunctionDef, ...]:
        """All that has to be defined for it, itself last."""
        return (*self.combines, self.function)


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A wrapper's kernels, and the statements of its call."""

    kernels: dict[str, Kernel]
    statements: tuple[ast.stmt, ...]


def read_wrapper(code: str) -> Wrapper:
    """A wrapper from its text.

    Raises:
        NoStartError: this version of Inductor writes another one.
    """
    tree = ast.parse(code)
    kernels = {}
    for node in tree.body:
        if (
            isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func) == "async_compile.triton"
        ):  # fmt: skip
            name, source = (ast.literal_eval(given) for given in node.value.args[:2])
            kernels[ast.unparse(node.targets[0])] = _kernel(name, source)
    return Wrapper(kernels, tuple(_statements(_call_of(tree).body)))


def _call_of(tree: ast.Module) -> ast.FunctionDef:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "call":
            return node
    raise NoStartError("Inductor's wrapper has no function call")


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements in order, those within `with` blocks too."""
    for node in body:
        if isinstance(node, ast.With):
            yield from _statements(node.body)
        else:
            yield node


def _kernel(name: str, source: str) -> Kernel:
    defined = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    function = next(node for node in defined if node.name == name)
    combines = tuple(node for node in defined if node is not function)
    _begin_with(f"{name}_", {node.name for node in combines}, defined)
    decorator = next((d for d in function.decorator_list if isinstance(d, ast.Call)), None)
    if decorator is None or not isinstance(decorator.func, ast.Attribute):
        raise NoStartError(f"kernel {name} has no heuristic")
    configs, meta = _heuristic(decorator.func.attr, decorator)
    function.decorator_list = [d for d in function.decorator_list if not isinstance(d, ast.Call)]
    function = with_loop_stages(function)
    parameters = tuple(argument.arg for argument in function.args.args)
    config = configs[0]
    constants = dict(config.kwargs)
    if LOOP_STAGES in parameters:
        constants[LOOP_STAGES] = 1  # as it was
    return Kernel(
        name, function, parameters, constants, config.num_warps, config.num_stages, meta, combines
    )  # fmt: skip


def _begin_with(prefix: str, names: set[str], functions: Iterable[ast.FunctionDef]) -> None:
    """Give functions longer names, where they are defined and used: other kernels have theirs."""
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id in names:
                node.id = prefix + node.id
        if function.name in names:
            function.name = prefix + function.name


def _heuristic(kind: str, decorator: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    """Configurations and notes that one of Inductor's heuristics makes for a kernel."""
    from torch._inductor.runtime import hints, triton_heuristics

    scope = {"triton_heuristics": triton_heuristics, **vars(hints), "__file__": "kernel.py",
             "float": float, "inf": float("inf")}  # fmt: skip
    given = {
        keyword.arg: eval(compile(ast.Expression(keyword.value), "kernel", "eval"), scope)
        for keyword in decorator.keywords
        if keyword.arg
    }
    caught: dict[str, Any] = {}

    def autotune(size_hints: Any, configs: Any, *rest: Any, **named: Any) -> Any:
        caught.update(named, configs=configs)
        return lambda function: function

    with mock.patch.object(triton_heuristics, "cached_autotune", autotune):
        getattr(triton_heuristics, kind)(**given)
    if not caught.get("configs"):
        raise NoStartError(f"Inductor's heuristic {kind} makes no configuration")
    return caught["configs"], caught.get("inductor_meta") or given.get("inductor_meta") or {}


def helpers_for(kernels: Iterable[Kernel]) -> list[ast.FunctionDef]:
    """Definitions of Inductor's helper functions that kernels call, each after those it calls."""
    from torch._inductor.runtime import triton_helpers

    known: dict[str, ast.FunctionDef] = {}
    for name, function in vars(triton_helpers).items():
        inner = getattr(function, "fn", None)
        if inner is not None and hasattr(function, "src"):
            parsed = ast.parse(textwrap.dedent(inspect.getsource(inner))).body[0]
            if isinstance(parsed, ast.FunctionDef):
                known[name] = parsed
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name in ordered or name not in known:
            return
        for node in ast.walk(known[name]):
            if isinstance(node, ast.Name) and node.id != name:
                visit(node.id)
        ordered.append(name)

    for function in (function for kernel in kernels for function in kernel.functions):
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "triton_helpers":
                visit(node.attr)
    return [known[name] for name in ordered]


_PLAIN_GRIDS = frozenset({"Grid1D", "Grid2D", "Grid3D", "Grid2DWithYZOverflow"})
"""Kinds of grids that follow from block sizes, whatever these are."""
LOOP_STAGES = "LOOP_STAGES"
"""Parameter of a kernel for how many rounds of its loops over a reduction are under way at once."""


def blocks_of(kernel: Kernel) -> dict[str, str]:
    """Names in a module for a kernel's block sizes that may be changed there, by parameter."""
    if kernel.meta.get("grid_type") not in _PLAIN_GRIDS:
        return {}
    return {
        key: constant_name(kernel, key)
        for key, value in kernel.constants.items()
        if key.endswith("BLOCK") and key in kernel.parameters and type(value) is int
    }


def constant_name(kernel: Kernel, key: str) -> str:
    """The name in a module for something of a kernel that a search may change."""
    return f"{kernel.name}_{key}".upper()


def multiplies(kernel: Kernel) -> bool:
    """Whether a kernel computes matrix products."""
    return "tl.dot" in ast.unparse(kernel.function)


def with_loop_stages(function: ast.FunctionDef) -> ast.FunctionDef:
    """A kernel whose loops over a reduction can be pipelined; the same one if it has none.

    Triton pipelines the loads of a loop with products by what the launch says. Any other loop it
    leaves as it is, unless the loop itself names a number of stages.
    """
    loops = [node for node in ast.walk(function) if _plain_range(node)]
    if not loops or "tl.dot" in ast.unparse(function):
        return function
    for loop in loops:
        name = ast.Name(LOOP_STAGES, ast.Load())
        loop.iter.keywords.append(ast.keyword("num_stages", name))  # type: ignore[attr-defined]
    constant = ast.Attribute(ast.Name("tl", ast.Load()), "constexpr", ast.Load())
    function.args.args.append(ast.arg(LOOP_STAGES, constant))
    return function


def _plain_range(node: ast.AST) -> bool:
    """Whether a node is a loop over blocks: `for i in tl.range(start, end, step)`."""
    return (
        isinstance(node, ast.For)
        and isinstance(node.iter, ast.Call)
        and ast.unparse(node.iter.func) in ("tl.range", "range")
        and len(node.iter.args) == 3
        and not node.iter.keywords
    )


def grid_of(kernel: Kernel, arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Statements before a launch, its grid, and its arguments.

    Block sizes have their names in the module, see `blocks_of`.

    Raises:
        NoStartError: this version of Inductor computes grids elsewhere.
    """
    from torch._inductor.runtime import triton_heuristics

    maker = getattr(triton_heuristics, "GridExpr", None)
    if maker is None:
        raise NoStartError("this version of Inductor computes grids elsewhere")
    if kernel.meta.get("grid_type") == "FixedGrid":
        return [], arguments[-3:], arguments[:-3]
    taken = [name for name in kernel.parameters if name not in kernel.constants]
    given = dict(zip(taken, arguments, strict=False))
    constants = {**kernel.constants, **blocks_of(kernel)}
    grid = maker.from_meta(kernel.meta, constants, mode="python")
    prefix = [_bound(str(line), given) for line in grid.prefix]
    sizes = [_bound(str(size), given) for size in (grid.x_grid, grid.y_grid, grid.z_grid)]
    return prefix, sizes, arguments


def _bound(text: str, given: dict[str, str]) -> str:
    """An expression with names replaced by what they are given."""
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda hit: f"({given[hit[0]]})" if hit[0] in given
                  else hit[0], text)  # fmt: skip
