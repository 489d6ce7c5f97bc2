"""Launches kernels on host memory in tests: Triton's front end, then the interpreter."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.compiler import make_backend
from triton.runtime.jit import mangle_type
from triton.tools.tensor_descriptor import TensorDescriptor

from triton_gym.evaluation.backends.simulated.execute import ELEMENTS, run
from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.lower import lower
from triton_gym.evaluation.simulate.interpreter.bounds import Bounds
from triton_gym.evaluation.simulate.interpreter.emit import program_of
from triton_gym.evaluation.simulate.interpreter.machine import Descriptor
from triton_gym.evaluation.simulate.tracing.launched import Launched

TARGET = GPUTarget("cuda", 90, 32)


def jit(function: Callable[..., Any]) -> Any:
    """As `triton.jit`; `kernel[grid](…)` interprets, `kernel.ready(grid, …)` makes ready to."""
    return Interpreted(triton.jit(function))


class Interpreted:
    """A kernel."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return functools.partial(self._launch, grid)

    def _launch(self, grid: Any, *arguments: Any, **options: Any) -> None:
        ready = self.ready(grid, *arguments, **options)
        cooperative = bool(options.get("launch_cooperative_grid"))
        run(ready, cooperative=cooperative, multiprocessors=132)

    def ready(self, grid: Any, *arguments: Any, num_warps: int = 4, **options: Any) -> Launched:
        """A launch."""
        text, values, ranges = self.lowered(*arguments, **options)
        full = (*grid, 1, 1, 1)[:3]
        others = [r for tensor in options.get("memory", ()) for r in _ranges(tensor)]
        return Launched(
            0, "", self.function.__name__, full, program_of(text), values,
            Bounds(ranges, others), num_warps,
        )  # fmt: skip

    def lowered(self, *arguments: Any, **options: Any) -> tuple[str, list[Any], list[Any]]:
        """The IR, the arguments as the interpreter takes them, and their memory."""
        names = self.function.arg_names
        given = dict(zip(names, arguments, strict=False))
        given |= {name: value for name, value in options.items() if name in names}
        constants = {p.name for p in self.function.params if p.is_constexpr}
        signature, constexprs, values, ranges, attributes = {}, {}, [], [], {}
        for place, name in enumerate(names):
            value = given[name]
            if name in constants or (type(value) is int and value == 1):
                signature[name] = "constexpr"
                constexprs[(place,)] = value
                continue
            signature[name] = mangle_type(value) if not isinstance(value, TensorDescriptor) else (
                f"tensordesc<{_kind(value.base)}{list(value.block_shape)}>"
            )  # fmt: skip
            values += _values(value)
            ranges += _ranges(value)
            aligned = isinstance(value, torch.Tensor) and value.data_ptr() % 16 == 0
            if aligned or (type(value) is int and value % 16 == 0):
                attributes[(place,)] = [["tt.divisibility", 16]]
        source = ASTSource(self.function, signature, constexprs, attributes)
        return _lowered(source), values, ranges

    def cubin(self, *arguments: Any, **options: Any) -> bytes:
        """Machine code, with lines of the source."""
        text, _, _ = self.lowered(*arguments, **options)
        known = {k: v for k, v in options.items() if k in ("num_warps", "num_stages")}
        return lower(text, known, Target(90, lines=True), 60.0).cubin


def _kind(tensor: torch.Tensor) -> str:
    return mangle_type(tensor).removeprefix("*")


def _values(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value.data_ptr()]
    if isinstance(value, TensorDescriptor):
        shape, strides = tuple(value.shape), tuple(value.strides)
        element = ELEMENTS[_kind(value.base)]
        block = tuple(value.block_shape)
        made = Descriptor(value.base.data_ptr(), shape, strides, block, element)
        return [made, *shape, *strides]
    return [np.float32(value) if isinstance(value, float) else value]


def _ranges(value: Any) -> list[Any]:
    tensor = getattr(value, "base", value)
    if not isinstance(tensor, torch.Tensor):
        return []
    storage = tensor.untyped_storage()
    told = f"the tensor {tuple(tensor.shape)}"
    return [(storage.data_ptr(), storage.data_ptr() + storage.nbytes(), told)]


def _lowered(source: ASTSource) -> str:
    from triton._C.libtriton import ir

    backend = make_backend(TARGET)
    options = backend.parse_options({})
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, source.language)
    module = source.make_ir(
        TARGET, options, backend.get_codegen_implementation(options), backend.get_module_map(),
        context,
    )  # fmt: skip
    return str(stages["ttir"](module, {}))
