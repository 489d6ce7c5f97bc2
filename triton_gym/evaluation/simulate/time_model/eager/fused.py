"""What `torch.compile` makes of a reference: elementwise operators and reductions grow together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.time_model.eager.kernel import Fusion, Kernel, distinct
from triton_gym.evaluation.simulate.time_model.eager.tensors import Operand


def fused(kernels: Sequence[Kernel], results: Iterable[int], gpu: Gpu) -> list[Kernel]:
    """The kernels that are left.

    Between two kernels that are called as they are (products, convolutions, attention, sorts,
    scatters) all others become one: it reads what it does not make, and writes what is needed
    after it. A reduction of everything to few numbers, which later ones wait for, ends one.

    Args:
        kernels: of the eager reference, in order.
        results: memory that the reference returns.
        gpu: that they would run on.
    """
    groups = list(_groups(kernels))
    needed = set(results)
    found: list[Kernel] = []
    for group in reversed(groups):
        joined = group[0] if group[0].fusion is Fusion.NONE else _joined(group, needed, gpu)
        needed |= {o.storage for o in joined.reads}
        if joined.writes or joined.reads:
            found.append(joined)
    return found[::-1]


def _groups(kernels: Sequence[Kernel]) -> Iterator[list[Kernel]]:
    group: list[Kernel] = []
    for kernel in kernels:
        if kernel.fusion is Fusion.NONE:
            if group:
                yield group
            yield [kernel]
            group = []
            continue
        group.append(kernel)
        if kernel.fusion is Fusion.WHOLE:
            yield group
            group = []
    if group:
        yield group


def _joined(group: Sequence[Kernel], needed: set[int], gpu: Gpu) -> Kernel:
    """One kernel for several, as long as its result is needed."""
    made: set[int] = set()
    reads: dict[tuple[int, int], Operand] = {}
    writes: dict[tuple[int, int], Operand] = {}
    hard = simple = 0.0
    for kernel in group:
        work = dict(kernel.work)
        hard += work.get("math_ps", 0.0) * (_ERF if kernel.name == "gelu" else 1)
        simple += max(work.get(name, 0.0) for name in ("vector_ps", "strided_ps", "reduce_ps"))
        for o in kernel.reads:
            if o.storage not in made and o.bytes > reads.get(o.place, _NOTHING).bytes:
                reads[o.place] = o
        made |= {o.storage for o in kernel.writes}
        writes |= {o.place: o for o in kernel.writes if o.storage in needed}
    row = max((kernel.row for kernel in group), default=0.0)
    taken = [_straight(o) for o in reads.values()]
    if row > _HELD:  # it is read a second time, from L2 if programs have not gone through too much
        most = max(distinct(reads.values()).values(), default=0.0)
        taken += [Operand(-1, most, most, most)] if most > gpu.l2_bytes / 2 else []
    return Kernel(
        "fused", tuple(taken), tuple(map(_straight, writes.values())),
        (("fused_math_ps", hard), ("fused_op_ps", simple)),
        memory="fused_rows" if row else "fused",
    )  # fmt: skip


_NOTHING = Operand(0, -1.0, 0.0, 0.0)
_ERF = 3
"""How many functions of many instructions an error function counts for."""
_HELD = 32768
"""Bytes of a row up to which a program keeps it in registers."""


def _straight(operand: Operand) -> Operand:
    """The same, read in the order of its memory: what Inductor generates is tiled."""
    return dataclasses.replace(operand, asked=operand.bytes)
