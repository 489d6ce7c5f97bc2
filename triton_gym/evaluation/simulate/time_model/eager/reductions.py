"""Reductions, softmax and norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.time_model.eager.call import Call
from triton_gym.evaluation.simulate.time_model.eager.kernel import Fusion, Kernel
from triton_gym.evaluation.simulate.time_model.eager.pointwise import elementwise
from triton_gym.evaluation.simulate.time_model.eager.tensors import SECTOR, whole

_THREADS = 2048
"""Resident threads of a multiprocessor."""
_BLOCK = 512
"""Threads of a program of `reduce_kernel` (Reduce.cuh), of group norm's and of batch norm's."""
_STEP = 512
"""Values that a program of layer norm goes through at once: 128 threads, four each."""
_BATCH_PASSES = 3.5
"""What cuDNN's batch norm reads comes to, in times of its source: the same published times."""
_FEW = 64
"""Results up to which a reduction has too few rows to go on with in the same kernel."""
_WARP_ROW = 1024
"""Longest row, in elements, that PyTorch's softmax holds in one warp (SoftMax.cu)…"""
_WARP_BYTES = 4096
"""…and in bytes."""
_SHARED_ROW = 200 << 10
"""Bytes of a row that softmax keeps in shared memory; longer ones are read three times."""


def reduced(call: Call) -> Sequence[Kernel]:
    """Sums, means, extrema, norms, variances."""
    name, source = call.name, call.inputs[0]
    dtype = call.kwargs.get("dtype")
    extra: list[tuple[str, float]] = []
    if name in ("argmax", "argmin") or (name in ("max", "min") and len(call.outputs) > 1):
        extra.append(("argument_ps", float(source.numel())))
    if name.startswith(("var", "std")):
        extra.append(("welford_ps", float(source.numel())))
    if dtype is not None and dtype != source.dtype and source.element_size() > 2:
        extra.append(("cast_ps", 0.25 * source.numel()))
    axes = _reduced_axes(call, source)
    return [reduction(name, source, call.outputs, axes, call.gpu, extra)]


def _reduced_axes(call: Call, source: torch.Tensor) -> tuple[int, ...]:
    place = 2 if call.name.endswith("vector_norm") or call.name == "norm" else 1
    dim = call.argument(place, "dim")
    if isinstance(dim, int) and not isinstance(dim, bool):
        dim = [dim]
    if not isinstance(dim, (list, tuple)) or not dim or not source.dim():
        return tuple(range(source.dim()))
    return tuple(d % source.dim() for d in dim)


def reduction(
    name: str, source: torch.Tensor, outputs: Sequence[torch.Tensor], axes: Sequence[int],
    gpu: Gpu, extra: Sequence[tuple[str, float]] = (),
) -> Kernel:  # fmt: skip
    """One `reduce_kernel`.

    Along rows a warp or more reduces each result. Across rows neighbouring threads have
    neighbouring columns, and up to 16 of a program share one; few columns are split over programs,
    of which the last joins what the others found (`setReduceConfig` of Reduce.cuh).
    """
    length = math.prod(source.shape[a] for a in axes)
    results = max(source.numel() // max(length, 1), 1)
    strides = [(abs(source.stride(a)), a) for a in range(source.dim()) if source.shape[a] > 1]
    across = bool(strides) and min(strides)[1] not in axes
    waits: list[tuple[str, float]] = []
    share = 16 if across else 32
    block = min(_power(length if across else max(length // 4, 1)), share)
    if results * block < _BLOCK and not across:
        block = min(_power(max(length // 4, 1)), _BLOCK)
    places = gpu.multiprocessors * _THREADS
    generations = results * block / places
    waits.append(("reduce_wave_us", max(generations - 1, 0.0)))
    if across:
        programs = max(results / 128, 1.0)
        parts = _parts(programs, length / 4, gpu)
        waits.append(("join_us", parts / 4 if parts > 1 else 0.0))
    elif results * block < places / 2:
        waits.append(("join_us", 4.0))
    return Kernel(
        name, (whole(source),), tuple(map(whole, outputs)),
        (("reduce_ps", float(source.numel())), *extra), tuple(waits),
        memory="reduce_memory", fusion=Fusion.REDUCTION if results > _FEW else Fusion.WHOLE,
        row=0.0 if across else float(length * source.element_size()),
    )  # fmt: skip


def _parts(programs: float, values: float, gpu: Gpu) -> float:
    """Over how many programs one result is split."""
    if values < 256:
        return 1.0
    wanted = gpu.multiprocessors * 16 / programs
    return max(min(wanted, values / 16), values / 256)


def _power(value: int) -> int:
    return 1 << max(int(value).bit_length() - 1, 0)


def logsumexp(call: Call) -> Sequence[Kernel]:
    """The largest value, the differences, their exponentials, their sum, and five small kernels."""
    source, out = call.inputs[0], call.outputs[0]
    axes = _reduced_axes(call, source)
    shape = [1 if a in axes else n for a, n in enumerate(source.shape)]
    largest, apart = source.new_empty(shape), torch.empty_like(source)
    small = [elementwise("small", [largest], [largest]) for _ in range(5)]
    return [
        reduction("amax", source, [largest], axes, call.gpu), *small[:3],
        elementwise("sub", [apart], [source, largest]),
        elementwise("exp", [apart], [apart], (("math_ps", 1.0),)),
        reduction("sum", apart, [out], axes, call.gpu), *small[3:],
    ]  # fmt: skip


def softmax(call: Call) -> Sequence[Kernel]:
    """Softmax and log-softmax."""
    source, out = call.inputs[0], call.outputs[0]
    axis = int(call.argument(1, "dim", -1)) % max(source.dim(), 1)
    length = source.shape[axis] if source.dim() else 1
    n, size = float(source.numel()), source.element_size()
    inner = math.prod(source.shape[axis + 1 :])
    hard = (("double_ps", n),) if source.dtype is torch.float64 else ()
    if inner == 1 and length <= _WARP_ROW and length * size <= _WARP_BYTES:
        return [Kernel("softmax", (whole(source),), (whole(out),),
                       (("warp_softmax_ps", n), *hard), fusion=Fusion.REDUCTION)]  # fmt: skip
    passes = 1.0 if length * size <= _SHARED_ROW and inner == 1 else 3.0
    if inner > 1:  # cunn_SpatialSoftMaxForward: every pass in L2 at best
        hard = (*hard, ("strided_ps", n))
    return [Kernel("softmax", (whole(source, passes),), (whole(out),), hard,
                   (("softmax_ps", n / 1e6),), fusion=Fusion.REDUCTION,
                   row=float(length * size))]  # fmt: skip


def row_norm(name: str, source: torch.Tensor, outputs: Sequence[torch.Tensor], length: int,
             others: Sequence[torch.Tensor], gpu: Gpu, share: float = 1.0) -> Kernel:  # fmt: skip
    """Layer norm, and RMS norm, which adds up half as much: a program of 128 threads a row."""
    n = float(source.numel())
    rows = n / max(length, 1)
    # Programs enough hide what each waits for: then what all of them add up counts.
    steps = length / _STEP * share if rows < gpu.multiprocessors * 16 else 0.0
    return Kernel(
        name, (whole(source), *map(whole, others)), tuple(map(whole, outputs)),
        (("vector_ps", n), ("norm_step_us", steps * 1e6)),
        (("norm_ps", n * share / 1e6), ("norm_wave_us", share * rows / (gpu.multiprocessors * 16))),
        fusion=Fusion.REDUCTION, row=float(length * source.element_size()),
    )  # fmt: skip


def layer_norm(call: Call) -> Sequence[Kernel]:
    """`native_layer_norm`."""
    source = call.inputs[0]
    length = math.prod(call.argument(1, "normalized_shape"))
    return [row_norm("layer_norm", source, call.outputs, length, call.inputs[1:], call.gpu)]


def group_norm(call: Call) -> Sequence[Kernel]:
    """Moments, a program a group; factors of each channel; and an elementwise kernel."""
    source, out = call.inputs[0], call.outputs[0]
    images, channels, pixels, groups = (int(call.args[i]) for i in (3, 4, 5, 6))
    length = channels // groups * pixels
    factors = source.new_empty((images * channels, 1), dtype=torch.float32)
    lanes = _BLOCK if length >= _BLOCK else 32
    waves = math.ceil(images * groups * lanes / (call.gpu.multiprocessors * _THREADS))
    flat, result = (torch.empty((images * channels, pixels), dtype=t.dtype) for t in (source, out))
    scaled = elementwise("scale", [result], [flat, factors, factors], casts=0)
    return [
        Kernel("moments", (whole(source),), (), (), (("moment_us", waves * length / lanes),),
               fusion=Fusion.REDUCTION, row=float(length * source.element_size())),
        elementwise("factors", [factors], [factors]),
        Kernel("scale", (whole(source), *scaled.reads[1:]), (whole(out),), scaled.work),
    ]  # fmt: skip


def batch_norm(call: Call) -> Sequence[Kernel]:
    """Statistics and scaling of each channel; cuDNN's where weights are float32."""
    source, out = call.inputs[0], call.outputs[0]
    training = bool(next((a for a in call.args[3:] if isinstance(a, bool)), False))
    channels = source.shape[1] if source.dim() > 1 else 1
    length = source.numel() / max(channels, 1)
    weight = call.argument(1, "weight")
    if not training:
        factors = source.new_empty((channels, *(1 for _ in source.shape[2:])))
        return [elementwise("batch_norm", [out], [source, *[factors] * 4], casts=0)]
    if weight is not None and weight.dtype is torch.float32:
        return [Kernel("batch_norm", (whole(source, _BATCH_PASSES),), (whole(out),), (), (),
                       memory="reduce_memory", fusion=Fusion.REDUCTION)]  # fmt: skip
    steps = math.ceil(channels * _BLOCK / (call.gpu.multiprocessors * _THREADS)) * length / _BLOCK
    return [
        Kernel("statistics", (whole(source),), (), (), (("moment_us", steps),),
               fusion=Fusion.REDUCTION, row=length * source.element_size()),
        Kernel("scale", (whole(source),), (whole(out),), (), (("moment_us", 0.8 * steps),)),
    ]  # fmt: skip


def cross_entropy_picks(call: Call) -> Sequence[Kernel]:
    """`nll_loss`: one value a row; a mean is the work of a single program."""
    source, target = call.inputs[0], call.inputs[1]
    rows = float(target.numel())
    out = call.outputs[0]
    alone = 0.0 if out.numel() > 1 else rows / 1024
    picked = target.new_empty(target.shape, dtype=source.dtype)
    reads = (whole(target), whole(picked, SECTOR / picked.element_size()))
    waits = (("moment_us", alone),)
    return [Kernel("nll_loss", reads, (whole(out),), (), waits, fusion=Fusion.REDUCTION)]


def loss(call: Call) -> Sequence[Kernel]:
    """`mse_loss` and its like: every pair's, then their sum or mean."""
    source, out = call.inputs[0], call.outputs[0]
    pairs = torch.empty_like(source)
    each = elementwise(call.name, [pairs], call.inputs)
    if out.numel() == source.numel() and out.dim():
        return [each]
    return [each, reduction("mean", pairs, [out], tuple(range(source.dim())), call.gpu)]
