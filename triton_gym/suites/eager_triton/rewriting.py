"""Kernels rewritten so that Python means by them what Triton does.

A block is a value there: `a += b` makes another one, where PyTorch would change what others hold
too. `and` and `or` of blocks go by element, so do `min` and `max`, numbers have a dtype that `.to`
changes and take further axes, a tuple of one stands for what it holds, and dtypes answer what
Triton's do.
"""

from __future__ import annotations

import ast

DTYPE_KINDS = frozenset({
    "is_fp8", "is_fp16", "is_bf16", "is_fp32", "is_fp64", "is_floating", "is_standard_floating",
    "is_int", "is_int1", "is_int8", "is_int16", "is_int32", "is_int64", "is_int_signed",
    "is_int_unsigned", "is_bool",
})  # fmt: skip
"""What Triton's dtypes are asked; PyTorch's have no such methods."""
_BY_ELEMENT = {"min": "_triton_gym_least", "max": "_triton_gym_most"}


def rewritten(tree: ast.Module) -> ast.Module:
    """A file with its kernels rewritten."""
    for node in tree.body:
        for function in ast.walk(node):
            if isinstance(function, ast.FunctionDef) and is_kernel(function):
                function.body = [_Kernel().visit(line) for line in function.body]
    return ast.fix_missing_locations(tree)


def is_kernel(function: ast.FunctionDef) -> bool:
    """Whether it is decorated with `triton.jit`."""
    return any("jit" in ast.unparse(one) for one in function.decorator_list)


class _Kernel(ast.NodeTransformer):
    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return ast.copy_location(ast.Assign([node.target], value), node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """`a = (b,)` names b, as it did before Triton 3.2 had tuples."""
        self.generic_visit(node)
        if isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Tuple):
            if len(node.value.elts) == 1:
                node.value = node.value.elts[0]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """`x[:, None]`, which Triton also takes of a single number."""
        self.generic_visit(node)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        new = [isinstance(one, ast.Constant) and one.value is None for one in parts]
        whole = [
            isinstance(one, ast.Slice) and not (one.lower or one.upper or one.step) for one in parts
        ]
        if not any(new) or not all(map(max, new, whole)):
            return node
        axes = ast.Tuple([ast.Constant(one) for one in new], ast.Load())
        spread = ast.Name("_triton_gym_spread", ast.Load())
        return ast.copy_location(ast.Call(spread, [node.value, axes], []), node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        name = "_triton_gym_both" if isinstance(node.op, ast.And) else "_triton_gym_either"
        found = node.values[0]
        for value in node.values[1:]:
            later = ast.Lambda(ast.arguments([], [], None, [], [], None, []), value)
            found = ast.Call(ast.Name(name, ast.Load()), [found, later], [])
        return ast.copy_location(found, node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _BY_ELEMENT:
            other = ast.Name(_BY_ELEMENT[node.func.id], ast.Load())
            node.func = ast.copy_location(other, node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "to":
            to = ast.Name("_triton_gym_to", ast.Load())
            return ast.copy_location(
                ast.Call(to, [node.func.value, *node.args], node.keywords), node
            )
        if isinstance(node.func, ast.Attribute) and node.func.attr in DTYPE_KINDS:
            kind = ast.Name("_triton_gym_is", ast.Load())
            name = ast.Constant(node.func.attr)
            return ast.copy_location(ast.Call(kind, [node.func.value, name], []), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr == "value" and isinstance(node.ctx, ast.Load):
            helper = ast.Name("_triton_gym_value", ast.Load())
            return ast.copy_location(ast.Call(helper, [node.value], []), node)
        return node
