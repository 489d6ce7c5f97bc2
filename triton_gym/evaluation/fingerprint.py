"""A name for what a task does, the same in every process: the part of a store's key.

Pickled bytes will not do. They name an importable function instead of holding it, so an edited
reference keeps its bytes; and they depend on the hash seed and on which strings are shared.
Here functions count by their code, constants, defaults, closures and the globals they read;
libraries count by name, since the store's key holds their versions and this package's code. What
cannot be followed, such as a module that a function imports when it is called, counts by name too.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import os
import pickle
import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import cloudpickle

from triton_gym.task import Task

NOT_JUDGED = frozenset({"title", "statement", "starter", "expert", "knobs", "tags"})
"""Fields of a task that no outcome depends on."""
_LIBRARIES = frozenset(sys.stdlib_module_names) - {"__main__"} | {
    "cloudpickle", "gymnasium", "numpy", "torch", "triton",
}  # fmt: skip
_SKIPPED = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__annotations__",
     "__static_attributes__", "__annotate__", "__annotate_func__", "__annotations_cache__"}
)  # fmt: skip


_PROCESS = os.urandom(16)
_NOWHERE = sys.maxsize


def task_fingerprint(task: Task) -> str:
    """Hexadecimal digest of everything about a task that an outcome depends on."""
    judged = {
        f.name: getattr(task, f.name) for f in dataclasses.fields(task) if f.name not in NOT_JUDGED
    }
    return _Walk().digest(judged).hex()


def remembered_fingerprint(task: Task) -> str:
    """The same for a task that nobody changes while it is held, as in a judge."""
    key = id(task)
    with _remembering:
        known = _remembered.get(key)
    if known is None or known[0] is not task:
        known = task, task_fingerprint(task)
        with _remembering:
            _remembered[key] = known
            while len(_remembered) > _REMEMBERED:
                _remembered.popitem(last=False)
    return known[1]


_REMEMBERED = 64
_remembered: OrderedDict[int, tuple[Task, str]] = OrderedDict()
"""Tasks by their ids, which no other object has as long as they are kept here."""
_remembering = threading.Lock()


def code_fingerprint(function: Any) -> str:
    """Hexadecimal digest of a function as it is written, with all that it calls and reads.

    Tensors count by shape, dtype and device alone, since their values are none of the code's.
    """
    return _Walk(values=False).digest(function).hex()


class _Walk:
    """One walk over an object and all that it refers to."""

    def __init__(self, *, values: bool = True) -> None:
        self._values = values
        self._open: dict[int, int] = {}  # what is being digested, and how deep: circles end here
        self._outermost = _NOWHERE  # the least deep of what circles led back to
        self._known: dict[int, tuple[bytes, Any]] = {}  # the object is kept, and so its id

    def digest(self, value: Any) -> bytes:
        key, depth = id(value), len(self._open)
        if key in self._open:
            self._outermost = min(self._outermost, self._open[key])
            return _hash("circle", str(depth - self._open[key]).encode())
        if key in self._known:
            return self._known[key][0]
        before, self._outermost = self._outermost, _NOWHERE
        self._open[key] = depth
        try:
            found = self._digest(value)
        finally:
            del self._open[key]
        if self._outermost >= depth:  # it is the same wherever it is met
            self._known[key] = (found, value)
            self._outermost = before
        else:
            self._outermost = min(before, self._outermost)
        return found

    def _digest(self, value: Any) -> bytes:
        kind = type(value)
        if (
            value is None
            or kind in (bool, int, float, complex, str, bytes, range, slice)
            or (value is Ellipsis or value is NotImplemented)
        ):
            return _hash(kind.__name__, repr(value).encode())
        if isinstance(value, enum.Enum):
            return self._parts("enum", kind.__qualname__, value.name, value.value)
        if isinstance(value, Mapping):
            pairs = sorted(self.digest(k) + self.digest(v) for k, v in value.items())
            return _hash("mapping", *pairs)
        if isinstance(value, Set):
            return _hash("set", *sorted(self.digest(item) for item in value))
        if kind in (list, tuple):
            return _hash(kind.__name__, *(self.digest(item) for item in value))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.ModuleType):
            return _hash("module", value.__name__.encode())
        if isinstance(value, type):
            return self._class(value)
        return self._object(value)

    def _parts(self, label: str, *values: Any) -> bytes:
        return _hash(label, *(self.digest(value) for value in values))

    def _function(self, function: types.FunctionType) -> bytes:
        if _library(function.__module__):
            return _hash("named", f"{function.__module__}.{function.__qualname__}".encode())
        cells = [_content(cell) for cell in function.__closure__ or ()]
        return self._parts(
            "function", function.__code__, function.__defaults__, function.__kwdefaults__, cells,
            self._globals(function.__code__, function.__globals__),
        )  # fmt: skip

    def _globals(self, code: types.CodeType, namespace: dict[str, Any]) -> dict[str, Any]:
        """What the code and the functions within it read: globals, and attributes of modules."""
        names = set(code.co_names)
        found = {name: namespace[name] for name in names if name in namespace}
        for owner, module in list(found.items()):
            if isinstance(module, types.ModuleType) and not _library(module.__name__):
                held = {name: vars(module)[name] for name in names if name in vars(module)}
                found |= {f"{owner}.{name}": value for name, value in held.items()}
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                found |= self._globals(constant, namespace)
        return found

    def _code(self, code: types.CodeType) -> bytes:
        # Not the file, the lines, or the names of the function's own variables.
        constants = list(code.co_consts)
        return self._parts(
            "code", code.co_code, constants, code.co_names, code.co_argcount,
            code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags, code.co_exceptiontable,
        )  # fmt: skip

    def _class(self, cls: type) -> bytes:
        if _library(cls.__module__):
            return _hash("named", f"{cls.__module__}.{cls.__qualname__}".encode())
        body = {name: value for name, value in vars(cls).items() if name not in _SKIPPED}
        return self._parts("class", cls.__qualname__, list(cls.__bases__), body)

    def _object(self, value: Any) -> bytes:
        kind = type(value)
        if isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType)):
            return _hash("named", f"{value.__module__}.{value.__qualname__}".encode())
        if isinstance(value, types.MethodType):
            return self._parts("method", value.__func__, value.__self__)
        if isinstance(value, functools.partial):
            return self._parts("partial", value.func, value.args, value.keywords)
        if isinstance(value, (staticmethod, classmethod)):
            return self._parts(kind.__name__, value.__func__)
        if isinstance(value, property):
            return self._parts("property", value.fget, value.fset, value.fdel)
        if isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            return _hash("slot", value.__name__.encode())
        if kind.__module__ == "torch" and kind.__name__ in ("dtype", "device"):
            return _hash("torch", repr(value).encode())
        if isinstance(value, Path):
            return _hash("path", str(value).encode())
        if _is_array(value):
            return self._array(value)
        if not self._values and hasattr(value, "_parameters") and hasattr(value, "_modules"):
            return self._parts("module", kind, _module_state(value))
        state = _state(value)
        if state is not None and (not _library(kind.__module__) or _own(kind.__module__)):
            return self._parts("object", kind, state)
        if kind.__module__ in ("_thread", "threading"):  # how threads wait decides nothing
            return _hash("named", f"{kind.__module__}.{kind.__qualname__}".encode())
        # Not the same in every process, perhaps: a recorded outcome may not be found again, but
        # never stands for another task.
        try:
            return _hash("pickled", cloudpickle.dumps(value))
        except (TypeError, ValueError, pickle.PicklingError):
            return _hash("here only", _PROCESS, str(id(value)).encode())

    def _array(self, value: Any) -> bytes:
        if not self._values:
            device = str(getattr(value, "device", "cpu"))
            return self._parts("array", str(value.dtype), tuple(value.shape), device)
        array = value.detach().cpu().contiguous() if hasattr(value, "detach") else value
        raw = array.flatten().view(_uint8(array)).numpy() if hasattr(array, "numpy") else array
        return self._parts("array", str(array.dtype), tuple(array.shape), raw.tobytes())


def _hash(label: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(label.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _library(module: str | None) -> bool:
    return (module or "builtins").partition(".")[0] in _LIBRARIES or _own(module)


def _own(module: str | None) -> bool:
    """Whether a module is this library's, whose code the store's key holds; tasks are apart."""
    return f"{module}.".startswith("triton_gym.") and not f"{module}.".startswith(
        "triton_gym.envs."
    )


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return Ellipsis


def _is_array(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in ("numpy", "torch") and hasattr(
        value, "tobytes" if type(value).__module__ == "numpy" else "untyped_storage"
    )


def _uint8(tensor: Any) -> Any:
    import torch

    return torch.uint8


def _state(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of the user's own class, slots included."""
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    slots = [name for cls in type(value).__mro__ for name in _names(vars(cls).get("__slots__", ()))]
    if not hasattr(value, "__dict__") and not slots:
        return None
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**getattr(value, "__dict__", {}), **held}


def _module_state(module: Any) -> dict[str, Any]:
    """What a `torch.nn.Module` holds besides PyTorch's own bookkeeping, as hooks."""
    inside = {"_parameters", "_buffers", "_modules"}
    return {k: v for k, v in vars(module).items() if k in inside or not k.startswith("_")}


def _names(slots: str | Sequence[str]) -> Sequence[str]:
    return (slots,) if isinstance(slots, str) else [s for s in slots if s != "__dict__"]
