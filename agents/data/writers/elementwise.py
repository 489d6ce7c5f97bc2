"""Styles of answers to elementwise graphs."""

from __future__ import annotations

from triton_gym.composition.kernel import (
    FLAT,
    TILE,
    function,
    mentions,
    module,
    pointers,
    used,
)
from triton_gym.composition.plain import JIT, Subject, flat, launch

from .shape import PROGRAMS, Shape, flat_kernel, indented, work, workspace


def stretches(subject: Subject, shape: Shape) -> str:
    """A program takes one stretch of memory."""
    return flat(subject, block=shape.block, warps=shape.warps)


def strided(subject: Subject, shape: Shape) -> str:
    """A fixed number of programs, each of which takes every so many-th stretch."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "x")
    inner = ["i = start + tl.arange(0, BLOCK)", "mask = i < n", *work(subject, graph.steps, FLAT)]
    body = [
        "step = tl.num_programs(0) * BLOCK",
        "for start in range(tl.program_id(0) * BLOCK, n, step):",
        *indented(inner),
    ]
    sizes = ["n", "cols"] if mentions(body, "cols") else ["n"]
    parameters = [*pointers(["x", *names, "out"]), *sizes, "BLOCK: tl.constexpr"]
    arguments = ["x", *names, "out", "n", *["x.shape[1]"][: len(sizes) - 1]]
    host = [
        "out = torch.empty_like(x)",
        "n = x.numel()",
        f"grid = (min(triton.cdiv(n, {shape.block}), {PROGRAMS}),)",
        f"{name}_kernel[grid]({', '.join(arguments)}, BLOCK={shape.block}{launch(shape.warps)})",
        "return out",
    ]
    return module(
        function(f"{name}_kernel", parameters, body, above=JIT),
        function(name, graph.parameters, host),
    )


def tiled(subject: Subject, shape: Shape) -> str:
    """A program takes a tile of some rows by some columns."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "x")
    columns = max(16, shape.block // shape.rows)
    body = [
        "row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)",
        "col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)",
        "mask = (row[:, None] < rows) & (col[None, :] < cols)",
        *work(subject, graph.steps, TILE),
    ]
    sizes = ["rows", "cols", "ROWS: tl.constexpr", "BLOCK: tl.constexpr"]
    arguments = ", ".join(["x", *names, "out", "rows", "cols"])
    host = [
        "rows, cols = x.shape",
        "out = torch.empty_like(x)",
        f"grid = (triton.cdiv(rows, {shape.rows}), triton.cdiv(cols, {columns}))",
        f"{name}_kernel[grid]({arguments}, ROWS={shape.rows}, BLOCK={columns}"
        f"{launch(shape.warps)})",
        "return out",
    ]
    return module(
        function(f"{name}_kernel", [*pointers(["x", *names, "out"]), *sizes], body, above=JIT),
        function(name, graph.parameters, host),
    )


def two_kernels(subject: Subject, shape: Shape) -> str:
    """The first half of the steps in one kernel, the rest in another: an intermediate in memory."""
    graph, name = subject.graph, subject.name
    half = len(graph.steps) // 2
    if not half:
        return ""
    before, after = graph.steps[:half], graph.steps[half:]
    names = used(graph, before, "x"), used(graph, after, "tmp")
    one, one_sizes = flat_kernel(subject, before, names[0], "first_kernel", out="tmp")
    two, two_sizes = flat_kernel(subject, after, names[1], "second_kernel", first="tmp")
    sizes = {"n": "n", "cols": "x.shape[1]"}

    def call(label: str, arguments: list[str], known: list[str]) -> str:
        listed = ", ".join([*arguments, *(sizes[size] for size in known)])
        return f"{label}_kernel[grid]({listed}, BLOCK={shape.block}{launch(shape.warps)})"

    host = [
        workspace(),
        "out = torch.empty_like(x)",
        "n = x.numel()",
        f"grid = (triton.cdiv(n, {shape.block}),)",
        call("first", ["x", *names[0], "tmp"], one_sizes),
        call("second", ["tmp", *names[1], "out"], two_sizes),
        "return out",
    ]
    return module(one, two, function(name, graph.parameters, host))


def tuned(subject: Subject, shape: Shape) -> str:
    """The stretch's length and the warps are found by trying."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "x")
    pairs = ((shape.block, 4), (2 * shape.block, 8))
    configs = [f'triton.Config({{"BLOCK": {block}}}, num_warps={warps})' for block, warps in pairs]
    above = f'@triton.autotune(configs=[{", ".join(configs)}], key=["n"])\n{JIT}'
    kernel, sizes = flat_kernel(subject, graph.steps, names, f"{name}_kernel", above=above)
    arguments = ["x", *names, "out", "n", *["x.shape[1]"][: len(sizes) - 1]]
    host = [
        "out = torch.empty_like(x)",
        "n = x.numel()",
        'grid = lambda meta: (triton.cdiv(n, meta["BLOCK"]),)',
        f"{name}_kernel[grid]({', '.join(arguments)})",
        "return out",
    ]
    return module(kernel, function(name, graph.parameters, host))
