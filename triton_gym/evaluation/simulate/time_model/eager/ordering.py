"""Scans, sorts and searches for the largest values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from triton_gym.evaluation.simulate.time_model.eager.call import Call
from triton_gym.evaluation.simulate.time_model.eager.kernel import Fusion, Kernel
from triton_gym.evaluation.simulate.time_model.eager.pointwise import copy
from triton_gym.evaluation.simulate.time_model.eager.tensors import whole

_BLOCK_SORT = 4096
"""Longest row that one program sorts (Sort.cu); longer ones take passes through memory."""
_LEAST_SORT = 1024
"""A program sorts at least so many places, however short the row is, beyond `_WARP_SORT`."""
_WARP_SORT = 128
"""Longest row that a warp sorts by merging."""
_DIGIT_BITS = 8
"""Bits of a key that a pass through memory orders by (CUB's onesweep radix sort)."""
_SELECT_BITS = 2
"""Bits of a value that a pass of `radixSelect` decides (SortingRadixSelect.cuh)."""
_PLACES = 2048
"""Resident threads of a multiprocessor."""


def scanned(call: Call) -> Sequence[Kernel]:
    """`cumsum`, `cumprod`, `cummax` and the like (ScanUtils.cuh)."""
    source, outputs = call.inputs[0], call.outputs
    axis = int(call.argument(1, "dim")) % max(source.dim(), 1)
    n, length = float(source.numel()), source.shape[axis] if source.dim() else 1
    moved = (tuple(map(whole, (source,))), tuple(map(whole, outputs)))
    pairs = len(outputs) > 1 or call.name == "logcumsumexp"
    if source.numel() == length and not pairs:  # one row: CUB's scan over all programs
        return [Kernel("scan", *moved, memory="reduce_memory", waits=(("join_us", 10.0),),
                       fusion=Fusion.NONE)]  # fmt: skip
    inner = math.prod(source.shape[axis + 1 :])
    if inner == 1:
        work = (("scan_pair_ps" if pairs else "scan_ps", n),)
        return [Kernel("scan", *moved, work, fusion=Fusion.REDUCTION)]
    waves = math.ceil(n / length / (call.gpu.multiprocessors * _PLACES))
    return [Kernel("scan", *moved, (), (("scan_step_us", waves * length),), fusion=Fusion.NONE)]


def sorted_(call: Call) -> Sequence[Kernel]:
    """`sort`, `argsort`, `msort`, and what is built on them."""
    source = call.inputs[0]
    dims = [a for a in (*call.args[1:], call.kwargs.get("dim")) if type(a) is int]
    axis = (dims[0] if dims else -1) % max(source.dim(), 1)
    length = source.shape[axis] if source.dim() else 1
    rows, size = source.numel() / max(length, 1), source.element_size()
    kernels = _turned(source, axis, call.outputs)
    if length <= _BLOCK_SORT:
        padded = max(_padded(length), _LEAST_SORT) if length > _WARP_SORT else _padded(length)
        # A program has a thread for 32 places: with more of them it waits more for itself.
        work = (("sort_ps", rows * padded * size * max(padded / _LEAST_SORT, 1.0) ** 0.25),)
        return [
            *kernels, Kernel("sort", (whole(source),), tuple(map(whole, call.outputs)), work,
                             fusion=Fusion.NONE),
        ]  # fmt: skip
    digits = math.ceil(8 * size / _DIGIT_BITS)
    sweeps = digits if rows <= 1 else 2 * digits  # rows are kept apart by a second sort
    both = tuple(map(whole, call.outputs))
    one = Kernel("sort", both, both, (("vector_ps", source.numel() * 2.0),),
                 (("join_us", 10.0),), memory="reduce_memory", fusion=Fusion.NONE)  # fmt: skip
    return [*kernels, *[one] * (sweeps + 2)]


def _turned(source: torch.Tensor, axis: int, outputs: Sequence[torch.Tensor]) -> list[Kernel]:
    """Copies that make a row lie in one piece."""
    if not source.dim() or source.stride(axis) == 1 or source.shape[axis] <= 1:
        return []
    lying = source.transpose(axis, -1)
    return [copy(torch.empty(lying.shape, dtype=t.dtype), lying) for t in outputs]


def largest(call: Call) -> Sequence[Kernel]:
    """`topk`, `kthvalue`, `median`: radix selection, a program a row; `topk` then sorts what it
    found (TensorTopK.cu)."""
    source, outputs = call.inputs[0], call.outputs
    axis = call.argument(2 if call.name in ("topk", "kthvalue") else 1, "dim", -1)
    axis = axis % max(source.dim(), 1) if type(axis) is int else source.dim() - 1
    length = source.shape[axis] if source.dim() else 1
    rows = source.numel() / max(length, 1)
    threads = min(math.ceil(length / 32) * 32, 1024)
    waves = math.ceil(rows * threads / (call.gpu.multiprocessors * _PLACES))
    passes = 8 * source.element_size() / _SELECT_BITS + 2
    steps = waves * passes * max(length / 1024 / 4, 1.0)
    moved = tuple(map(whole, outputs))
    found = Kernel("select", (whole(source),), moved, (), (("select_us", steps),),
                   fusion=Fusion.NONE)  # fmt: skip
    kernels = [*_turned(source, axis, outputs[:1]), found]
    if call.name == "topk":
        places = rows * _padded(outputs[0].shape[axis] if outputs[0].dim() else 1)
        work = (("sort_ps", places * source.element_size()),)
        kernels.append(Kernel("sort", moved, moved, work, fusion=Fusion.NONE))
    return kernels


def _padded(length: int) -> int:
    """Places that a row takes where powers of two are sorted."""
    return 1 << max(math.ceil(math.log2(max(length, 2))), 5)


def searched(call: Call) -> Sequence[Kernel]:
    """`searchsorted` and `bucketize`: dependent looks of every value."""
    length = max((t.shape[-1] for t in call.inputs if t.dim()), default=1)
    steps = math.log2(max(length, 2))
    return [
        Kernel(call.name, (whole(call.inputs[-1]),), tuple(map(whole, call.outputs)),
               (("gather_ps", steps * call.outputs[0].numel()),), (("select_us", steps),))
    ]  # fmt: skip
