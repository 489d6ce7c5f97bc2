"""The screen: refuse a source that says anything a kernel answer has no need to say.

An allow-list over the syntax tree, not a list of bad words. It is the first of several lines: what
syntax cannot hold (arithmetic on tensors, a kernel that does nothing) is held where the answer
runs and where its results are compared.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from triton_gym.evaluation import vocabulary as allowed
from triton_gym.outcome import Status
from triton_gym.task import Entry

SOURCE_LIMIT = 60_000
"""Longest source in characters."""
DEPTH_LIMIT = 120
"""Deepest nesting of the syntax tree."""


class _Refused(Exception):
    def __init__(self, node: ast.AST, reason: str) -> None:
        line = getattr(node, "lineno", None)
        super().__init__(f"Line {line}: {reason}" if line else reason)


def parse(source: str) -> ast.Module | str:
    """The syntax tree of a source, or why there is none."""
    if not source.strip():
        return "The answer is empty; expected a Python module with a Triton kernel."
    if len(source) > SOURCE_LIMIT:
        return f"The source has {len(source)} characters; at most {SOURCE_LIMIT} are allowed."
    if "\0" in source:
        return "The source contains null bytes."
    try:
        tree = ast.parse(source)
        compile(tree, "answer.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        text = f": `{error.text.strip()[:200]}`" if error.text else ""
        return f"SyntaxError at line {error.lineno}: {error.msg}{text}"
    except (ValueError, RecursionError, MemoryError, UnicodeError) as error:
        return f"The source cannot be parsed: {type(error).__name__}: {error}"
    return tree


def screen(source: str, entry: Entry) -> tuple[Status, str] | None:
    """Why an answer is refused before it runs, or None.

    Args:
        source: the answer as a Python module.
        entry: what the task expects it to define.

    Returns:
        `INVALID_ACTION` when it is not Python, `REJECTED` when it says what it may not.
    """
    tree = parse(source)
    if isinstance(tree, str):
        return Status.INVALID_ACTION, tree
    try:
        _Screen(tree, entry).run()
    except _Refused as refused:
        return Status.REJECTED, str(refused)
    except RecursionError:
        return Status.REJECTED, "The source is nested too deeply."
    return None


class _Screen(ast.NodeVisitor):
    def __init__(self, tree: ast.Module, entry: Entry) -> None:
        self._tree = tree
        self._entry = entry
        self._modules: dict[str, str] = {}  # local name -> module it stands for
        self._own = set(_own_names(tree))
        self._inside_kernel = 0

    def run(self) -> None:
        for node in ast.walk(self._tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._imported(node)
        for node in self._tree.body:
            self.visit(node)
        kernels = [n for n in ast.walk(self._tree) if _is_kernel(n)]
        if not kernels:
            raise _Refused(
                self._tree, "There is no Triton kernel: expected a function with @triton.jit."
            )

    # -- imports ----------------------------------------------------------------------------

    def _imported(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._module_allowed(node, alias.name)
                if alias.asname:
                    self._modules[alias.asname] = alias.name
                else:
                    root = alias.name.partition(".")[0]
                    self._modules[root] = root
            return
        if node.level or not node.module:
            raise _Refused(node, "relative imports are not allowed.")
        self._module_allowed(node, node.module)
        for alias in node.names:
            if alias.name == "*":
                raise _Refused(node, "import names one by one, not with *.")
            full = f"{node.module}.{alias.name}"
            self._member_allowed(node, node.module, alias.name)
            if full in allowed.MODULES or full in allowed.MEMBERS:
                self._modules[alias.asname or alias.name] = full

    def _module_allowed(self, node: ast.AST, name: str) -> None:
        if name not in allowed.MODULES:
            raise _Refused(
                node, f"import of {name!r} is not allowed. Allowed: torch, triton, "
                "triton.language, math, typing and a few more of the standard library."
            )  # fmt: skip

    def _member_allowed(self, node: ast.AST, module: str, name: str) -> None:
        if name.startswith("_") and name != "__version__" and module != "__future__":
            raise _Refused(node, f"{module}.{name} is private.")
        members = allowed.MEMBERS.get(module)
        if members is not None and name not in members:
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
            if not isinstance(node.ctx, ast.Load):
                raise _Refused(node, f"{module}.{node.attr} must not be changed.")
            return
        if node.attr.startswith("_") and not self._is_super_init(node):
            raise _Refused(node, f"the attribute {node.attr!r} is private.")
        if not isinstance(node.ctx, ast.Load) and node.attr not in allowed.SETTABLE:
            if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                raise _Refused(node, f"setting the attribute {node.attr!r} is not allowed.")
        if node.attr not in allowed.ATTRIBUTES and node.attr not in self._own:
            if not self._is_super_init(node) and not self._open_module(node.value):
                raise _Refused(
                    node,
                    f"the attribute {node.attr!r} is not allowed in a host function or kernel. "
                    "Tensors may be allocated, viewed and passed to kernels; compute in a kernel.",
                )
        self.visit(node.value)

    def _is_super_init(self, node: ast.Attribute) -> bool:
        value = node.value
        return (
            node.attr == "__init__"
            and isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id == "super"
        )

    def _module_of(self, node: ast.expr) -> str | None:
        """The module that an expression names, if it does."""
        if isinstance(node, ast.Name):
            return self._modules.get(node.id)
        if isinstance(node, ast.Attribute):
            parent = self._module_of(node.value)
            if parent is None:
                return None
            full = f"{parent}.{node.attr}"
            known = full in allowed.MEMBERS or full in allowed.MODULES
            return full if known else None
        return None

    def _open_module(self, node: ast.expr) -> bool:
        """Whether the attribute hangs on a member of an open module, as in `tl.math.exp`."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and self._modules.get(node.id, "").startswith(
            "triton.language"
        )

    def visit_Name(self, node: ast.Name) -> None:
        name = node.id
        if name in self._modules:
            raise _Refused(node, f"the module {name!r} may only be used as {name}.<member>.")
        if name.startswith("__") and name != "__name__":
            raise _Refused(node, f"the name {name!r} is not allowed.")
        shadowed = name in self._own and name in allowed.SHADOWED
        if hasattr(builtins, name) and name not in allowed.BUILTINS and not shadowed:
            raise _Refused(node, f"the builtin {name!r} is not allowed.")

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

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name.startswith("__") and node.name not in allowed.METHODS:
            raise _Refused(node, f"a function named {node.name!r} is not allowed.")
        self._not_shadowing(node, node.name)
        kernel = _is_kernel(node)
        self._inside_kernel += kernel
        self.generic_visit(node)
        self._inside_kernel -= kernel

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if self._full_name(base) not in _BASES:
                raise _Refused(node, f"a class must not inherit from {ast.unparse(base)}.")
        if node.keywords:
            raise _Refused(node, "metaclasses and class arguments are not allowed.")
        self._not_shadowing(node, node.name)
        self.generic_visit(node)

    def _full_name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{self._module_of(node.value) or ast.unparse(node.value)}.{node.attr}"
        return node.id if isinstance(node, ast.Name) else ""

    def _not_shadowing(self, node: ast.AST, name: str) -> None:
        if name in self._modules or (hasattr(builtins, name) and name not in {"sum", "max"}):
            raise _Refused(node, f"{name!r} would hide a module or a builtin.")

    def _not_allowed(self, node: ast.AST) -> None:
        raise _Refused(node, f"{type(node).__name__} is not allowed in an answer.")

    visit_AsyncFunctionDef = _not_allowed  # noqa: N815
    visit_Await = visit_Yield = visit_YieldFrom = _not_allowed  # noqa: N815
    visit_Global = visit_Nonlocal = visit_Delete = _not_allowed  # noqa: N815
    visit_AsyncFor = visit_AsyncWith = _not_allowed  # noqa: N815


_BASES = frozenset({"torch.nn.Module", "Module", "NamedTuple", "typing.NamedTuple", "object"})


def _is_kernel(node: ast.AST) -> bool:
    """Whether a function is decorated with `triton.jit`, plainly or under tuning decorators."""
    if not isinstance(node, ast.FunctionDef):
        return False
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(target) in {"triton.jit", "jit", "triton.constexpr_function"}:
            return True
    return False


def _own_names(tree: ast.AST) -> Iterator[str]:
    """Names that the answer binds itself: variables, arguments, functions, fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
