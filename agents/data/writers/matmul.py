"""Styles of answers to matrix products with an epilogue."""

from __future__ import annotations

from triton_gym.composition.kernel import TILE, function, module, pointers, store, used
from triton_gym.composition.plain import JIT, TILE_SIZES, Subject, launch, product, tiles

from .shape import Shape, flat_kernel, indented, work, workspace

_MASK = "mask = (row[:, None] < rows) & (col[None, :] < cols)"
_PERSISTENT_PROGRAMS = 528
"""Four on each multiprocessor of an H100."""


def tile_grid(subject: Subject, shape: Shape) -> str:
    """A program takes one tile, on a grid of two dimensions."""
    return tiles(subject, tile=shape.tile, warps=shape.warps)


def grouped(subject: Subject, shape: Shape) -> str:
    """Tiles in groups of some tile rows, so that neighbours share their operands in L2."""
    body = [
        "pid = tl.program_id(0)",
        "tiles_n = tl.cdiv(cols, BN)",
        "group = pid // (GROUP * tiles_n)",
        "height = min(tl.cdiv(rows, BM) - group * GROUP, GROUP)",
        "within = pid % (GROUP * tiles_n)",
        *product("(group * GROUP + within % height)", "(within // height)"),
        _MASK,
        *work(subject, subject.graph.steps, TILE, first=""),
    ]
    grid = "(triton.cdiv(rows, {}) * triton.cdiv(cols, {}),)".format(*shape.tile[:2])
    return _answer(subject, shape, body, grid, ["GROUP: tl.constexpr"], f", GROUP={shape.group}")


def persistent(subject: Subject, shape: Shape) -> str:
    """A fixed number of programs, each of which takes every so many-th tile."""
    inner = [
        *product("(tile // tiles_n)", "(tile % tiles_n)"),
        _MASK,
        *work(subject, subject.graph.steps, TILE, first=""),
    ]
    body = [
        "tiles_n = tl.cdiv(cols, BN)",
        "tiles = tl.cdiv(rows, BM) * tiles_n",
        "for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):",
        *indented(inner),
    ]
    count = "triton.cdiv(rows, {}) * triton.cdiv(cols, {})".format(*shape.tile[:2])
    return _answer(subject, shape, body, f"(min({count}, {_PERSISTENT_PROGRAMS}),)", [], "")


def _answer(
    subject: Subject, shape: Shape, body: list[str], grid: str, extra: list[str], given: str
) -> str:
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "")
    sizes = ["rows", "cols", "k", *TILE_SIZES, *extra]
    arguments = ", ".join(["x", "w", *names, "out", "rows", "cols", "k"])
    bm, bn, bk = shape.tile
    host = [
        "rows, k = x.shape",
        "cols = w.shape[1]",
        "out = torch.empty((rows, cols), device=x.device, dtype=x.dtype)",
        f"grid = {grid}",
        f"{name}_kernel[grid]({arguments}, BM={bm}, BN={bn}, BK={bk}{given}{launch(shape.warps)})",
        "return out",
    ]
    parameters = [*pointers(["x", "w", *names, "out"]), *sizes]
    return module(
        function(f"{name}_kernel", parameters, body, above=JIT),
        function(name, graph.parameters, host),
    )


def two_kernels(subject: Subject, shape: Shape) -> str:
    """The product in one kernel, its epilogue in another."""
    graph, name = subject.graph, subject.name
    names = used(graph, graph.steps, "tmp")
    body = [*product("tl.program_id(0)", "tl.program_id(1)"), _MASK, store(TILE, False, "tmp")]
    first = function(
        "product_kernel",
        [*pointers(["x", "w", "tmp"]), "rows", "cols", "k", *TILE_SIZES],
        body,
        above=JIT,
    )
    second, sizes = flat_kernel(subject, graph.steps, names, "epilogue_kernel", first="tmp")
    arguments = ", ".join(["tmp", *names, "out", "out.numel()", *["cols"][: len(sizes) - 1]])
    bm, bn, bk = shape.tile
    host = [
        "rows, k = x.shape",
        "cols = w.shape[1]",
        workspace(matmul=True),
        "out = torch.empty((rows, cols), device=x.device, dtype=x.dtype)",
        f"grid = (triton.cdiv(rows, {bm}), triton.cdiv(cols, {bn}))",
        f"product_kernel[grid](x, w, tmp, rows, cols, k, BM={bm}, BN={bn}, BK={bk}"
        f"{launch(shape.warps)})",
        f"grid = (triton.cdiv(out.numel(), {shape.block}),)",
        f"epilogue_kernel[grid]({arguments}, BLOCK={shape.block})",
        "return out",
    ]
    return module(first, second, function(name, graph.parameters, host))


def tuned(subject: Subject, shape: Shape) -> str:
    """The tile is found by trying."""
    source = tiles(subject, tile=(64, 64, 32))
    options = (((64, 64, 32), 4), (shape.tile, shape.warps))
    configs = ", ".join(
        f'triton.Config({{"BM": {bm}, "BN": {bn}, "BK": {bk}}}, num_warps={warps})'
        for (bm, bn, bk), warps in dict.fromkeys(options)
    )
    source = source.replace(
        JIT, f'@triton.autotune(configs=[{configs}], key=["rows", "cols", "k"])\n{JIT}', 1
    )
    source = source.replace(
        "grid = (triton.cdiv(rows, 64), triton.cdiv(cols, 64))",
        'grid = lambda meta: (triton.cdiv(rows, meta["BM"]), triton.cdiv(cols, meta["BN"]))',
    )
    return source.replace(", BM=64, BN=64, BK=32)", ")")
