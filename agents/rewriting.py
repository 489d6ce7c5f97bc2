"""Larger changes to a kernel: a block that holds a whole row, and loops that it makes needless.

None of them is always right: a loop may only be dropped where one block covers its range. That is
what verification is for; what is wrong never becomes a parent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from triton_gym import syntax


def whole_row_names(host: ast.FunctionDef) -> list[str]:
    """Sizes that a host function takes from a tensor's shape, as in `rows, cols = x.shape`."""
    names: list[str] = []
    for node in ast.walk(host):
        if isinstance(node, ast.Assign) and ".shape" in ast.unparse(node.value):
            target = node.targets[0]
            elements = target.elts if isinstance(target, ast.Tuple) else [target]
            names += [e.id for e in elements if isinstance(e, ast.Name)]
    return names


def straightened(source: str) -> str:
    """The source with every blockwise loop of its kernels replaced by its first round.

    What the former loops computed several times, typically loads of the same block, is computed
    once.
    """
    for name in [kernel.name for kernel in _kernels(syntax.parse(source))]:
        source = _without_loops(source, name)
        source = _without_repetition(source, name)
    return source


def _kernels(tree: ast.Module) -> list[ast.FunctionDef]:
    return [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(d).startswith("triton.jit") for d in node.decorator_list)
    ]


def _kernel(source: str, name: str) -> ast.FunctionDef:
    return next(kernel for kernel in _kernels(syntax.parse(source)) if kernel.name == name)


def _without_loops(source: str, name: str) -> str:
    lines = [line.rstrip("\r\n") for line in syntax.lines(source)]
    for loop in reversed(list(_loops(_kernel(source, name)))):
        header, first = loop.lineno - 1, loop.body[0]
        indent, inner = loop.col_offset, first.col_offset
        body = [
            line[inner - indent :] if line[:inner].isspace() else line
            for line in lines[loop.iter.end_lineno or loop.lineno : loop.end_lineno]
        ]
        start = ast.unparse(loop.iter.args[0])  # type: ignore[attr-defined]
        lines[header : loop.end_lineno] = [
            f"{' ' * indent}{ast.unparse(loop.target)} = {start}",
            *body,
        ]
    return "\n".join(lines) + "\n"


def _loops(kernel: ast.FunctionDef) -> Iterator[ast.For]:
    """`for start in range(a, b, step)`, or `tl.range`, directly in a kernel's body."""
    for node in kernel.body:
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and not node.orelse:
            called = ast.unparse(node.iter.func)
            if called in ("range", "tl.range") and len(node.iter.args) == 3:
                yield node


def _without_repetition(source: str, name: str) -> str:
    """The source without assignments that repeat an earlier one whose operands are unchanged."""
    known: dict[str, tuple[str, set[str]]] = {}
    needless: list[ast.stmt] = []
    for node in _kernel(source, name).body:
        read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _loads(n)}
        written = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not _loads(n)}
        text = ast.unparse(node)
        if text in known:
            needless.append(node)
            continue
        stores = "tl.store" in text or "tl.atomic" in text
        known = {
            key: (target, names)
            for key, (target, names) in known.items()
            if not written & (names | {target}) and not (stores and "tl.load" in key)
        }
        if isinstance(node, ast.Assign) and len(written) == 1 and not written & read:
            known[text] = (next(iter(written)), read)
    lines = [line.rstrip("\r\n") for line in syntax.lines(source)]
    for node in reversed(needless):
        del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines) + "\n"


def _loads(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)
