"""Makes Triton's interpreter fit for use: right in bf16 and fp8, safe out of bounds, faster.

`install()` is called once, in a process where `TRITON_INTERPRET=1` was set before Triton was
imported. What it changes in Triton 3.6 to 3.9:

* bf16 is stored as `ml_dtypes.bfloat16` instead of as its bits, on which arithmetic was garbage;
  casts round as the GPU does; fp32 dots round their operands to tf32 unless told otherwise.
* Loads, stores and atomics are checked against the tensors of the launch (see `bounds`).
* 16-bit sums round after every addition, and reductions with a function of the user's own are
  done as a tree instead of one element at a time.
* libdevice functions work, and the language is patched once instead of at every call.
* A kernel's text begins at its first line that begins a function, as for the compiler: a line of
  its docstring may look like one, too.
* Arguments that are floats have a type, and `warmup` returns something to ask and to launch.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.simulate.interpreter import formats, libdevice, shortcuts
from triton_gym.evaluation.simulate.interpreter.access import repair_memory
from triton_gym.evaluation.simulate.interpreter.arithmetic import (
    repair_arithmetic,
    repair_reductions,
)
from triton_gym.evaluation.simulate.interpreter.bounds import Bounds
from triton_gym.evaluation.simulate.interpreter.compiled import Compiled
from triton_gym.evaluation.simulate.interpreter.formats import BFLOAT16
from triton_gym.evaluation.simulate.interpreter.shapes import share_shapes
from triton_gym.evaluation.simulate.interpreter.state import Program, State


def install() -> None:
    """Repair the interpreter of this process. A second call does nothing.

    Raises:
        EvaluatorError: Triton was imported without `TRITON_INTERPRET=1`.
    """
    import triton
    from triton.runtime import interpreter as it

    if not triton.knobs.runtime.interpret:
        raise EvaluatorError("The interpreter needs TRITON_INTERPRET=1 before Triton is imported.")
    if getattr(it, "repaired_by_triton_gym", False):
        return
    it.repaired_by_triton_gym = True
    # On a GPU these checks are made in debug mode only; here they are half of the time.
    options = it.interpreter_builder.options
    it.interpreter_builder.options = dataclasses.replace(options, sanitize_overflow=False)
    it.FunctionRewriter._find_def = _first_def
    _repair_types(it)
    share_shapes(it)
    shortcuts.install(it)
    repair_memory(it)
    repair_arithmetic(it)
    repair_reductions(it)
    _repair_calls(it)


def _first_def(_: Any, lines: list[str]) -> int:
    """Number, from 1, of the line that the compiler takes for a kernel's first."""
    starts = (n for n, line in enumerate(lines, 1) if line.strip().startswith("def "))
    return next(starts, 0)


def _repair_types(it: Any) -> None:
    """bf16 as ml_dtypes' type, and every conversion rounded as the GPU rounds."""
    tl, builder = it.tl, it.InterpreterBuilder
    original = it._get_np_dtype
    known: dict[str, Any] = {"bf16": BFLOAT16}

    def numpy_dtype(kind: Any) -> Any:
        scalar = kind.element_ty if isinstance(kind, tl.block_type) else kind
        if scalar.name not in known:
            known[scalar.name] = original(scalar)
        return known[scalar.name]

    def cast(self: Any, handle: Any, kind: Any, to_zero: bool = False) -> Any:
        source, target = handle.dtype.scalar, kind.scalar
        if "fp8e4b15" in (source.name, target.name):
            return fp_to_fp(self, handle, kind, None)
        data = formats.cast(
            handle.data, source.name, target.name, numpy_dtype(kind), to_zero=to_zero
        )
        return it.TensorHandle(data, target)

    fp_to_fp = builder.create_fp_to_fp

    def convert(self: Any, handle: Any, kind: Any, rounding: Any) -> Any:
        if "fp8e4b15" in (handle.dtype.scalar.name, kind.scalar.name):
            return fp_to_fp(self, handle, kind, rounding)
        return cast(self, handle, kind, rounding == it._ir.ROUNDING_MODE.RTZ)

    it._get_np_dtype = numpy_dtype
    builder.cast_impl = cast
    builder.create_fp_to_fp = convert
    builder.get_bf16 = lambda self, value: it.TensorHandle(
        np.array([value], dtype=np.float32).astype(BFLOAT16), tl.bfloat16
    )


def _make_interpretable(it: Any, function: Any) -> None:
    """Patch the language modules that a function sees, once for the life of the process."""
    scope = function.__globals__
    seen = id(scope), len(scope)
    if seen in State.scopes:
        return
    if not State.language:
        State.language.update(
            (id(value), (name, value)) for name, value in vars(it.tl).items() if callable(value)
        )
    modules = {id(value) for value in scope.values() if value is it.tl or value is it.tl.core}
    if not (modules or {id(it.tl)}) <= State.patched:
        # A kernel may have imported the names that it uses instead of the module.
        it._patch_lang(function if modules else SimpleNamespace(__globals__={"tl": it.tl}))
        modules = modules or {id(it.tl)}
        # Triton 3.6 hands NumPy a vector of one where it wants a scalar.
        it.tl.tensor.__index__ = lambda self: int(self.handle.data.reshape(-1)[0])
        State.patched |= modules
        for module in (it.tl, it.tl.core):
            module.range = _steps
    if id(scope) not in State.patched:
        State.patched.add(id(scope))
        for key, value in list(scope.items()):
            known = State.language.get(id(value))
            if known is not None and not isinstance(value, type):  # from triton.language import …
                scope[key] = getattr(it.tl, known[0])
        libdevice.install(scope, lambda function: _elementwise(it, function))
    State.scopes.add((id(scope), len(scope)))


def _steps(*bounds: Any, **options: Any) -> Iterable[int]:
    """`range` and `tl.range` of a kernel: under observation, loops may be cut short."""
    numbers = [int(b) for b in (*bounds, *(options[k] for k in ("step",) if k in options))]
    if len(numbers) == 2 and options.get("step") is not None and len(bounds) == 1:
        numbers = [0, *numbers]
    steps = range(*numbers)
    return steps if State.observer is None else State.observer.loop(steps)


def _elementwise(it: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of Triton tensors from one of arrays."""
    tl = it.tl

    def apply(*arguments: Any, **_: Any) -> Any:
        tensors = [it.interpreter_semantic.to_tensor(a) for a in arguments]
        result = np.asarray(function(*(t.handle.data for t in tensors)))
        kind = tensors[0].dtype
        if result.dtype == np.bool_ or result.dtype == np.int64 != tensors[0].handle.data.dtype:
            kind = tl.int64 if result.dtype == np.int64 else tl.int32
        result = result.astype(it._get_np_dtype(kind))
        shape = [] if all(not t.shape for t in tensors) else list(result.shape)
        return tl.tensor(
            it.TensorHandle(result, kind), tl.block_type(kind, shape) if shape else kind
        )

    apply.stands_in = True  # type: ignore[attr-defined]
    return apply


def _argument(it: Any, value: Any) -> Any:
    """An argument of a launch as the kernel sees it: floats are scalars in fp32, not Python's."""
    if isinstance(value, float):
        data = np.array([value], dtype=np.float32)
        return it.tl.tensor(it.TensorHandle(data, it.tl.float32), it.tl.float32)
    return it._implicit_cvt(value)


def _repair_calls(it: Any) -> None:
    """Launches with bounds and a schedule; calls between kernels without repeated patching."""

    def launch(self: Any, *arguments: Any, **options: Any) -> None:
        spec = inspect.getfullargspec(self.fn)
        options = {k: v for k, v in options.items() if k in spec.args or k in spec.kwonlyargs}
        args, kwargs = self._init_args_hst(arguments, options)
        for hook in self.pre_run_hooks:
            hook(*args, **kwargs)
        _make_interpretable(it, self.fn)
        bound = inspect.getcallargs(self.fn, *args, **kwargs)
        State.bounds = Bounds(bound.values())
        values = {
            name: value if name in self.constexprs else _argument(it, value)
            for name, value in bound.items()
        }
        grid = self.grid(bound) if callable(self.grid) else self.grid
        x, y, z = (int(n) for n in (*grid, 1, 1, 1)[:3])
        full: Program = (x, y, z)
        it.interpreter_builder.set_grid_dim(*full)

        def run(program: Program) -> None:
            it.interpreter_builder.set_grid_idx(*program)
            self.fn(**values)

        run.scope = self.fn.__globals__  # type: ignore[attr-defined]
        with np.errstate(all="ignore"), mock.patch.dict(self.fn.__globals__, {"range": _steps}):
            State.execute(self.fn.__name__, full, run)
        self._restore_args_dev(arguments, args, options, kwargs)

    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        _make_interpretable(it, self.fn)
        return self.rewrite()(*arguments, **options)

    run = it.InterpretedFunction.run

    def run_or_warm_up(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        if warmup:
            return Compiled(self, dict(zip(self.arg_names, arguments, strict=False)) | options)
        return run(self, *arguments, grid=grid, warmup=warmup, **options)

    it.InterpretedFunction.run = run_or_warm_up
    it.GridExecutor.__call__ = launch
    it.InterpretedFunction.__call__ = call
