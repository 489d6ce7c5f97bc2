"""Dots, elementary functions and reductions of the interpreter, as a GPU computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter import formats, libdevice
from triton_gym.evaluation.simulate.interpreter.formats import BFLOAT16, Array
from triton_gym.evaluation.simulate.interpreter.state import State

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


def repair_arithmetic(it: Any) -> None:
    """Dots on the BLAS with the GPU's precision, a vectorised erf, and masks that stay masks."""
    builder = it.InterpreterBuilder
    make_splat = builder.create_splat

    def splat(self: Any, *arguments: Any) -> Any:
        # What a comparison of scalars returns has the type of what it compared, and a block made
        # of it would be one of integers: no mask.
        block, scalar = make_splat(self, *arguments), arguments[-1]
        if scalar.data.dtype == np.bool_ and block.data.dtype != np.bool_:
            return it.TensorHandle(block.data.astype(np.bool_), it.tl.int1)
        return block

    def dot(self: Any, a: Any, b: Any, c: Any, input_precision: Any, *rest: Any) -> Any:
        if State.observer and not State.observer.dot(a, b, c, input_precision.name):
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

    builder.create_splat = splat
    builder.create_dot = dot
    builder.create_erf = lambda self, x: it.TensorHandle(
        libdevice.erf(np.ascontiguousarray(x.data)), x.dtype.scalar
    )
    for name in OPERATIONS:
        if hasattr(builder, "create_" + name):
            setattr(builder, "create_" + name, observed(name, getattr(builder, "create_" + name)))


def repair_reductions(it: Any) -> None:
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
            largest = idx_reduce_op in (np.argmax, np.nanargmax)  # Triton 3.6, 3.9
            lowest, plain = (-np.inf, np.argmax) if largest else (np.inf, np.argmin)

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
            pairs = [[_every_other(p, axis, i) for p in parts] for i in (0, 1)]
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


def _every_other(data: Array, axis: int, first: int) -> Array:
    """Every other element along an axis, in an array of its own."""
    return np.ascontiguousarray(np.moveaxis(np.moveaxis(data, axis, 0)[first::2], 0, axis))


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
