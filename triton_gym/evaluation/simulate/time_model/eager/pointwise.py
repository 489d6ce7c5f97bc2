"""Elementwise operators, copies, fills: what PyTorch's `TensorIterator` runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from triton_gym.evaluation.simulate.time_model.eager.call import Call
from triton_gym.evaluation.simulate.time_model.eager.kernel import Fusion, Kernel
from triton_gym.evaluation.simulate.time_model.eager.tensors import operand, walk, whole

_HARD = frozenset(
    [
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "celu",
        "cos",
        "cosh",
        "digamma",
        "elu",
        "erf",
        "erfc",
        "erfinv",
        "exp",
        "exp2",
        "expm1",
        "gelu",
        "hardswish",
        "lgamma",
        "log",
        "log10",
        "log1p",
        "log2",
        "log_sigmoid_forward",
        "logaddexp",
        "logit",
        "mish",
        "selu",
        "sigmoid",
        "silu",
        "sin",
        "sinh",
        "softplus",
        "tan",
        "tanh",
        "xlogy",
        "remainder",
        "fmod",
        "floor_divide",
    ]
)
"""Functions of many instructions."""
_SKIPPED = frozenset(
    [
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "unsafe_view",
        "view_as",
        "detach",
        "alias",
        "lift_fresh",
        "reshape_alias",
        "local_scalar_dense",
        "resize",
        "set",
        "as_strided_",
        "promote_types",
    ]
)
"""What launches nothing."""
_MADE = frozenset(
    [
        "zeros",
        "zeros_like",
        "ones",
        "ones_like",
        "full",
        "full_like",
        "fill",
        "fill_",
        "zero_",
        "zero",
        "new_zeros",
        "new_ones",
        "new_full",
        "arange",
        "scalar_tensor",
        "rand",
        "randn",
        "rand_like",
        "randn_like",
        "linspace",
        "eye",
        "tril_indices",
        "bernoulli",
        "uniform",
        "normal",
        "exponential",
        "random",
    ]
)
"""What writes without reading."""


def launches_nothing(call: Call) -> bool:
    """Whether a call is a view, or sets memory aside."""
    return getattr(call.func, "is_view", False) or call.name in _SKIPPED or not call.outputs


def elementwise(
    name: str, outputs: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor],
    extra: Sequence[tuple[str, float]] = (), *, casts: int | None = None,
) -> Kernel:  # fmt: skip
    """A kernel that computes every element of its outputs from those of its inputs.

    Args:
        name: of the operator.
        outputs: what it writes.
        inputs: what it reads.
        extra: what an element costs besides.
        casts: operands that it converts; None to find out by their dtypes.
    """
    inputs = list({id(t): t for t in inputs}.values())  # what is read twice is in L1
    way = walk(outputs, inputs)
    n = float(way.elements)
    if casts is None:
        casts = _casts(outputs, inputs)
    work = [("vector_ps", n)] if way.straight and not casts else [("strided_ps", n)]
    if not way.straight:
        work.append(("axis_ps", n * max(len(way.shape) - 1, 0) * len(way.strides)))
        work.append(("cast_ps", n * casts))
    elif casts:
        work = [("vector_ps", n), ("cast_ps", n * casts * 0.25)]
    numbers = [operand(t, way, i) for i, t in enumerate((*outputs, *inputs))]
    cut = len(outputs)
    return Kernel(
        name, tuple(numbers[cut:]), tuple(numbers[:cut]), (*work, *((k, v * n) for k, v in extra))
    )  # fmt: skip


def _casts(outputs: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> int:
    """Inputs that are converted to what is computed in, as operands of arithmetic are."""
    floats = [t for t in inputs if t.dim() > 0 or len(inputs) == 1]
    if len(floats) < 2:
        return 0
    common = floats[0].dtype
    for t in floats[1:]:
        common = torch.promote_types(common, t.dtype)
    return sum(t.dtype != common for t in floats)


def pointwise(call: Call) -> Sequence[Kernel]:
    """An elementwise operator."""
    name = call.name
    wide = any(t.dtype in (torch.float64, torch.complex128) for t in call.outputs)
    extra = []
    if name in _HARD or (name == "pow" and not _small_power(call)):
        extra.append(("math_ps", 1.0))
        if wide:
            extra.append(("double_ps", 1.0))
    if name == "pow" and isinstance(call.argument(1, "exponent"), torch.Tensor):
        extra.append(("power_ps", 1.0))
    inputs = call.inputs
    chosen = name in ("where", "masked_fill", "masked_fill_", "bitwise_and", "logical_and")
    return [elementwise(name, call.outputs, inputs, extra, casts=0 if chosen else None)]


def _small_power(call: Call) -> bool:
    exponent = call.argument(1, "exponent")
    return isinstance(exponent, int | float) and exponent in (0.5, 2, 3, -0.5, -1, -2)


def filled(call: Call) -> Sequence[Kernel]:
    """An operator that writes its result and reads nothing."""
    return [fill(t) for t in call.outputs if t.numel()]


def fill(tensor: torch.Tensor) -> Kernel:
    """A kernel that sets a tensor."""
    return Kernel("fill", (), (whole(tensor),), (("vector_ps", tensor.numel() * 0.5),))


def copy(target: torch.Tensor, source: torch.Tensor) -> Kernel:
    """A kernel that copies a tensor into another, and converts it if need be."""
    way = walk([target], [source])
    casts = int(source.dtype != target.dtype)
    if casts or not way.straight:
        return elementwise("copy", [target], [source], casts=casts)
    work = (("vector_ps", 0.5 * way.elements),)
    return Kernel("copy", (whole(source),), (whole(target),), work)


def copied(call: Call) -> Sequence[Kernel]:
    """`clone`, `copy_`, `to`, `contiguous` and the like."""
    if call.name in ("copy", "copy_"):
        return [copy(call.args[0], call.args[1])] if call.args[0].numel() else []
    if not call.inputs or not call.inputs[0].numel():
        return []
    return [copy(t, call.inputs[0].expand(t.shape)) for t in call.outputs]


def masked_fill(call: Call) -> Sequence[Kernel]:
    """A copy, then the places of the mask."""
    source, mask, target = call.args[0], call.args[1], call.outputs[0]
    placed = elementwise("masked_fill", [target], [target, mask], casts=0)
    if call.func._schema.is_mutable:
        return [placed]
    return [copy(target, source.expand(target.shape)), placed]


def repeated(call: Call) -> Sequence[Kernel]:
    """`repeat`: a copy of a source that is broadcast."""
    target, source = call.outputs[0], call.inputs[0]
    n = float(target.numel())
    if not n:
        return []
    work = (("strided_ps", n), ("axis_ps", 4.0 * n))
    return [Kernel("repeat", (whole(source),), (whole(target),), work)]


def is_made(call: Call) -> bool:
    """Whether a call writes without reading."""
    return call.name in _MADE or call.name.rstrip("_") in _MADE


def unknown(call: Call) -> Sequence[Kernel]:
    """What is not known better: every tensor once, elements as they lie."""
    n = float(max((t.numel() for t in (*call.inputs, *call.outputs)), default=0))
    return [
        Kernel(call.name, tuple(map(whole, call.inputs)), tuple(map(whole, call.outputs)),
               (("strided_ps", n),), fusion=Fusion.NONE)
    ]  # fmt: skip
