"""Styles of answers to graphs with row operators."""

from __future__ import annotations

from collections.abc import Sequence

from triton_gym.composition.graph import Step
from triton_gym.composition.kernel import (
    ROW,
    TILE,
    chain,
    function,
    loads,
    module,
    pointers,
    store,
    used,
)
from triton_gym.composition.plain import JIT, Subject, launch, result, rows
from triton_gym.composition.rowwise import Pass

from .shape import PROGRAMS, Shape, flat_kernel, indented, split_at, work, workspace


def whole_rows(subject: Subject, shape: Shape) -> str:
    """A program takes one row, whole."""
    return rows(subject, warps=shape.warps)


def several_rows(subject: Subject, shape: Shape) -> str:
    """A program takes several whole rows."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "x")
    body = [
        "row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)",
        "col = tl.arange(0, BLOCK)",
        "mask = (row[:, None] < rows) & (col[None, :] < cols)",
        *work(subject, graph.steps, TILE),
    ]
    sizes = ["rows", "cols", "ROWS: tl.constexpr", "BLOCK: tl.constexpr"]
    arguments = ", ".join(["x", *names, "out", "rows", "cols"])
    host = [
        "rows, cols = x.shape",
        result(subject),
        "block = triton.next_power_of_2(cols)",
        f"grid = (triton.cdiv(rows, {shape.rows}),)",
        f"{name}_kernel[grid]({arguments}, ROWS={shape.rows}, BLOCK=block{launch(shape.warps)})",
        "return out",
    ]
    return module(
        function(f"{name}_kernel", [*pointers(["x", *names, "out"]), *sizes], body, above=JIT),
        function(name, graph.parameters, host),
    )


def strided_rows(subject: Subject, shape: Shape) -> str:
    """A fixed number of programs, each of which takes every so many-th row."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "x")
    body = [
        "col = tl.arange(0, BLOCK)",
        "mask = col < cols",
        "for row in range(tl.program_id(0), rows, tl.num_programs(0)):",
        *indented(work(subject, graph.steps, ROW)),
    ]
    sizes = ["rows", "cols", "BLOCK: tl.constexpr"]
    arguments = ", ".join(["x", *names, "out", "rows", "cols"])
    host = [
        "rows, cols = x.shape",
        result(subject),
        "block = triton.next_power_of_2(cols)",
        f"grid = (min(rows, {PROGRAMS}),)",
        f"{name}_kernel[grid]({arguments}, BLOCK=block{launch(shape.warps)})",
        "return out",
    ]
    return module(
        function(f"{name}_kernel", [*pointers(["x", *names, "out"]), *sizes], body, above=JIT),
        function(name, graph.parameters, host),
    )


def blockwise(subject: Subject, shape: Shape) -> str:
    """A program goes over its row in blocks, as often as the operator needs. One row operator."""
    graph, name = subject.graph, subject.name
    places = [i for i, step in enumerate(graph.steps) if step.row]
    operator = graph.steps[places[0]].row
    if len(places) > 1 or operator is None:
        return ""
    before, after = graph.steps[: places[0]], graph.steps[places[0] + 1 :]
    names = used(graph, graph.steps, "x")
    values, helper = _values(subject, before)
    body = ["row = tl.program_id(0)"]
    for one in operator.passes:
        body += _pass(one, values)
    tail = [
        f"t = {operator.apply.format(cols='cols')}",
        *loads(graph, after, ROW, subject.dtype, first=""),
        *chain(graph, after, ROW, first="", reduced=not operator.keeps),
        store(ROW, not operator.keeps),
    ]
    body += _loop([*values, *tail]) if operator.keeps else tail
    parameters = [*pointers(["x", *names, "out"]), "cols", "BLOCK: tl.constexpr"]
    arguments = ", ".join(["x", *names, "out", "cols"])
    host = [
        "rows, cols = x.shape",
        result(subject),
        f"{name}_kernel[(rows,)]({arguments}, BLOCK={shape.block}{launch(shape.warps)})",
        "return out",
    ]
    kernel = function(f"{name}_kernel", parameters, body, above=JIT)
    return module(*helper, kernel, function(name, graph.parameters, host))


def _values(subject: Subject, before: Sequence[Step]) -> tuple[list[str], list[str]]:
    """The lines that give a block's `t`, and the function that they call, if they do."""
    graph = subject.graph
    lines = [*loads(graph, before, ROW, subject.dtype), *chain(graph, before, ROW)]
    if len(lines) <= 2:
        return lines, []
    names = used(graph, before, "x")
    parameters = [*pointers(["x", *names]), "row", "col", "cols", "mask"]
    helper = function("values", parameters, [*lines, "return t"], above=JIT)
    return [f"t = values({', '.join(parameters)})"], [helper]


def _loop(lines: Sequence[str]) -> list[str]:
    head = ["col = start + tl.arange(0, BLOCK)", "mask = col < cols"]
    return ["for start in range(0, cols, BLOCK):", *indented([*head, *lines])]


def _pass(one: Pass, values: Sequence[str]) -> list[str]:
    each = [line.format(mask="mask") for line in one.each]
    end = [line.format(cols="cols") for line in one.end]
    return [*one.start, *_loop([*values, *each]), *end]


def two_kernels(subject: Subject, shape: Shape) -> str:
    """What comes before the row operator in a kernel of its own, or what comes after it."""
    graph, name = subject.graph, subject.name
    cut = split_at(graph)
    if not cut:
        return ""
    before, after = graph.steps[:cut], graph.steps[cut:]
    names = used(graph, before, "x"), used(graph, after, "tmp")
    parts = []
    for label, steps, first, out, others in (
        ("first", before, "x", "tmp", names[0]),
        ("second", after, "tmp", "out", names[1]),
    ):
        if any(step.row for step in steps):
            parts.append(_row_part(subject, steps, others, f"{label}_kernel", first, out, shape))
        else:
            parts.append(_flat_part(subject, steps, others, f"{label}_kernel", first, out, shape))
    host = [
        "rows, cols = x.shape",
        workspace(),
        result(subject),
        "block = triton.next_power_of_2(cols)",
        *(call for _, call in parts),
        "return out",
    ]
    return module(*(kernel for kernel, _ in parts), function(name, graph.parameters, host))


def _row_part(
    subject: Subject, steps: Sequence[Step], names: Sequence[str], label: str, first: str,
    out: str, shape: Shape,
) -> tuple[str, str]:  # fmt: skip
    body = [
        "row = tl.program_id(0)",
        "col = tl.arange(0, BLOCK)",
        "mask = col < cols",
        *work(subject, steps, ROW, first=first, out=out),
    ]
    parameters = [*pointers([first, *names, out]), "cols", "BLOCK: tl.constexpr"]
    arguments = ", ".join([first, *names, out, "cols"])
    call = f"{label}[(rows,)]({arguments}, BLOCK=block{launch(shape.warps)})"
    return function(label, parameters, body, above=JIT), call


def _flat_part(
    subject: Subject, steps: Sequence[Step], names: Sequence[str], label: str, first: str,
    out: str, shape: Shape,
) -> tuple[str, str]:  # fmt: skip
    kernel, sizes = flat_kernel(subject, steps, names, label, first=first, out=out)
    known = ["x.numel()", "cols"][: len(sizes)]
    arguments = ", ".join([first, *names, out, *known])
    grid = f"(triton.cdiv(x.numel(), {shape.block}),)"
    return kernel, f"{label}[{grid}]({arguments}, BLOCK={shape.block}{launch(shape.warps)})"


def tuned_rows(subject: Subject, shape: Shape) -> str:
    """The number of warps is found by trying."""
    source = rows(subject, warps=4)
    configs = ", ".join(f"triton.Config({{}}, num_warps={warps})" for warps in (4, 8))
    return source.replace(JIT, f'@triton.autotune(configs=[{configs}], key=["cols"])\n{JIT}', 1)
