"""What the shape of an answer is made of, and the pieces that several styles share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from triton_gym.composition.graph import Graph, Step
from triton_gym.composition.kernel import (
    FLAT,
    Place,
    chain,
    function,
    loads,
    mentions,
    pointers,
    store,
)
from triton_gym.composition.plain import JIT, Subject

PROGRAMS = 1056
"""Programs of a grid-stride answer: eight on each multiprocessor of an H100."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of an answer; each style uses some of them."""

    block: int = 1024
    """Elements, or columns, that a program takes at once."""
    rows: int = 4
    """Rows that a program takes at once."""
    warps: int = 4
    tile: tuple[int, int, int] = (64, 64, 32)
    """Rows, columns and inner length of a matrix product's tile."""
    group: int = 8
    """Rows of tiles that are taken together."""


def indented(lines: Sequence[str]) -> list[str]:
    """Lines one level deeper."""
    return [f"    {line}" for line in lines]


def work(
    subject: Subject, steps: Sequence[Step], place: Place, *, first: str = "x", out: str = "out",
    reduced: bool = False,
) -> list[str]:  # fmt: skip
    """Load, compute and store: what happens to one block."""
    graph = subject.graph
    after = reduced or any(step.row and not step.row.keeps for step in steps)
    return [
        *loads(graph, steps, place, subject.dtype, first),
        *chain(graph, steps, place, first, reduced),
        store(place, after, out),
    ]


def flat_kernel(
    subject: Subject, steps: Sequence[Step], names: Sequence[str], label: str, *,
    first: str = "x", out: str = "out", above: str = JIT,
) -> tuple[str, list[str]]:  # fmt: skip
    """A kernel over stretches of memory, and the names of its size parameters.

    Args:
        subject: what for.
        steps: what it computes.
        names: parameters that it reads beside `first`.
        label: name of the kernel.
        first: what it starts from.
        out: what it writes.
        above: decorators.
    """
    body = [
        "i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
        "mask = i < n",
        *work(subject, steps, FLAT, first=first, out=out),
    ]
    sizes = ["n", "cols"] if mentions(body, "cols") else ["n"]
    parameters = [*pointers([first, *names, out]), *sizes, "BLOCK: tl.constexpr"]
    return function(label, parameters, body, above=above), sizes


def workspace(matmul: bool = False) -> str:
    """The allocation of a float32 intermediate of the size of the matrix."""
    shape = "(rows, cols)" if matmul else "x.shape"
    return f"tmp = torch.empty({shape}, device=x.device, dtype=torch.float32)"


def split_at(graph: Graph) -> int:
    """Where two kernels share a row graph: before its first row operator, or after it; 0: neither.

    After it only where the shape is kept.
    """
    first = next(i for i, step in enumerate(graph.steps) if step.row)
    if first:
        return first
    row = graph.steps[0].row
    return 1 if len(graph.steps) > 1 and row is not None and row.keeps else 0
