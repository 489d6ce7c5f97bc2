"""The screen: refuse a source that says anything a kernel answer has no need to say.

An allow-list over the syntax tree, not a list of bad words. It is the first of several lines: what
syntax cannot hold (arithmetic on tensors, a kernel that does nothing) is held where the answer
runs and where its results are compared. It looks at what can run only (`reach.py`), which is also
all that a worker is given.

What PyTorch computes may be named, since only running it in a call is cheating, and the `Watch`
sees that. The screen is strict where the `Watch` is blind: files, processes, threads, streams,
clocks, text that becomes code, attributes by computed names, and what would change the `Watch`,
Triton or PyTorch themselves.
"""

from __future__ import annotations

import ast
import builtins

from triton_gym import syntax
from triton_gym.evaluation.screening import vocabulary as allowed
from triton_gym.evaluation.screening.declarations import (
    attribute_read,
    bindings,
    defined,
    exists,
    foreign_names,
    is_own,
    plain_template,
    set_on_self,
    tuple_fields,
)
from triton_gym.evaluation.screening.language import LANGUAGE
from triton_gym.evaluation.screening.reach import reached
from triton_gym.evaluation.screening.reading import foreign_encoding, misread
from triton_gym.evaluation.screening.source import parse
from triton_gym.outcome import Status
from triton_gym.task import Entry


class _Refused(Exception):
    def __init__(self, node: ast.AST, reason: str) -> None:
        line = getattr(node, "lineno", None)
        super().__init__(f"Line {line}: {reason}" if line else reason)


def screen(source: str, entry: Entry) -> tuple[Status, str] | None:
    """Why an answer is refused before it runs, or None.

    Args:
        source: the answer as a Python module.
        entry: what the task expects it to define.

    Returns:
        `INVALID_ACTION` when it is not Python, `REJECTED` when it says what it may not.
    """
    return screened(source, entry)[0]


_MISREAD = (
    "Triton would take another text for this function than Python does. No line of its decorators "
    "may begin with `def `, no string may stand further left, and its first line must be whole."
)


def screened(source: str, entry: Entry) -> tuple[tuple[Status, str] | None, str]:
    """The same, and what of the source is to run if it is not refused."""
    tree = parse(source)
    if isinstance(tree, str):
        return (Status.INVALID_ACTION, tree), ""
    if encoding := foreign_encoding(source):
        told = f"The source declares the encoding {encoding!r}; an answer is UTF-8."
        return (Status.REJECTED, f"{told} Leave that comment out."), ""
    try:
        what = reached(source, tree, entry)
        tree = tree if what == source else syntax.parse(what)
        _Screen(tree, entry).run()
        if line := misread(what, tree):
            return (Status.REJECTED, f"Line {line}: {_MISREAD}"), ""
    except _Refused as refused:
        return (Status.REJECTED, str(refused)), ""
    except RecursionError:
        return (Status.REJECTED, "The source is nested too deeply."), ""
    return None, what


class _Screen(ast.NodeVisitor):
    def __init__(self, tree: ast.Module, entry: Entry) -> None:
        self._tree = tree
        self._nodes = list(ast.walk(tree))
        self._entry = entry
        self._modules: dict[str, str] = {}  # local name -> module it stands for
        self._members: dict[str, str] = {}  # local name -> full name of what was imported
        self._own = set(bindings(self._nodes))
        self._set = set(set_on_self(self._nodes))
        self._fields = self._set | set(defined(self._nodes))
        self._parents: dict[ast.AST, ast.AST] = {}
        self._inside_kernel = 0

    def run(self) -> None:
        for node in self._nodes:
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._imported(node)
        privileged = {n for n, full in self._members.items() if full in allowed.PRIVILEGED}
        for name in sorted({*self._modules, *privileged} & self._own):
            raise _Refused(self._tree, f"{name!r} is imported and must not be bound again.")
        for name in self._own & {"__name__", *allowed.FIXED}:
            raise _Refused(self._tree, f"{name!r} must not be bound.")
        self._fields_allowed()
        for node in self._tree.body:
            self.visit(node)
        if not any(self._is_kernel(n) or self._makes_kernel(n) for n in self._nodes):
            raise _Refused(
                self._tree, "There is no Triton kernel: expected a function with @triton.jit."
            )

    def visit(self, node: ast.AST) -> None:
        """Visit a node if its kind is allowed."""
        kind = type(node).__name__
        if kind not in allowed.NODES:
            raise _Refused(node, f"{kind} is not allowed in an answer.")
        super().visit(node)

    # -- imports ----------------------------------------------------------------------------

    def _imported(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._module_allowed(node, alias.name)
                if alias.asname:
                    self._bind(node, alias.asname, alias.name)
                else:
                    root = alias.name.partition(".")[0]
                    self._bind(node, root, root)
            return
        if node.level or not node.module:
            raise _Refused(node, "relative imports are not allowed.")
        self._module_allowed(node, node.module)
        for alias in node.names:
            if alias.name == "*":
                raise _Refused(node, "import names one by one, not with *.")
            self._member_allowed(node, node.module, alias.name)
            self._bind(node, alias.asname or alias.name, f"{node.module}.{alias.name}")

    def _bind(self, node: ast.AST, name: str, full: str) -> None:
        """Note what an imported name stands for; a name stands for one thing only."""
        before = self._modules.get(name) or self._members.get(name)
        module = full in allowed.MEMBERS
        same = before is not None and (
            allowed.MEMBERS.get(before) == allowed.MEMBERS[full]
            if module and before in allowed.MEMBERS
            else _LIBRARY in before and _LIBRARY in full
        )
        if before not in (None, full) and not same:
            raise _Refused(node, f"{name!r} is imported as both {before} and {full}.")
        if hasattr(builtins, name) and name not in LANGUAGE:
            raise _Refused(node, f"the import {name!r} would hide a builtin.")
        (self._modules if module else self._members)[name] = full

    def _module_allowed(self, node: ast.AST, name: str) -> None:
        if name not in allowed.MEMBERS:
            raise _Refused(
                node, f"import of {name!r} is not allowed. Allowed: torch, triton, "
                "triton.language, math, typing and a few more of the standard library."
            )  # fmt: skip

    def _member_allowed(self, node: ast.AST, module: str, name: str) -> None:
        if f"{module}.{name}" in allowed.MEMBERS or name in allowed.MEMBERS[module]:
            return
        if name.startswith("_"):
            raise _Refused(node, f"{module}.{name} is private.")
        if module.startswith("triton.language") and not exists(module, name):
            return  # Triton says so better, with the line
        raise _Refused(
            node,
            f"{module}.{name} is not allowed: a host function may allocate, view, compute "
            "shapes and launch its Triton kernels; the computation belongs into a kernel.",
        )

    # -- expressions ------------------------------------------------------------------------

    def visit_Attribute(self, node: ast.Attribute) -> None:
        module = self._module_of(node.value)
        if module is not None:
            self._member_allowed(node, module, node.attr)
            if not isinstance(node.ctx, ast.Load) and f"{module}.{node.attr}" not in allowed.FLAGS:
                raise _Refused(node, f"{module}.{node.attr} must not be changed.")
            if f"{module}.{node.attr}" not in allowed.MEMBERS:
                self._use_allowed(node, f"{module}.{node.attr}")
            return
        if not self._attribute_allowed(node):
            if node.attr.startswith("_"):
                raise _Refused(node, f"the attribute {node.attr!r} is private.")
            raise _Refused(
                node,
                f"the attribute {node.attr!r} is not allowed in a host function or kernel. "
                "Tensors may be allocated, viewed and passed to kernels; compute in a kernel.",
            )
        if not isinstance(node.ctx, ast.Load) and node.attr not in allowed.SETTABLE:
            if not is_own(node.value):
                raise _Refused(node, f"setting the attribute {node.attr!r} is not allowed.")
        if not self._names_class(node):
            self.visit(node.value)

    def _attribute_allowed(self, node: ast.Attribute) -> bool:
        name = node.attr
        if name == "fn":  # the tuned kernel under its tuner, not the Python function under it
            parent = self._parents[node]
            return isinstance(parent, (ast.Subscript, ast.Attribute)) and parent.value is node
        if name == "format":  # a template can read attributes
            return isinstance(node.value, ast.Constant) and plain_template(node.value.value)
        return (
            name in allowed.ATTRIBUTES
            or (name in self._fields and name not in allowed.DEFINED)
            or name in allowed.PRIVATE
            or (self._inside_kernel > 0 and name in allowed.KERNEL_ATTRIBUTES)
            or (name == "__init__" and self._is_super(node.value))
            or (name == "__name__" and isinstance(node.ctx, ast.Load))
        )

    def _names_class(self, node: ast.Attribute) -> bool:
        """Whether it is `__name__` of `type(x)` or `x.__class__`: the name of a class, a text."""
        inner = node.value
        if node.attr != "__name__" or not isinstance(inner, ast.Attribute | ast.Call):
            return False
        if isinstance(inner, ast.Attribute) and inner.attr == "__class__":
            self.visit(inner.value)
            return True
        return False

    def _is_super(self, value: ast.expr) -> bool:
        return self._full_name(value) == "torch.nn.Module" or (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id == "super"
        )

    def _fields_allowed(self) -> None:
        """No field of the answer's classes may be named as something that others have.

        An attribute is allowed by its name, whatever object it is read of or set on. So a class
        may have a field that could be read of others anyway, and set those alone that are harmless
        to set on others.
        """
        for name in sorted(self._fields - allowed.FIELDS):
            known = name in allowed.METHODS or name in allowed.DEFINED
            if name not in self._set:
                known = known or name in allowed.ATTRIBUTES
            if not known and (name.startswith("__") or name in foreign_names()):
                raise _Refused(
                    self._tree, f"the field {name!r} has the name of something that tensors, "
                    "kernels or Python's own objects have; choose another."
                )  # fmt: skip

    def _module_of(self, node: ast.expr) -> str | None:
        """The module that an expression names, if it does."""
        full = self._full_name(node)
        return full if full in allowed.MEMBERS else None

    def _full_name(self, node: ast.expr) -> str:
        """What an expression names in full, if it was imported; "" otherwise."""
        if isinstance(node, ast.Name):
            return self._modules.get(node.id) or self._members.get(node.id) or ""
        if isinstance(node, ast.Attribute):
            parent = self._full_name(node.value)
            return f"{parent}.{node.attr}" if parent in allowed.MEMBERS else ""
        return ""

    def visit_Name(self, node: ast.Name) -> None:
        name = node.id
        if name in self._modules:
            raise _Refused(node, f"the module {name!r} may only be used as {name}.<member>.")
        if name.startswith("__") and name != "__name__":
            raise _Refused(node, f"the name {name!r} is not allowed.")
        if name in self._members:
            self._use_allowed(node, self._members[name])
            return
        shadowed = name in self._own and name in allowed.SHADOWED
        if hasattr(builtins, name) and name not in allowed.BUILTINS and not shadowed:
            raise _Refused(node, f"the builtin {name!r} is not allowed.")
        if name == "type" and name not in self._own:
            self._type_allowed(node)
        if name == "super" and not isinstance(self._parents[node], ast.Call):
            raise _Refused(node, "super may only be called.")

    def visit_Call(self, node: ast.Call) -> None:
        """Visit a call; an attribute read by a name in quotes is one like any other."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("getattr", "hasattr"):
            read = attribute_read(node)
            if read is None:
                raise _Refused(node, f"the builtin {name!r} is not allowed with a computed name.")
            if name == "hasattr" and self._module_of(read.value) and not read.attr.startswith("_"):
                return
            self._parents[read] = node
            for child in (read, *node.args[2:]):
                self.visit(child)
            return
        self.generic_visit(node)

    def _use_allowed(self, node: ast.expr, full: str) -> None:
        """Classes that make classes are for inheriting from, class decorators for decorating."""
        if full in allowed.FACTORIES:
            raise _Refused(node, f"{full} may only be inherited from.")
        if full == allowed.NAMED_TUPLE:
            call = self._parents[node]
            if not (isinstance(call, ast.Call) and call.func is node and tuple_fields(call)):
                raise _Refused(node, f"{full} may only be called, with its names as they are.")
        if full in allowed.CLASS_DECORATORS:
            parent = self._parents[node]
            where = node
            if isinstance(parent, ast.Call) and parent.func is node and not parent.args:
                where, parent = parent, self._parents[parent]
            if not (isinstance(parent, ast.ClassDef) and where in parent.decorator_list):
                raise _Refused(node, f"{full} may only be used as a decorator of a class.")

    def _type_allowed(self, node: ast.Name) -> None:
        """`type` asks what something is, in a comparison or a message; it makes nothing."""
        call = self._parents[node]
        if isinstance(call, ast.Call) and call.func is node:
            above = self._parents[call]
            named = isinstance(above, ast.Compare | ast.FormattedValue) or (
                isinstance(above, ast.Attribute) and above.attr == "__name__"
            )
            if named and len(call.args) == 1 and not call.keywords:
                return
        raise _Refused(node, "type(...) may only be compared or written into a message.")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.MatMult) and not self._inside_kernel:
            raise _Refused(node, "a host function must not multiply matrices; use tl.dot.")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.MatMult):
            raise _Refused(node, "a host function must not multiply matrices; use tl.dot.")
        self.generic_visit(node)

    # -- statements -------------------------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        """Seen before; a binding that shadows nothing."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Seen before; a binding that shadows nothing."""

    def visit_Delete(self, node: ast.Delete) -> None:
        if not all(isinstance(target, ast.Name) for target in node.targets):
            raise _Refused(node, "only variables may be deleted.")
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        if node.arg.startswith("__"):
            raise _Refused(node, f"the name {node.arg!r} is not allowed.")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name.startswith("__") and node.name not in allowed.METHODS:
            raise _Refused(node, f"a function named {node.name!r} is not allowed.")
        self._not_shadowing(node, node.name)
        kernel = self._is_kernel(node)
        # Decorators, annotations and defaults are Python, evaluated where the host code runs.
        for decorator in node.decorator_list:
            full = self._decorator(decorator)
            if kernel and full not in allowed.DECORATORS:
                raise _Refused(
                    decorator, f"a kernel must not be decorated with {ast.unparse(decorator)}."
                )
            self.visit(decorator)
        self.visit(node.args)
        if node.returns:
            self.visit(node.returns)
        self._inside_kernel += kernel
        for statement in node.body:
            self.visit(statement)
        self._inside_kernel -= kernel

    def _decorator(self, node: ast.expr) -> str:
        return self._full_name(node.func if isinstance(node, ast.Call) else node)

    def _is_kernel(self, node: ast.AST) -> bool:
        """Whether a function is decorated with `triton.jit`, alone or under tuning decorators."""
        return isinstance(node, ast.FunctionDef) and any(
            self._decorator(d) in allowed.KERNEL_DECORATORS for d in node.decorator_list
        )

    def _makes_kernel(self, node: ast.AST) -> bool:
        """Whether an expression is `triton.jit(function)`."""
        return isinstance(node, ast.Call) and self._full_name(node.func) in (
            allowed.KERNEL_DECORATORS
        )

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        """A pattern may ask what something is, not read its attributes."""
        if node.patterns or node.kwd_patterns:
            raise _Refused(node, "MatchClass with parts is not allowed in an answer.")
        self.visit(node.cls)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            full = self._full_name(base) or (base.id if isinstance(base, ast.Name) else "")
            if full not in allowed.BASES:
                raise _Refused(node, f"a class must not inherit from {ast.unparse(base)}.")
        if node.keywords:
            raise _Refused(node, "metaclasses and class arguments are not allowed.")
        self._not_shadowing(node, node.name)
        for child in (*node.decorator_list, *node.body):
            self.visit(child)

    def _not_shadowing(self, node: ast.AST, name: str) -> None:
        inside = isinstance(self._parents.get(node), ast.ClassDef)  # a method hides nothing
        if hasattr(builtins, name) and not inside and name not in allowed.SHADOWED:
            raise _Refused(node, f"{name!r} would hide a builtin.")


_LIBRARY = ".libdevice"
