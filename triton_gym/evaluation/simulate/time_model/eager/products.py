"""Matrix products, convolutions, poolings and attention: cuBLAS, cuDNN and PyTorch's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import flop_registry

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.time_model.eager.call import Call
from triton_gym.evaluation.simulate.time_model.eager.kernel import Fusion, Kernel
from triton_gym.evaluation.simulate.time_model.eager.pointwise import copy, elementwise
from triton_gym.evaluation.simulate.time_model.eager.tensors import whole

_UNCOUNTED = ("int_mm", "grouped_mm", "scaled_mm", "mv", "dot", "addmv")
"""Products whose FLOPs PyTorch does not count."""
_FULL = 128
"""Filters from which on a convolution fills its tiles; tile of attention."""
_NARROW_HEAD = 64
"""Size of a head; of twice that size attention is as fast as it gets."""


def product(call: Call) -> Sequence[Kernel]:
    """`mm`, `bmm`, `addmm`, `mv`, int8 and grouped products."""
    name, out = call.name, call.outputs[0]
    packet = call.func._overloadpacket
    if packet in flop_registry and name not in _UNCOUNTED:
        flops = float(flop_registry[packet](*call.args, **call.kwargs, out_val=out))
    else:
        first, second = [t for t in call.inputs if t.dim() > 0][-3 if name == "addmv" else 0 :][:2]
        flops = 2.0 * first.numel() * (second.shape[-1] if second.dim() > 1 else 1)
    kind = call.inputs[-1 if name != "grouped_mm" else 0].dtype
    kernels: list[Kernel] = []
    biased = name in ("addmm", "baddbmm", "addmv") and call.inputs[0].shape == out.shape
    if biased and name == "baddbmm":
        kernels.append(copy(out, call.inputs[0]))
    return [*kernels, Kernel(
        name, tuple(map(whole, call.inputs)), (whole(out),), (), (("product_us", 1.0),),
        products=(_at_peak(call, flops, kind),), memory="product_memory", fusion=Fusion.NONE,
    )]  # fmt: skip


def _at_peak(call: Call, flops: float, dtype: torch.dtype) -> tuple[str, float]:
    """Which share of which peak a product reaches, and its microseconds at that peak.

    PyTorch multiplies float32 matrices on the vector units unless told otherwise.
    """
    if dtype.is_complex or dtype in (torch.float32, torch.float64):
        return "product_vector", flops / call.gpu.vector_tflops / 1e6
    name = str(dtype).removeprefix("torch.") if dtype.is_floating_point else "int8"
    share = "product" if dtype.is_floating_point else "product_integer"
    return share, flops / call.gpu.peak_tflops(name, matrix=True) / 1e6


def convolution(call: Call) -> Sequence[Kernel]:
    """cuDNN's convolutions, float32 in tf32 as PyTorch allows; depthwise ones are PyTorch's own."""
    source, weight, out = call.inputs[0], call.inputs[1], call.outputs[0]
    groups = int(call.args[8]) if len(call.args) > 8 else 1
    window = list(weight.shape[2:])
    taps = math.prod(window)
    moved = (tuple(map(whole, call.inputs)), (whole(out),))
    biased: list[Kernel] = []
    if isinstance(call.argument(2, "bias"), torch.Tensor):
        shape = (1, out.shape[1], *(1 for _ in window))
        biased = [elementwise("bias", [out], [out, out.new_empty(shape)])]
    if groups > 1 and weight.shape[1] == 1:
        square = len(window) == 2 and window[0] == window[1] and window[0] in (1, 3, 5)
        n = float(out.numel())
        work = (
            (("depthwise_ps", n * taps),) if square else (("generic_ps", n), ("tap_ps", n * taps))
        )
        return [Kernel("depthwise", *moved, work, fusion=Fusion.NONE), *biased]
    transposed = bool(call.argument(6, "transposed", False))
    results = source.numel() if transposed else out.numel()
    flops = 2.0 * results * taps * weight.shape[1]
    filled = math.sqrt(min(out.shape[1] / groups / _FULL, 1.0))
    share, peak = _conv_rate(call, source, len(window), groups)
    deep = min(weight.shape[1] * taps / 64, 1.0)
    us = flops / (peak * filled * deep) / 1e6 * _uneven(out, call.gpu)
    turned = [] if _agree(source, weight) else [_laid_anew(weight)]
    flat = source.is_contiguous() and source.shape[1] > 1
    if share != "convolution_vector" and taps > 1 and flat:
        turned += [_laid_anew(source), _laid_anew(out)]
    run = Kernel("convolution", *moved, (), (("product_us", 1.0),), ((share, us),),
                 memory="product_memory", fusion=Fusion.NONE)  # fmt: skip
    return [*turned, run, *biased]


def _conv_rate(call: Call, source: torch.Tensor, axes: int, groups: int) -> tuple[str, float]:
    """Which share of which peak a convolution reaches.

    cuDNN takes the vector units for float32 with groups, with channels that are no multiple of
    four, and mostly for transposed convolutions of three axes.
    """
    dtype = str(source.dtype).removeprefix("torch.")
    across = (
        axes == 3 and call.argument(6, "transposed", False) and call.outputs[0].shape[1] < _FULL
    )
    if source.dtype is torch.float32 and (across or groups > 1 or source.shape[1] % 4):
        return "convolution_vector", call.gpu.vector_tflops
    peak = call.gpu.peak_tflops(dtype, matrix=dtype != "float64")
    return ("convolution_tf32" if source.dtype is torch.float32 else "convolution"), peak


def _laid_anew(tensor: torch.Tensor) -> Kernel:
    """cuDNN's own copy into the layout that its kernels take, through shared memory."""
    n = float(tensor.numel())
    return Kernel("layout", (whole(tensor),), (whole(torch.empty_like(tensor)),),
                  (("vector_ps", n),), fusion=Fusion.NONE)  # fmt: skip


def _uneven(out: torch.Tensor, gpu: Gpu) -> float:
    """How much longer the last of the multiprocessors has work: tiles of 128 × 128."""
    pixels = out.numel() / max(out.shape[1], 1)
    tiles = math.ceil(pixels / _FULL) * math.ceil(out.shape[1] / _FULL)
    return math.ceil(tiles / gpu.multiprocessors) * gpu.multiprocessors / tiles


def _agree(source: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether weights lie as the source does, so that cuDNN takes them as they are."""
    if source.dim() != 4:
        return weight.is_contiguous()
    layout = torch.channels_last
    if source.is_contiguous(memory_format=layout) and source.shape[1] > 1:
        return weight.is_contiguous(memory_format=layout)
    return weight.is_contiguous()


def pooled(call: Call) -> Sequence[Kernel]:
    """Poolings: each result adds up its window."""
    source, out = call.inputs[0], call.outputs[0]
    window = call.argument(1, "kernel_size")
    if "adaptive" in call.name:
        taps = source.numel() / max(out.numel(), 1)
    else:
        sides = window if isinstance(window, (list, tuple)) else [window]
        taps = float(math.prod(sides))
        dims = 3 if "3d" in call.name else 2 if "2d" in call.name else 1
        taps = taps**dims if len(sides) == 1 else taps
    key = "place_ps" if "max" in call.name or "3d" in call.name else "tap_ps"
    return [Kernel(call.name, (whole(source),), tuple(map(whole, call.outputs)),
                   (("strided_ps", float(out.numel())), (key, out.numel() * taps)),
                   fusion=Fusion.NONE)]  # fmt: skip


def attention(
    call: Call, mask: torch.Tensor | None, *, causal: bool
) -> Sequence[Kernel]:  # fmt: skip
    """Fused attention of (…, queries, d) to (…, keys, d).

    Without a mask it is cuDNN's or FlashAttention's, with one the memory-efficient one. A boolean
    mask becomes a bias first.
    """
    query, key = call.inputs[0], call.inputs[1]
    value, out = call.inputs[2], call.outputs[0]
    keys, head = int(key.shape[-2]), int(query.shape[-1])
    kernels: list[Kernel] = []
    if mask is not None and mask.dtype is torch.bool:
        bias, number = torch.empty(mask.shape, dtype=query.dtype), query.new_empty(())
        kernels = [elementwise("where", [bias], [mask, number, number], casts=0)]
        mask = bias
    flops = 2.0 * query.numel() * keys + 2.0 * out.numel() * keys
    if causal and query.shape[-2] > 1:
        flops *= 0.5 * (1 + _FULL / keys) if keys > _FULL else 1.0
    dtype, half = str(query.dtype).removeprefix("torch."), query.element_size() == 2
    us = flops / call.gpu.peak_tflops(dtype, matrix=half) / 1e6 * (1 + 0.4 * _FULL / keys)
    wide = min(max(head / _NARROW_HEAD - 1, 0.0), 1.0)
    shares: tuple[tuple[str, float], ...]
    if not half:
        shares = (("attention_vector", us),)
    elif mask is not None:
        shares = (("attention_masked", us),)
    else:
        narrow = us * (1 - wide) / min(head / _NARROW_HEAD, 1.0)
        shares = (("attention", us * wide), ("attention_narrow", narrow))
    alone = query.shape[-2] == 1  # bound by the keys and values that it reads
    reads = [whole(t) for t in (query, key, value, *([mask] if mask is not None else []))]
    return [*kernels, Kernel("attention", tuple(reads), (whole(out),), (),
                             (("product_us", 1.0),),
                             products=() if alone else shares,
                             memory="product_memory", fusion=Fusion.NONE)]  # fmt: skip
