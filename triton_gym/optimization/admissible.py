"""Which verified answers may run in the user's own process.

A judge runs an answer's host code where it can do no harm. A swapped answer runs in the user's
process, with all that the process may do, so its host code has to be plain: it allocates, computes
sizes and launches, and keeps nothing between calls. What is not is left in the run folder for the
user to read, and not swapped. This is an allow-list of what a reader would expect of such code. It
keeps out accidents and clumsy tricks; it is no sandbox.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import types
from collections.abc import Iterator, Mapping

_MODULES = frozenset(
    {"__future__", "collections.abc", "dataclasses", "enum", "functools", "itertools", "math",
     "operator", "torch", "torch.nn.functional", "triton", "triton.language",
     "triton.language.extra", "triton.language.extra.cuda", "triton.language.extra.libdevice",
     "triton.language.math", "triton.tools.tensor_descriptor", "typing"}
)  # fmt: skip
_NAMES = frozenset(
    {"breakpoint", "compile", "delattr", "eval", "exec", "exit", "getattr", "globals", "input",
     "locals", "open", "quit", "setattr", "vars"}
)  # fmt: skip
_ATTRIBUTES = frozenset(
    {"attrgetter", "backends", "classes", "compiler", "cpp_extension", "ctypes", "distributed",
     "fx", "get_type_hints", "hub", "jit_cache_hook", "knobs", "library", "load_library",
     "methodcaller", "multiprocessing", "ops",
     "overrides", "package", "random", "runtime", "serialization", "set_default_device",
     "set_default_dtype", "storage", "testing", "tools", "untyped_storage", "utils"}
)  # fmt: skip
_FILES = frozenset({"load", "save", "from_file"})
"""Of `torch` itself: tensors in a kernel are loaded, too."""
_HOLDERS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
_MAKERS = frozenset({"dict", "list", "set", "bytearray", "defaultdict", "deque", "iter", "count"})
_KEEPERS = frozenset({"cache", "lru_cache", "cached_property"})


def objection(source: str) -> str | None:
    """What keeps an answer out of the user's process, in words; None if nothing does."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return f"it is not Python: {error}"
    return next(_objections(tree), None)


def _objections(tree: ast.Module) -> Iterator[str]:
    modules = _modules(tree)
    torch_names = {name for name, path in modules.items() if path.partition(".")[0] == "torch"}
    below = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        line = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (f"{line} imports {name}" for name in _imported(node))
        elif isinstance(node, ast.Name) and (node.id in _NAMES or _hidden(node.id)):
            yield f"{line} uses {node.id}"
        elif isinstance(node, ast.Attribute):
            of_torch = isinstance(node.value, ast.Name) and node.value.id in torch_names
            if (
                node.attr in _ATTRIBUTES
                or node.attr.startswith("_")
                or (of_torch and node.attr in _FILES)
            ):
                yield f"{line} uses .{node.attr}"
            elif not isinstance(node.ctx, ast.Load):
                yield f"{line} assigns to an attribute"
            elif found := _foreign(node, modules):
                yield f"{line} reaches the module {found}"
        elif isinstance(node, ast.MatchClass) and node.kwd_attrs:
            yield f"{line} matches attributes"
        elif isinstance(node, ast.Name) and node.id in modules and id(node) not in below:
            yield f"{line} takes {node.id} as a value"
        elif isinstance(node, ast.Global | ast.Nonlocal):
            yield f"{line} keeps state in a variable of an outer scope"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            held = [*node.args.defaults, *node.args.kw_defaults]
            if any(isinstance(one, _HOLDERS) for one in held):
                yield f"{line} keeps state in a default argument"
    for statement in tree.body:
        yield from _kept(statement)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and _last(node) in _KEEPERS:
            yield f"line {node.lineno} keeps results between calls ({_last(node)})"


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Modules of an import that are not allowed."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif node.level or node.module is None:
        names = ["." * node.level + (node.module or "")]
    else:
        below = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [] if node.module in _MODULES else [n for n in below if n not in _MODULES]
        # `from torch import hub` is no less than `torch.hub`.
        names += [
            n
            for n in below
            if n.rpartition(".")[2] in _ATTRIBUTES | _FILES | {"*"}
            or "._" in n
            or _module_at(node.module, [n.rpartition(".")[2]])
        ]
        return (yield from names)
    yield from (name for name in names if name not in _MODULES)


def _modules(tree: ast.Module) -> dict[str, str]:
    """Names under which a module holds others, and which."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                path = alias.name if alias.asname else alias.name.partition(".")[0]
                found[alias.asname or path] = path
        elif isinstance(node, ast.ImportFrom):
            paths = {f"{node.module}.{alias.name}": alias for alias in node.names}
            found |= {a.asname or a.name: path for path, a in paths.items() if path in _MODULES}
    return found


def _foreign(node: ast.Attribute, modules: Mapping[str, str]) -> str:
    """The module that `torch.os` or the like leads to, if a reader would not expect it."""
    keys = [node.attr]
    base = node.value
    while isinstance(base, ast.Attribute):
        keys.insert(0, base.attr)
        base = base.value
    if not isinstance(base, ast.Name) or base.id not in modules:
        return ""
    return _module_at(modules[base.id], keys)


def _module_at(path: str, keys: list[str]) -> str:
    """The name of the module that attributes lead to, if it is neither allowed nor a part of
    PyTorch's or Triton's; empty if it is, or if there is none."""
    found: object = None
    with contextlib.suppress(ImportError, AttributeError):
        found = importlib.import_module(path) if path in _MODULES else None
        for key in keys:
            found = getattr(found, key)
    if not isinstance(found, types.ModuleType) or found.__name__ in _MODULES:
        return ""
    return "" if found.__name__.partition(".")[0] in ("torch", "triton") else found.__name__


def _kept(statement: ast.stmt) -> Iterator[str]:
    """A container that a module holds from call to call, which its functions could fill."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return
    value = statement.value
    made = isinstance(value, ast.Call) and _last(value.func) in _MAKERS
    if (isinstance(value, _HOLDERS) or made) and not _constants(value):
        yield f"line {statement.lineno} makes a container that outlives calls"


def _constants(value: ast.expr) -> bool:
    """Whether a display holds something: an empty one is there to be filled."""
    if isinstance(value, ast.Dict):
        return bool(value.keys)
    return isinstance(value, ast.List | ast.Set | ast.ListComp | ast.SetComp | ast.DictComp) and (
        not hasattr(value, "elts") or bool(value.elts)
    )


def _last(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _hidden(name: str) -> bool:
    return name.startswith("__") and name != "__name__"
