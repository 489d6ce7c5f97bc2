"""Gathers, scatters, embeddings, joins and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from triton_gym.evaluation.simulate.time_model.eager.call import Call
from triton_gym.evaluation.simulate.time_model.eager.kernel import Fusion, Kernel
from triton_gym.evaluation.simulate.time_model.eager.pointwise import copy, elementwise, fill
from triton_gym.evaluation.simulate.time_model.eager.tensors import (
    SECTOR,
    Operand,
    storage_of,
    whole,
)
from triton_gym.evaluation.simulate.time_model.slices import busiest_slice

_LINE = 128
"""Bytes of a line of L2, which one slice holds."""
_COPIERS = 32
"""Resident programs of a multiprocessor."""


def _picked(table: torch.Tensor, elements: float, run: float) -> Operand:
    """Elements of a table in runs of neighbours, in no order."""
    size = table.element_size()
    asked = elements / max(run, 1.0) * math.ceil(run * size / SECTOR) * SECTOR
    everything = float(table.numel() * size)
    return Operand(storage_of(table), min(asked, everything), asked, max(asked, everything))


def looked_up(call: Call) -> Sequence[Kernel]:
    """`x[index]`, `index_select`, `embedding`: whole rows by a program each, or single elements."""
    name, out = call.name, call.outputs[0]
    table = call.inputs[0]
    indices = [t for t in call.inputs[1:] if not t.is_floating_point()]
    kernels = []
    for place, index in enumerate(indices):
        if index.dtype not in (torch.int64, torch.bool, torch.uint8) and name != "embedding":
            wide = torch.empty(index.shape, dtype=torch.int64)
            kernels.append(copy(wide, index))
            indices[place] = wide
    n = float(out.numel())
    rows = max(float(max((i.numel() for i in indices), default=1)), 1.0)
    axis = call.argument(1, "dim") if name == "index_select" else 0
    leading = len(indices) == 1 and axis == 0 and (name != "index" or call.args[1][0] is not None)
    run = n / rows if leading and table.is_contiguous() else 1.0
    reads = (_picked(table, n, run), *map(whole, indices))
    if run * table.element_size() >= 2 * SECTOR and (run * table.element_size()) % 16 == 0:
        threads = min(math.ceil(run * table.element_size() / 16 / 32) * 32, 256)
        programs = rows * math.ceil(run * table.element_size() / 16 / threads)
        crowd = max(_COPIERS * threads / 2048, 1.0)  # larger ones are fewer at once
        return [*kernels, Kernel(name, reads, (whole(out),), (("row_ps", programs * crowd),))]
    return [*kernels, Kernel(name, reads, (whole(out),), (("strided_ps", n), ("gather_ps", n)))]


def gathered(call: Call) -> Sequence[Kernel]:
    """`gather`, `take_along_dim`: an element for each index."""
    table, index, out = call.inputs[0], call.inputs[1], call.outputs[0]
    n = float(out.numel())
    near = int(call.argument(1, "dim", -1)) % max(table.dim(), 1) == table.dim() - 1
    # Rows that are picked from many times lie in L1.
    dense = near and table.dim() > 0 and index.shape[-1] * 8 >= table.shape[-1]
    read = whole(table) if dense else _picked(table, n, 1.0)
    work = (("strided_ps", n), ("gather_ps", n))
    return [Kernel("gather", (read, whole(index)), (whole(out),), work)]


def put(call: Call) -> Sequence[Kernel]:
    """`index_put_`, `index_copy_`, `scatter_`, and the atomic ones that add or compare."""
    name, target, out = call.name.strip("_"), call.args[0], call.outputs[0]
    first = [] if call.func._schema.is_mutable else [copy(out, target)]
    values = [t for t in call.inputs[1:] if t.dtype == target.dtype] or list(call.inputs[1:])
    value = max(values, key=torch.Tensor.numel)
    indices = [t for t in call.inputs[1:] if not t.is_floating_point() and t is not value]
    places = float(max((i.numel() for i in indices), default=1))
    n, run = places, 1.0
    if name.startswith("index"):
        n = max(places, float(value.numel()))
        run = n / max(places, 1.0)
    moved = ((whole(value), *map(whole, indices)), (_picked(out, n, run),))
    words = [a for a in (*call.args, *call.kwargs.values()) if isinstance(a, str)]
    accumulated = name == "index_put" and bool(call.argument(3, "accumulate", False))
    if not ("add" in name or words or accumulated):
        key = "strided_ps" if name == "index_copy" else "put_ps"
        return [*first, Kernel(name, *moved, ((key, n),), fusion=Fusion.NONE)]
    swapped = (bool(words) and words[0] not in ("sum", "add")) or out.element_size() < 4
    lines = max(out.numel() * out.element_size() / _LINE, 1.0)
    each = n / min(run, SECTOR / 4) * busiest_slice(lines)
    work = (("atomic_ps", n), ("swap_ps" if swapped else "meeting_ps", each))
    return [*first, Kernel(name, *moved, work, fusion=Fusion.NONE)]


def bag(call: Call) -> Sequence[Kernel]:
    """`embedding_bag`: the rows of a bag one after the other."""
    table, index, out = call.inputs[0], call.inputs[1], call.outputs[0]
    n = float(index.numel() * table.shape[1])
    return [Kernel("embedding_bag", (_picked(table, n, table.shape[1]), whole(index)),
                   (whole(out),), (("bag_ps", n),), fusion=Fusion.NONE)]  # fmt: skip


def joined(call: Call) -> Sequence[Kernel]:
    """`cat` and `stack` (Shape.cu): along the first axis as they lie, else by index computation.

    Every part has as many programs, so that the largest ends last.
    """
    out = call.outputs[0]
    parts = [t for t in call.inputs if t.numel()]
    axis = int(call.argument(1, "dim", 0)) % max(out.dim(), 1)
    n = float(out.numel())
    outer = math.prod(out.shape[:axis])
    straight = outer == 1 and all(t.is_contiguous() for t in parts)
    longest = float(max((t.numel() for t in parts), default=0))
    work = (("vector_ps", n),) if straight else (("cat_ps", longest),)
    return [Kernel("cat", tuple(map(whole, parts)), (whole(out),), work)]


def padded(call: Call) -> Sequence[Kernel]:
    """`constant_pad_nd`: a fill, and a copy into the middle."""
    source, out = call.inputs[0], call.outputs[0]
    pad = call.argument(1, "pad")
    inner = out
    for place in range(len(pad) // 2):
        axis, low = out.dim() - 1 - place, max(int(pad[2 * place]), 0)
        inner = inner.narrow(axis, low, source.shape[axis])
    return [fill(out), copy(inner, source)]


def flipped(call: Call) -> Sequence[Kernel]:
    """`flip`, `roll`: elements by computed places."""
    return [elementwise(call.name, call.outputs, call.inputs[:1], (("strided_ps", 1.0),))]


def triangle(call: Call) -> Sequence[Kernel]:
    """`tril` and `triu`."""
    source, out = call.inputs[0], call.outputs[0]
    work = (("strided_ps", float(out.numel())),)
    return [Kernel(call.name, (whole(source),), (whole(out),), work)]
