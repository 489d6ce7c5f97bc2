"""Kernels that PyTorch's own compiler writes for a graph, emitted without a GPU.

The graph is moved to tensors without values on a GPU that is not there; Inductor's wrapper, the
module that would run the kernels, is caught as text before anything is compiled. What it is made of
differs between versions of PyTorch: each step asks for the parts that it needs, and a part that is
missing ends the route with its name.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch.export import ExportedProgram

from triton_gym.optimization.starts.absent_gpu import pretend
from triton_gym.optimization.starts.epilogues import fused
from triton_gym.optimization.starts.route import NoStartError

CUDA = torch.device("cuda:0")
PLAIN: dict[str, Any] = {
    "compile_threads": 1, "joint_graph_constant_folding": False, "force_disable_caches": True,
    "fx_graph_cache": False, "triton.cudagraphs": False, "cpp_wrapper": False,
    "triton.autotune_at_compile_time": False, "benchmark_kernel": False,
    "size_asserts": False, "nan_asserts": False, "alignment_asserts": False,
    "scalar_asserts": False, "triton.unique_kernel_names": True, "freezing": False,
    "max_autotune": False, "epilogue_fusion": True, "memory_planning": False,
}  # fmt: skip
"""Settings of Inductor that make a wrapper which is easy to read. Those unknown are left out."""


class _CaughtError(Exception):
    """The wrapper was written."""


WHOLE_ROW = 1 << 16
"""Longest row that a program may hold whole where rows are asked for: 64 float32 values in each of
the 1024 threads of a program, a quarter of the registers that a thread can have."""


def wrapper_of(
    core: ExportedProgram,
    gpu: str,
    settings: dict[str, Any],
    *,
    whole_rows: bool = False,
    epilogues: bool = False,
    sizes: Mapping[Any, int] | None = None,
) -> str:
    """Inductor's wrapper for a graph, as text. Call it in a process of one use.

    Args:
        core: in core operators, traced on the CPU.
        gpu: key in `GPUS`.
        settings: of Inductor, besides `PLAIN`.
        whole_rows: whether programs that reduce rows hold them whole, up to `WHOLE_ROW` elements;
            by itself Inductor goes through those above 1024 in a loop.
        epilogues: whether activations become part of the products before them; see `epilogues`.
        sizes: of every symbol of the graph, if the kernels are to hold for these alone.

    Raises:
        NoStartError: this version of PyTorch cannot, or the graph holds what it cannot compile.
    """
    pretend(gpu)
    try:
        with _leaving_nothing(), _rows_held() if whole_rows else contextlib.nullcontext():
            return _emitted(core, {**PLAIN, **settings}, epilogues, sizes)
    except NoStartError:
        raise
    except Exception as error:  # whatever Inductor raises on graphs that it does not know
        first = (str(error).strip().splitlines() or [""])[0]
        raise NoStartError(f"Inductor raised {type(error).__name__}: {first[:300]}") from error


@contextlib.contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Inductor keeps a folder of a compilation that ended by an error, as all of these do."""
    with (
        tempfile.TemporaryDirectory(prefix="triton-gym-") as folder,
        mock.patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": folder}),
    ):
        yield


def _rows_held() -> Any:
    """Have Inductor hold rows whole where they lie together in memory."""
    from torch._inductor.choices import InductorChoices
    from torch._inductor.runtime.hints import ReductionHint

    choose = getattr(InductorChoices, "should_use_persistent_reduction", None)
    if choose is None:
        raise NoStartError("this version of Inductor chooses forms of reductions elsewhere")

    def chosen(features: Any, cooperative: bool) -> bool:
        numel = features.reduction_numel
        inner = features.get_reduction_hint() == ReductionHint.INNER
        if inner and not cooperative and numel.is_number and int(numel) <= WHOLE_ROW:
            return True
        return bool(choose(features, cooperative))

    return mock.patch.object(
        InductorChoices, "should_use_persistent_reduction", staticmethod(chosen)
    )


def _emitted(
    core: ExportedProgram, settings: dict[str, Any], epilogues: bool,
    sizes: Mapping[Any, int] | None,
) -> str:  # fmt: skip
    import torch._inductor.config as config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.graph import GraphLowering

    if not hasattr(GraphLowering, "compile_to_module"):
        raise NoStartError("this version of Inductor writes its module elsewhere")
    known = {key: value for key, value in settings.items() if _has(config, key)}
    caught: list[str] = []

    def write(lowering: Any) -> Any:
        code = lowering.codegen()[0]
        caught.append(str(getattr(code, "value", code)))
        raise _CaughtError

    graph, values, mode = _moved(core, epilogues, sizes)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(GraphLowering, "compile_to_module", write))
        stack.enter_context(config.patch(**known))
        _keep_scatters(stack)
        stack.enter_context(torch.no_grad())
        stack.enter_context(mode)
        stack.enter_context(torch._guards.tracing(torch._guards.TracingContext(mode)))
        try:
            compile_fx_inner(graph, values)
        except Exception as error:
            if not caught or not _caused(error):
                raise
    if not caught:
        raise NoStartError("Inductor found nothing to compile")
    if sizes is None and (fixed := _fixed(core, mode)):
        raise NoStartError(f"Inductor fixes a size that varies at the example's: {fixed}")
    return caught[-1]


def _fixed(core: ExportedProgram, mode: Any) -> str:
    """Sizes that vary in a graph and no longer do, in words; for this process they are fixed."""
    known = getattr(getattr(mode, "shape_env", None), "replacements", {})
    found = {symbol: known[symbol] for symbol in core.range_constraints if symbol in known}
    return ", ".join(f"{one} = {size}" for one, size in found.items() if size.is_number)


def _keep_scatters(stack: contextlib.ExitStack) -> None:
    """Skip a pass that joins writes to slices: it compares sizes that have no value here."""
    from torch._inductor.fx_passes import reinplace

    if hasattr(reinplace, "canonicalize_view_scatter_ops"):
        stack.enter_context(
            mock.patch.object(reinplace, "canonicalize_view_scatter_ops", return_value=None)
        )


def _has(config: Any, key: str) -> bool:
    for piece in key.split("."):
        if not hasattr(config, piece):
            return False
        config = getattr(config, piece)
    return True


def _caused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, _CaughtError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _moved(
    core: ExportedProgram, epilogues: bool, sizes: Mapping[Any, int] | None
) -> tuple[torch.fx.GraphModule, list[Any], Any]:
    """The graph on the GPU that is not there, its arguments without values, and their mode."""
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = copy.deepcopy(core.graph_module)
    if epilogues:
        fused(graph)
    metas = [node.meta["val"] for node in core.graph.nodes if node.op == "placeholder"]
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": CUDA}
        name = getattr(node.target, "__name__", "")
        if name.startswith(("_assert_tensor_metadata", "_assert_scalar")):
            graph.graph.erase_node(node)
        elif name.startswith("logical_not"):
            # Taken apart it would ask for the GPU; for every dtype this is the same.
            node.target = torch.ops.aten.eq.Scalar
            node.args = (node.args[0], 0)
        elif name.startswith("index_select") and _dimensions(node.args[2]) == 1:
            # The same: taken apart it is Python's indexing, which asks for the GPU.
            place = int(node.args[1]) % max(_dimensions(node.args[0]), 1)
            node.target = torch.ops.aten.index.Tensor
            node.args = (node.args[0], [*[None] * place, node.args[2]])
    graph.recompile()
    mode = next(meta.fake_mode for meta in metas if hasattr(meta, "fake_mode"))
    mode.allow_non_fake_inputs = True
    with mode, torch.no_grad():
        values = [_elsewhere(meta, sizes) for meta in metas]
        traced = make_fx(
            lambda *given: torch.fx.Interpreter(graph).run(*given),
            decomposition_table=select_decomp_table(), tracing_mode="real",
        )(*values)  # fmt: skip
    return traced, values, mode


def _dimensions(node: Any) -> int:
    value = getattr(node, "meta", {}).get("val")
    return value.dim() if isinstance(value, torch.Tensor) else 0


def _elsewhere(meta: Any, sizes: Mapping[Any, int] | None) -> Any:
    if not isinstance(meta, torch.Tensor):
        return meta
    size, stride = meta.size(), meta.stride()
    if sizes is not None:
        size, stride = _known(size, sizes), _known(stride, sizes)  # type: ignore[assignment]
    return torch.empty_strided(size, stride, dtype=meta.dtype, device=CUDA)


def _known(numbers: Any, sizes: Mapping[Any, int]) -> tuple[int, ...]:
    """Sizes or strides as numbers."""
    return tuple(
        int(one.node.expr.subs(dict(sizes))) if isinstance(one, torch.SymInt) else int(one)
        for one in numbers
    )
