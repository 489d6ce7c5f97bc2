"""The plainest correct answer to each kind of graph: one pass, nothing kept in memory between."""

from __future__ import annotations

from dataclasses import dataclass

from triton_gym.composition.graph import Graph, Kind
from triton_gym.composition.kernel import (
    FLAT,
    ROW,
    TILE,
    chain,
    function,
    loads,
    mentions,
    module,
    pointers,
    store,
    used,
)

JIT = "@triton.jit"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an answer is written for."""

    graph: Graph
    name: str
    """Of the host function."""
    dtype: str
    """Of all parameters: name of a torch dtype."""


def plain(subject: Subject, *, block: int = 512, warps: int = 4) -> str:
    """An answer to any graph.

    Args:
        subject: what for.
        block: elements a program of an elementwise graph takes.
        warps: of every program.
    """
    if subject.graph.kind is Kind.MATMUL:
        return tiles(subject, warps=warps)
    if subject.graph.kind is Kind.ROWS:
        return rows(subject, warps=warps)
    return flat(subject, block=block, warps=warps)


def launch(warps: int) -> str:
    """The launch option, where it is not Triton's own choice of 4."""
    return "" if warps == 4 else f", num_warps={warps}"


def result(subject: Subject) -> str:
    """The allocation of the result of a graph that starts from `x`."""
    if subject.graph.reduced:
        return "out = torch.empty(rows, device=x.device, dtype=x.dtype)"
    return "out = torch.empty_like(x)"


def flat(subject: Subject, *, block: int, warps: int) -> str:
    """Elementwise: a program takes a stretch of memory."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "x")
    body = [
        "i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
        "mask = i < n",
        *loads(graph, graph.steps, FLAT, subject.dtype),
        *chain(graph, graph.steps, FLAT),
        store(FLAT, False),
    ]
    sizes = ["n", "cols"] if mentions(body, "cols") else ["n"]
    parameters = [*pointers(["x", *names, "out"]), *sizes, "BLOCK: tl.constexpr"]
    arguments = ", ".join(["x", *names, "out", "n", *(["x.shape[1]"] if len(sizes) > 1 else [])])
    host = [
        result(subject),
        "n = x.numel()",
        f"{name}_kernel[(triton.cdiv(n, {block}),)]({arguments}, BLOCK={block}{launch(warps)})",
        "return out",
    ]
    return module(
        function(f"{name}_kernel", parameters, body, above=JIT),
        function(name, graph.parameters, host),
    )


def rows(subject: Subject, *, warps: int) -> str:
    """A program takes one row, whole."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "x")
    body = [
        "row = tl.program_id(0)",
        "col = tl.arange(0, BLOCK)",
        "mask = col < cols",
        *loads(graph, graph.steps, ROW, subject.dtype),
        *chain(graph, graph.steps, ROW),
        store(ROW, graph.reduced),
    ]
    parameters = [*pointers(["x", *names, "out"]), "cols", "BLOCK: tl.constexpr"]
    arguments = ", ".join(["x", *names, "out", "cols"])
    host = [
        "rows, cols = x.shape",
        result(subject),
        "block = triton.next_power_of_2(cols)",
        f"{name}_kernel[(rows,)]({arguments}, BLOCK=block{launch(warps)})",
        "return out",
    ]
    return module(
        function(f"{name}_kernel", parameters, body, above=JIT),
        function(name, graph.parameters, host),
    )


def product(row: str, col: str) -> list[str]:
    """The lines of a matrix product's tile: rows and columns from their tile numbers."""
    return [
        f"row = {row} * BM + tl.arange(0, BM)",
        f"col = {col} * BN + tl.arange(0, BN)",
        "t = tl.zeros((BM, BN), dtype=tl.float32)",
        "for start in range(0, k, BK):",
        "    inner = start + tl.arange(0, BK)",
        "    x_mask = (row[:, None] < rows) & (inner[None, :] < k)",
        "    x = tl.load(x_ptr + row[:, None] * k + inner[None, :], mask=x_mask, other=0.0)",
        "    w_mask = (inner[:, None] < k) & (col[None, :] < cols)",
        "    w = tl.load(w_ptr + inner[:, None] * cols + col[None, :], mask=w_mask, other=0.0)",
        "    t = tl.dot(x, w, t)",
    ]


TILE_SIZES = ["BM: tl.constexpr", "BN: tl.constexpr", "BK: tl.constexpr"]


def tiles(subject: Subject, *, tile: tuple[int, int, int] = (64, 64, 32), warps: int = 4) -> str:
    """A matrix product: a program takes one tile of the result."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "")
    body = [
        *product("tl.program_id(0)", "tl.program_id(1)"),
        "mask = (row[:, None] < rows) & (col[None, :] < cols)",
        *loads(graph, graph.steps, TILE, subject.dtype, first=""),
        *chain(graph, graph.steps, TILE, first=""),
        store(TILE, False),
    ]
    parameters = [*pointers(["x", "w", *names, "out"]), "rows", "cols", "k", *TILE_SIZES]
    arguments = ", ".join(["x", "w", *names, "out", "rows", "cols", "k"])
    bm, bn, bk = tile
    host = [
        "rows, k = x.shape",
        "cols = w.shape[1]",
        "out = torch.empty((rows, cols), device=x.device, dtype=x.dtype)",
        f"grid = (triton.cdiv(rows, {bm}), triton.cdiv(cols, {bn}))",
        f"{name}_kernel[grid]({arguments}, BM={bm}, BN={bn}, BK={bk}{launch(warps)})",
        "return out",
    ]
    return module(
        function(f"{name}_kernel", parameters, body, above=JIT),
        function(name, graph.parameters, host),
    )
