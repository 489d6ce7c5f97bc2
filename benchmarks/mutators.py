"""Wrong kernels from right ones: one small change to the syntax tree, wherever an operator matches.

Each operator makes a mistake that people and models make: a mask dropped, a bound off by one, the
wrong axis, a maximum not subtracted, too little precision, a block left out. Only kernels are
changed, and of host functions the grid.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A source with one change."""

    operator: str
    change: str
    """The changed expression and what it became."""
    line: int
    """Line of the original source."""
    source: str


Rewrite = Callable[[ast.AST], Iterator[ast.AST]]
"""Yields what may take a node's place."""


def _call(node: ast.AST, *names: str) -> bool:
    """Whether a node calls `tl.<name>` or `triton.<name>`."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("tl", "triton")
        and node.func.attr in names
    )


def _parse(text: str, **nodes: ast.AST) -> ast.AST:
    """An expression, with nodes in the place of names."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.AST:
            return copy.deepcopy(nodes.get(name.id, name))

    return Fill().visit(ast.parse(text, mode="eval").body)


def _without(node: ast.Call, *keywords: str) -> ast.Call:
    found = copy.deepcopy(node)
    found.keywords = [k for k in found.keywords if k.arg not in keywords]
    return found


def _with(node: ast.Call, keyword: str, value: ast.AST) -> ast.Call:
    found = copy.deepcopy(node)
    for k in found.keywords:
        if k.arg == keyword:
            k.value = value  # type: ignore[assignment]
    return found


def _keyword(node: ast.Call, name: str) -> ast.AST | None:
    return next((k.value for k in node.keywords if k.arg == name), None)


def drop_mask(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "load", "store") and _keyword(node, "mask"):
        yield _without(node, "mask", "other")


def wrong_other(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "load") and (other := _keyword(node, "other")):
        zero = isinstance(other, ast.Constant) and other.value == 0
        yield _with(node, "other", _parse("1.0" if zero else "0.0"))


def drop_other(node: ast.AST) -> Iterator[ast.AST]:
    # Undefined on a GPU; the interpreter gives zeros, which is right where 0.0 was asked for.
    if _call(node, "load") and (other := _keyword(node, "other")):
        if not (isinstance(other, ast.Constant) and other.value == 0):
            yield _without(node, "other")


_NEXT = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


def off_by_one(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _NEXT:
        other = copy.deepcopy(node)
        other.ops = [_NEXT[type(node.ops[0])]()]
        yield other


def bound_too_small(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Lt):
        other = copy.deepcopy(node)
        other.comparators = [_parse("b - 1", b=node.comparators[0])]  # type: ignore[list-item]
        yield other


def wrong_axis(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "sum", "max", "min", "cumsum", "reduce", "argmax"):
        other = copy.deepcopy(node)
        for k in other.keywords:
            if k.arg == "axis" and isinstance(k.value, ast.Constant):
                k.value = ast.Constant(1 - k.value.value)
                yield other
                return
        if len(other.args) > 1 and isinstance(other.args[1], ast.Constant):
            other.args[1] = ast.Constant(1 - other.args[1].value)
            yield other


def no_maximum(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "exp", "exp2") and isinstance(node.args[0], ast.BinOp):
        if isinstance(node.args[0].op, ast.Sub):
            other = copy.deepcopy(node)
            other.args = [node.args[0].left]
            yield other


def wrong_base(node: ast.AST) -> Iterator[ast.AST]:
    for one, two in (("exp", "exp2"), ("exp2", "exp")):
        if _call(node, one):
            other = copy.deepcopy(node)
            other.func.attr = two
            yield other


def _is(node: ast.AST | None, text: str) -> bool:
    return node is not None and ast.unparse(node) == text


def low_precision(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and node.func.attr == "to" and node.args:
        if _is(node.args[0], "tl.float32"):
            yield _parse("v.to(tl.bfloat16).to(tl.float32)", v=node.func.value)
        elif "dtype" in ast.unparse(node.args[0]):
            yield _parse("v.to(tl.float8e5).to(d)", v=node.func.value, d=node.args[0])
            yield _parse("v.to(tl.bfloat16).to(d)", v=node.func.value, d=node.args[0])


def low_accumulator(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        if isinstance(node.value, (ast.Call, ast.Name, ast.BinOp)):
            kept = ast.unparse(node.target)
            other = copy.deepcopy(node)
            other.op = ast.Add()
            new = _parse(f"({kept} + v).to(tl.float16).to(tl.float32)", v=node.value)
            yield ast.Assign(targets=[node.target], value=new)
    elif _call(node, "dot") and len(node.args) == 3:
        yield _parse("d.to(tl.float16).to(tl.float32)", d=node)


def lost_sum(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        yield ast.Assign(targets=[node.target], value=node.value)
    elif _call(node, "dot") and len(node.args) == 3:
        other = copy.deepcopy(node)
        other.args = other.args[:2]
        yield other


def skip_last_block(node: ast.AST) -> Iterator[ast.AST]:
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    if _call(node, "range") or (named and node.func.id == "range"):
        other = copy.deepcopy(node)
        last = 0 if len(other.args) == 1 else 1
        step = other.args[2] if len(other.args) > 2 else ast.Constant(1)
        other.args[last] = _parse("e - s", e=other.args[last], s=step)
        yield other


def skip_first_block(node: ast.AST) -> Iterator[ast.AST]:
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    if (_call(node, "range") or (named and node.func.id == "range")) and len(node.args) > 2:
        other = copy.deepcopy(node)
        other.args[0] = _parse("b + s", b=other.args[0], s=other.args[2])
        yield other


def floor_grid(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "cdiv"):
        yield _parse("a // b", a=node.args[0], b=node.args[1])


def wrong_stride(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        if isinstance(node.right, ast.Name) and node.right.id in _STRIDES:
            yield _parse("a * (b + 1)", a=node.left, b=node.right)


_STRIDES = {"cols", "n", "k", "HEAD_DIM", "heads", "seq"}


def swapped(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div)):
        yield ast.BinOp(copy.deepcopy(node.right), node.op, copy.deepcopy(node.left))
    elif _call(node, "where"):
        other = copy.deepcopy(node)
        other.args[1:] = reversed(other.args[1:])
        yield other


def wrong_constant(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant) and type(node.value) is float and node.value != 0:
        yield ast.Constant(node.value * 1.05)


def lost_term(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield copy.deepcopy(node.left)


def lost_factor(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
        yield copy.deepcopy(node.left)


def wrong_extreme(node: ast.AST) -> Iterator[ast.AST]:
    for one, two in (("maximum", "minimum"), ("minimum", "maximum"), ("max", "min")):
        if _call(node, one):
            other = copy.deepcopy(node)
            other.func.attr = two
            yield other


def wrong_start(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "full") and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant):
        other = copy.deepcopy(node)
        other.args[1] = ast.Constant(0.0)
        yield other
    elif _call(node, "zeros"):
        other = copy.deepcopy(node)
        yield _parse("z + 1", z=other)


def same_program(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "program_id"):
        yield _parse("(p // 2)", p=node)
        yield _parse("(p * 0)", p=node)


def plain_store(node: ast.AST) -> Iterator[ast.AST]:
    if _call(node, "atomic_add"):
        other = copy.deepcopy(node)
        other.func.attr = "store"
        other.keywords = [k for k in other.keywords if k.arg in ("mask",)]
        yield other


OPERATORS: dict[str, Rewrite] = {
    "drop a mask": drop_mask,
    "wrong other": wrong_other,
    "drop other": drop_other,
    "bound off by one": off_by_one,
    "bound too small": bound_too_small,
    "wrong axis": wrong_axis,
    "no maximum subtracted": no_maximum,
    "wrong base": wrong_base,
    "low precision": low_precision,
    "low-precision accumulator": low_accumulator,
    "lost sum": lost_sum,
    "skip the last block": skip_last_block,
    "skip the first block": skip_first_block,
    "floor in place of ceiling": floor_grid,
    "wrong stride": wrong_stride,
    "swapped operands": swapped,
    "wrong constant": wrong_constant,
    "lost term": lost_term,
    "lost factor": lost_factor,
    "wrong extreme": wrong_extreme,
    "wrong start": wrong_start,
    "wrong program": same_program,
    "plain store for atomic (race)": plain_store,
}


def _places(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that may change: bodies of kernels, and quotients of the host that make a grid."""
    for item in tree.body:
        if isinstance(item, ast.FunctionDef):
            kernel = any("jit" in ast.unparse(d) for d in item.decorator_list)
            for statement in item.body:
                for node in ast.walk(statement):
                    if kernel or _call(node, "cdiv"):
                        yield node


def mutants(source: str, per_operator: int) -> Iterator[Mutant]:
    """Mutants of a source: at most `per_operator` of each operator, spread over its places."""
    tree = ast.parse(source)
    homes = {
        id(child): (parent, field)
        for parent in ast.walk(tree) for field, value in ast.iter_fields(parent)
        for child in (value if isinstance(value, list) else [value])
    }  # fmt: skip
    for name, rewrite in OPERATORS.items():
        found = [(node, new) for node in _places(tree) for new in rewrite(node)]
        count = min(per_operator, len(found))
        for i in range(count):
            node, new = found[i * len(found) // count]
            yield Mutant(
                name, f"{_text(node)} -> {_text(new)}", getattr(node, "lineno", 0),
                _replaced(tree, node, new, *homes[id(node)]),
            )  # fmt: skip


def _text(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def _replaced(tree: ast.Module, node: ast.AST, new: ast.AST, parent: ast.AST, field: str) -> str:
    """The source with one node replaced; the tree is afterwards as it was."""
    before = getattr(parent, field)
    listed = isinstance(before, list)
    setattr(parent, field, [new if one is node else one for one in before] if listed else new)
    try:
        return ast.unparse(tree) + "\n"
    finally:
        setattr(parent, field, before)
