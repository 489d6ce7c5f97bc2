"""Makes Triton's interpreter fit for use: right in bf16 and fp8, safe out of bounds, faster.

`install()` is called once, in a process where `TRITON_INTERPRET=1` was set before Triton was
imported. What it changes in Triton 3.6 to 3.9:

* bf16 is stored as `ml_dtypes.bfloat16` instead of as its bits, on which arithmetic was garbage;
  casts round as the GPU does; fp32 dots round their operands to tf32 unless told otherwise.
* Loads, stores and atomics are checked against the tensors of the launch (see `bounds`).
* 16-bit sums round after every addition, and reductions with a function of the user's own are
  done as a tree instead of one element at a time.
* libdevice functions work, and the language is patched once instead of at every call.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from triton_gym.errors import EvaluatorError
from triton_gym.evaluation.simulate import formats, libdevice
from triton_gym.evaluation.simulate.bounds import Bounds
from triton_gym.evaluation.simulate.formats import BFLOAT16, Array

Program = tuple[int, int, int]
Executor = Callable[[str, Program, Callable[[Program], None]], None]
"""Runs programs of a launch, given the kernel's name, its grid, and what runs one program."""


def run_whole_grid(kernel: str, grid: Program, run: Callable[[Program], None]) -> None:
    """Run every program, axis 0 fastest, as a GPU starts them."""
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                run((x, y, z))


class Observer(Protocol):
    """Sees what a program does, and decides how far its loops run."""

    def access(self, kind: str, pointers: Array, active: Array, itemsize: int) -> None:
        """A `load`, `store` or `atomic`; `active` holds the addresses not masked off."""

    def dot(self, a: Any, b: Any, c: Any, precision: str) -> None:
        """A matrix product. It is not computed: the accumulator comes back as it is."""

    def reduction(self, inputs: tuple[Any, ...], scan: bool) -> None:
        """A reduction or a scan."""

    def operation(self, name: str, size: int) -> None:
        """An elementwise operation by the builder's name, on `size` elements."""

    def loop(self, steps: range) -> Iterable[int]:
        """The iterations of a loop that are run."""


class State:
    """What the patched interpreter is doing at present."""

    bounds: Bounds = Bounds(())
    execute: Executor = staticmethod(run_whole_grid)
    observer: Observer | None = None
    bulk: bool = False
    """Whether the present access goes through a tensor descriptor."""
    patched: set[int] = set()
    """Modules whose language functions were made interpretable, by id."""


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
    _repair_types(it)
    _repair_memory(it)
    _repair_arithmetic(it)
    _repair_reductions(it)
    _repair_calls(it)


def _repair_types(it: Any) -> None:
    """bf16 as ml_dtypes' type, and every conversion rounded as the GPU rounds."""
    tl, builder = it.tl, it.InterpreterBuilder
    original = it._get_np_dtype

    def numpy_dtype(kind: Any) -> Any:
        scalar = kind.element_ty if isinstance(kind, tl.block_type) else kind
        return BFLOAT16 if scalar == tl.bfloat16 else original(kind)

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


def _check(kind: str, pointers: Any, mask: Any, itemsize: int) -> None:
    """Hold an access against the launch's tensors, and show it to the observer."""
    on = np.asarray(mask.data)  # Triton 3.6 may pass an array where it means a handle
    active = State.bounds.check(kind, pointers.data, on, itemsize)
    if State.observer is not None:
        State.observer.access(kind, pointers.data, active, itemsize)


def _raw(data: Array) -> Array:
    """The array as types that the interpreter's C++ part knows."""
    return data.view(np.uint16) if data.dtype == BFLOAT16 else data


def _repair_memory(it: Any) -> None:
    """Loads, stores and atomics that check their addresses and know bf16."""
    builder, cpp = it.InterpreterBuilder, it._interpreter

    def load(self: Any, pointers: Any, mask: Any, other: Any, *_: Any, **__: Any) -> Any:
        kind = pointers.get_element_ty()
        dtype = it._get_np_dtype(kind)
        raw = np.dtype(np.uint16) if dtype == BFLOAT16 else dtype
        _check("load", pointers, mask, dtype.itemsize)
        fill = np.zeros(pointers.data.shape, dtype) if other is None else other.data
        data = cpp.load(pointers.data, mask.data, _raw(fill), raw)
        return it.TensorHandle(data.view(dtype), kind)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *_: Any, **__: Any) -> None:
        _check("store", pointers, mask, value.data.dtype.itemsize)
        cpp.store(pointers.data, _raw(value.data), mask.data)

    exchange, swap = builder.create_atomic_rmw, builder.create_atomic_cas

    def atomic(self: Any, op: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check("atomic", pointers, mask, value.data.dtype.itemsize)
        if value.data.dtype != BFLOAT16:
            return exchange(self, op, pointers, value, mask, *rest)
        return _atomic_bf16(it, op, pointers, value, mask)

    def compare_and_swap(self: Any, pointers: Any, expected: Any, value: Any, *rest: Any) -> Any:
        everywhere = it.TensorHandle(np.ones(pointers.data.shape, dtype=bool), it.tl.int1)
        _check("atomic", pointers, everywhere, value.data.dtype.itemsize)
        return swap(self, pointers, expected, value, *rest)

    def to_pointer(self: Any, value: Any, kind: Any) -> Any:
        State.bounds.forged = True
        return it.TensorHandle(value.data.astype(np.uint64), kind.scalar)

    for name in ("create_descriptor_load", "create_descriptor_store"):
        setattr(builder, name, _in_bulk(getattr(builder, name)))
    builder.create_masked_load = load
    builder.create_masked_store = store
    builder.create_atomic_rmw = atomic
    builder.create_atomic_cas = compare_and_swap
    builder.create_int_to_ptr = to_pointer


def _in_bulk(method: Callable[..., Any]) -> Callable[..., Any]:
    """An access whose observer is told that it goes through a tensor descriptor."""

    def access(*arguments: Any) -> Any:
        State.bulk = True
        try:
            return method(*arguments)
        finally:
            State.bulk = False

    return access


def _atomic_bf16(it: Any, op: Any, pointers: Any, value: Any, mask: Any) -> Any:
    """One lane after the other: the interpreter's C++ part would add the bits."""
    function = {"FADD": np.add, "XCHG": lambda old, new: new}.get(op.name)
    if function is None:
        raise NotImplementedError(f"atomic {op.name} on bf16 is not supported")
    cpp = it._interpreter
    shape = np.broadcast_shapes(pointers.data.shape, value.data.shape, mask.data.shape)
    old = np.zeros(shape, BFLOAT16)
    where, new, on = (np.broadcast_to(x.data, shape) for x in (pointers, value, mask))
    for index in np.ndindex(shape):
        if on[index]:
            at, yes = np.array([where[index]]), np.ones(1, dtype=bool)
            bits = cpp.load(at, yes, np.zeros(1, np.uint16), np.dtype(np.uint16))
            old[index] = bits.view(BFLOAT16)[0]
            result = np.array([function(old[index], new[index])], dtype=BFLOAT16)
            cpp.store(at, result.view(np.uint16), yes)
    return it.TensorHandle(old, value.dtype.scalar)


OPERATIONS: dict[str, str] = {
    **dict.fromkeys(
        ("fadd", "fsub", "fmul", "fma", "fneg", "fabs", "minimumf", "maximumf", "minnumf",
         "maxnumf", "clampf", "select", "fcmpOLT", "fcmpOGT", "fcmpOLE", "fcmpOGE", "fcmpOEQ",
         "fcmpONE", "fcmpUNE"),
        "float",
    ),
    **dict.fromkeys(
        ("exp", "exp2", "log", "log2", "sin", "cos", "sqrt", "precise_sqrt", "rsqrt", "erf",
         "fdiv", "precise_divf"),
        "special",
    ),
    **dict.fromkeys(
        ("add", "sub", "mul", "and", "or", "xor", "shl", "lshr", "ashr", "sdiv", "udiv", "srem",
         "urem", "addptr"),
        "integer",
    ),
}  # fmt: skip
"""Elementwise operations of the builder, by the class under which a trace counts them."""


def _repair_arithmetic(it: Any) -> None:
    """Dots on the BLAS with the GPU's precision, and a vectorised erf."""
    builder = it.InterpreterBuilder

    def dot(self: Any, a: Any, b: Any, c: Any, input_precision: Any, *rest: Any) -> Any:
        if State.observer is not None:
            State.observer.dot(a, b, c, input_precision.name)
            return c
        left, right = (formats.values(x.data, x.dtype.scalar.name) for x in (a, b))
        if left.dtype.kind in "iub":  # exact: integer sums stay far below 2⁵³
            wide: Any = np.float64
        elif left.dtype == np.float64:
            wide = np.float64
        else:
            wide = np.float32
            if left.dtype == np.float32 and input_precision == it._ir.INPUT_PRECISION.TF32:
                left, right = formats.truncate_tf32(left), formats.truncate_tf32(right)
        product = np.matmul(left.astype(wide), right.astype(wide))
        return it.TensorHandle(product.astype(c.data.dtype) + c.data, c.dtype.scalar)

    def observed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def operate(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            if State.observer is not None and result.data.size > 1:
                State.observer.operation(name, result.data.size)
            return result

        return operate

    builder.create_dot = dot
    builder.create_erf = lambda self, x: it.TensorHandle(
        libdevice.erf(np.ascontiguousarray(x.data)), x.dtype.scalar
    )
    for name in OPERATIONS:
        if hasattr(builder, "create_" + name):
            setattr(builder, "create_" + name, observed(name, getattr(builder, "create_" + name)))


def _repair_reductions(it: Any) -> None:
    """Reductions and scans over whole arrays at a time."""
    plain_sum, plain_extremes = it.ReduceOps.sum, it.ReduceOps.min_max
    plain_cumsum = it.ScanOps.cumsum

    def total(self: Any, value: Any) -> Any:
        data = value.handle.data
        if data.dtype not in (np.float16, BFLOAT16):
            return plain_sum(self, value)
        axis = self.axis
        result = formats.tree_sum(data.reshape(-1) if axis is None else data, axis or 0)
        if axis is None:
            result = result.reshape((1,) * data.ndim) if self.keep_dims else result[0]
        elif not self.keep_dims:
            result = result.squeeze(axis)
        return self.to_tensor(result, value.dtype)

    def extremes(self: Any, value: Any, val_reduce_op: Any, idx_reduce_op: Any = None) -> Any:
        if idx_reduce_op is not None:  # NumPy's refuse a row of NaN only
            lowest, plain = (
                (-np.inf, np.argmax) if idx_reduce_op is np.nanargmax else (np.inf, np.argmin)
            )

            def idx_reduce_op(data: Array, **axes: Any) -> Any:
                blank = np.isnan(data) if data.dtype.kind not in "iub" else False
                return plain(np.where(blank, np.asarray(lowest).astype(data.dtype), data), **axes)

        return plain_extremes(self, value, val_reduce_op, idx_reduce_op)

    def reduce(self: Any, inputs: Any) -> list[Any]:
        axis = self.axis or 0
        kinds = [x.dtype for x in inputs]
        shape = inputs[0].handle.data.shape
        parts = [x.handle.data.reshape(-1 if self.axis is None else shape) for x in inputs]
        while parts[0].shape[axis] > 1:
            pairs = [[np.take(p, range(i, p.shape[axis], 2), axis=axis) for p in parts]
                     for i in (0, 1)]  # fmt: skip
            parts = _combine(self, kinds, *pairs)
        if self.axis is None:
            parts = [p.reshape((1,) * len(shape)) if self.keep_dims else p[0] for p in parts]
        elif not self.keep_dims:
            parts = [p.squeeze(axis) for p in parts]
        return [self.to_tensor(p, k) for p, k in zip(parts, kinds, strict=True)]

    def scan(self: Any, inputs: Any) -> list[Any]:
        kinds = [x.dtype for x in inputs]
        parts = formats.tree_scan(
            [x.handle.data for x in inputs], self.axis, lambda a, b: _combine(self, kinds, a, b)
        )
        return [self.to_tensor(p, k) for p, k in zip(parts, kinds, strict=True)]

    def running_sum(self: Any, value: Any) -> list[Any]:
        data = value.handle.data
        if data.dtype not in (np.float16, BFLOAT16):
            return plain_cumsum(self, value)  # type: ignore[no-any-return]
        (result,) = formats.tree_scan([data], self.axis, lambda a, b: [a[0] + b[0]])
        return [self.to_tensor(result, value.dtype)]

    apply = it.ReduceScanOpInterface.apply

    def observed(self: Any, inputs: Any) -> Any:
        if State.observer is not None and isinstance(inputs, tuple):
            State.observer.reduction(inputs, isinstance(self, it.ScanOps))
        return apply(self, inputs)

    it.ReduceScanOpInterface.apply = observed
    it.ReduceOps.sum = total
    it.ReduceOps.min_max = extremes
    it.ReduceOps.generic_reduce = reduce
    it.ScanOps.generic_scan = scan
    it.ScanOps.cumsum = running_sum


def _combine(op: Any, kinds: list[Any], left: list[Array], right: list[Array]) -> list[Array]:
    """The user's combine function on whole arrays."""
    tensors = [op.to_tensor(p, k) for side in (left, right) for p, k in
               zip(side, kinds, strict=True)]  # fmt: skip
    result = op.combine_fn(*tensors)
    results = result if isinstance(result, tuple) else (result,)
    return [
        np.broadcast_to(r.handle.data, left[0].shape).astype(p.dtype)
        for r, p in zip(results, left, strict=True)
    ]


def _make_interpretable(it: Any, function: Any) -> None:
    """Patch the language modules that a function sees, once for the life of the process."""
    scope = function.__globals__
    modules = {id(value) for value in scope.values() if value is it.tl or value is it.tl.core}
    if not modules <= State.patched:
        it._patch_lang(function)
        # Triton 3.6 hands NumPy a vector of one where it wants a scalar.
        it.tl.tensor.__index__ = lambda self: int(self.handle.data.reshape(-1)[0])
        State.patched |= modules
        for module in (it.tl, it.tl.core):
            module.range = _steps
    if id(scope) not in State.patched:
        State.patched.add(id(scope))
        scope.setdefault("range", _steps)
        libdevice.install(scope, lambda function: _elementwise(it, function))


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
            name: value if name in self.constexprs else it._implicit_cvt(value)
            for name, value in bound.items()
        }
        grid = self.grid(bound) if callable(self.grid) else self.grid
        full = tuple(int(n) for n in (tuple(grid) + (1, 1, 1))[:3])
        it.interpreter_builder.set_grid_dim(*full)

        def run(program: Program) -> None:
            it.interpreter_builder.set_grid_idx(*program)
            self.fn(**values)

        with np.errstate(all="ignore"):
            State.execute(self.fn.__name__, full, run)
        self._restore_args_dev(arguments, args, options, kwargs)

    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        _make_interpretable(it, self.fn)
        return self.rewrite()(*arguments, **options)

    it.GridExecutor.__call__ = launch
    it.InterpretedFunction.__call__ = call
