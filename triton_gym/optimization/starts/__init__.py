"""Answers to start a search from, each by a route of its own."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.export import ExportedProgram

from triton_gym.optimization.building import Inputs
from triton_gym.optimization.exporting import Flat, result_text
from triton_gym.optimization.inspection import Text
from triton_gym.optimization.shipping import Request
from triton_gym.optimization.sizes import Sizes
from triton_gym.optimization.starts.conversion import converted
from triton_gym.optimization.starts.epilogues import fuses
from triton_gym.optimization.starts.exact import MOST, Exact, joined
from triton_gym.optimization.starts.inductor import wrapper_of
from triton_gym.optimization.starts.own import own_answer
from triton_gym.optimization.starts.route import NoStartError
from triton_gym.optimization.starts.template import template_answer
from triton_gym.optimization.traced import Start


@dataclass(frozen=True, slots=True)
class Graphs:
    """A traced function, as routes need it."""

    request: Request
    text: Text
    flat: Flat
    program: ExportedProgram
    """In PyTorch's own operators."""
    core: ExportedProgram
    """Taken apart."""
    inputs: Inputs
    sizes: Sizes
    examples: tuple[Mapping[str, int], ...] = ()
    """The named sizes of every example."""


def starts_of(graphs: Graphs) -> tuple[tuple[Start, ...], dict[str, str]]:
    """Answers by every route that has one, and what became of each route."""
    starts: list[Start] = []
    told: dict[str, str] = {}
    for route in graphs.request.routes:
        for name, note, make in _ROUTES[route](graphs):
            try:
                source = make()
                compile(ast.parse(source), "start", "exec")
                same = next((one.route for one in starts if one.source == source), None)
                told[name] = f"as {same}" if same else "a start"
                if same is None:
                    starts.append(Start(source, name, note))
            except NoStartError as error:
                told[name] = str(error)
            except Exception as error:  # Inductor's parts differ between versions of PyTorch
                told[name] = f"not available here: {type(error).__name__}: {error}"[:400]
    return tuple(starts), told


_Variants = Iterator[tuple[str, str, Callable[[], str]]]


def _own(graphs: Graphs) -> _Variants:
    yield (
        "own",
        "the function's own kernel",
        lambda: own_answer(graphs.request, graphs.inputs, graphs.flat),
    )


def _template(graphs: Graphs) -> _Variants:
    yield (
        "template",
        "a kernel of this library's",
        lambda: template_answer(graphs.program, graphs.inputs, graphs.flat, graphs.request.name),
    )


def _inductor(graphs: Graphs) -> _Variants:
    yield (
        "inductor",
        "PyTorch's compiler, products by a kernel of this library's",
        (lambda: _compiled(graphs, {})),
    )
    if _multiplies(graphs.core):
        yield (
            "inductor-fused",
            "PyTorch's compiler, products within its kernels",
            (lambda: _compiled(graphs, {"triton.native_matmul": True})),
        )
    if fuses(graphs.core.graph_module):
        yield (
            "inductor-epilogue",
            "PyTorch's compiler, what follows products within a kernel of this library's",
            (lambda: _compiled(graphs, {}, epilogues=True, whole_rows=_reduces(graphs.core))),
        )
    if _reads_beside(graphs.core):
        yield (
            "inductor-tiles",
            "PyTorch's compiler, elements in tiles of two axes",
            (lambda: _compiled(graphs, _TILES, blocks=_WIDE)),
        )
    if _reduces(graphs.core):
        yield (
            "inductor-rows",
            "PyTorch's compiler, reductions of rows that a program holds whole",
            (lambda: _compiled(graphs, {}, whole_rows=True)),
        )
        yield (
            "inductor-loops",
            "PyTorch's compiler, reductions in loops",
            (lambda: _compiled(graphs, {"triton.persistent_reductions": False})),
        )


_ROUTES: dict[str, Callable[[Graphs], _Variants]] = {
    "own": _own, "template": _template, "inductor": _inductor,
}  # fmt: skip


_TILES: dict[str, object] = {"triton.prefer_nd_tiling": True, "triton.max_tiles": 2}
_WIDE = {"XBLOCK": 128, "YBLOCK": 8}
"""A tile that is read along the inner axis; PyTorch's compiler begins with a square."""
_PRODUCTS = frozenset({"mm", "bmm", "addmm", "baddbmm"})
_BESIDE = frozenset(
    {"slice", "slice_scatter", "select", "select_scatter", "cat", "roll", "flip", "index",
     "constant_pad_nd", "diagonal", "gather", "triu", "tril"}
)  # fmt: skip
_REDUCTIONS = frozenset(
    {"sum", "mean", "amax", "amin", "max", "min", "argmax", "argmin", "prod", "var", "var_mean",
     "any", "all", "_softmax", "_log_softmax", "native_layer_norm", "native_group_norm", "norm",
     "logsumexp", "std", "linalg_vector_norm", "_fused_rms_norm", "nll_loss_forward"}
)  # fmt: skip


def _operators(core: ExportedProgram) -> set[str]:
    return {getattr(node.target, "__name__", "").partition(".")[0] for node in core.graph.nodes}


def _multiplies(core: ExportedProgram) -> bool:
    return bool(_operators(core) & _PRODUCTS)


def _reads_beside(core: ExportedProgram) -> bool:
    """Whether what is read for an element depends on its place along an axis."""
    return bool(_operators(core) & _BESIDE)


def _reduces(core: ExportedProgram) -> bool:
    return bool(_operators(core) & _REDUCTIONS)


def _compiled(
    graphs: Graphs, settings: dict[str, object], blocks: Mapping[str, int] | None = None,
    **forms: bool,
) -> str:  # fmt: skip
    """An answer by PyTorch's compiler, with kernels of their own for the sizes of the examples."""
    inputs = graphs.inputs
    parameters = [
        *(inputs.parameters[name] for name in inputs.placeholders),
        *(one.name for one in inputs.captured),
    ]
    device = f"{parameters[0]}.device"
    arguments = [_given(name, inputs, device) for name in _placeholders(graphs.core)]

    def written(sizes: Mapping[Any, int] | None) -> str:
        code = wrapper_of(graphs.core, graphs.request.gpu, settings, sizes=sizes, **forms)
        return converted(
            code, graphs.request.name, arguments, device, result_text(graphs.flat.called.tree),
            parameters, blocks or {},
        )  # fmt: skip

    general = written(None)
    exact = []
    for example in _distinct(graphs):
        with contextlib.suppress(Exception):  # what holds for all sizes holds for these
            symbols = {one: example[str(name)] for one, name in graphs.sizes.names.items()}
            exact.append(Exact(_condition(graphs, example), written(symbols)))
    return joined(general, exact, graphs.request.name, parameters) if exact else general


def _distinct(graphs: Graphs) -> list[Mapping[str, int]]:
    """Sizes that examples have, each once; none if there are more than a few."""
    found = {tuple(sorted(one.items())): one for one in graphs.examples if one}
    return list(found.values()) if len(found) <= MOST else []


def _condition(graphs: Graphs, sizes: Mapping[str, int]) -> str:
    """That a call has these sizes, over the parameters of an answer."""
    inputs = graphs.inputs
    parameters = {given: inputs.parameters[name] for name, given in inputs.placeholders.items()}
    tests = []
    for name, size in sizes.items():
        argument, axis = graphs.sizes.where[name]
        tests.append(f"{parameters[argument]}.shape[{axis}] == {size}")
    return " and ".join(tests)


def _placeholders(core: ExportedProgram) -> list[str]:
    return [node.name for node in core.graph.nodes if node.op == "placeholder"]


def _given(placeholder: str, inputs: Inputs, device: str) -> str:
    """What the wrapper's input is in an answer: a parameter, or a tensor made of numbers."""
    if placeholder in inputs.parameters:
        return inputs.parameters[placeholder]
    value = inputs.constants.get(placeholder)
    if value is None:
        return "None"  # held by a module, and not used
    return f"torch.tensor({value.tolist()!r}, dtype={value.dtype}, device={device})"
