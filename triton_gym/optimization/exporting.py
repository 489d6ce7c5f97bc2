"""A function's graph: `torch.export` on tensors taken out of its arguments, without its values."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from triton_gym.errors import NotOptimizableError
from triton_gym.evaluation import trees
from triton_gym.optimization.captures import Captures
from triton_gym.optimization.inspection import Text


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call's arguments, taken apart."""

    names: tuple[str, ...]
    """Of every tensor: an expression over the function's parameters."""
    tensors: tuple[torch.Tensor, ...]
    constants: tuple[tuple[str, Any], ...]
    """Everything else that is no container, by expression."""
    containers: tuple[tuple[str, str, int], ...]
    template: Any
    """The arguments by parameter, tensors replaced by `_Place`."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Stands for a tensor: its place in order."""

    number: int


_PLAIN = (bool, int, float, complex, str, type(None), torch.dtype, torch.device)


def taken_apart(bound: Mapping[str, Any], what: str) -> Arguments:
    """Arguments by parameter, taken apart.

    Raises:
        NotOptimizableError: something is no tensor, plain value or container of these.
    """
    names: list[str] = []
    tensors: list[torch.Tensor] = []
    constants: list[tuple[str, Any]] = []
    containers: list[tuple[str, str, int]] = []

    def walk(value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            for place, one in enumerate(tensors):
                if one is value:
                    return _Place(place)
            names.append(name)
            tensors.append(value)
            return _Place(len(tensors) - 1)
        if type(value) in (list, tuple):
            containers.append((name, type(value).__name__, len(value)))
            return type(value)(walk(item, f"{name}[{i}]") for i, item in enumerate(value))
        if type(value) is dict:
            containers.append((name, "dict", len(value)))
            return {key: walk(item, f"{name}[{key!r}]") for key, item in value.items()}
        if isinstance(value, _PLAIN):
            constants.append((name, value))
            return value
        raise NotOptimizableError(
            f"Argument {name} of {what} is a {type(value).__name__}; it must be a tensor, a plain "
            "value, or a list, tuple or dict of these."
        )

    template = {name: walk(value, name) for name, value in bound.items()}
    if not tensors:
        raise NotOptimizableError(f"{what} takes no tensor: nothing tells calls apart.")
    return Arguments(tuple(names), tuple(tensors), tuple(constants), tuple(containers), template)


@dataclass(slots=True)
class Called:
    """A function, how it is called, and the tree of its last result."""

    function: Callable[..., Any]
    arguments: Arguments
    signature: Any
    path: str
    """Of the function's file."""
    tree: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    """The line of the file where each function of PyTorch was called first."""


class _Lines(TorchFunctionMode):
    """Notes lines: graphs know those of modules alone."""

    def __init__(self, called: Called) -> None:
        super().__init__()
        self._called = called

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        name = getattr(func, "__name__", "")
        frame = sys._getframe(1)
        while frame is not None and name not in self._called.lines:
            if frame.f_code.co_filename == self._called.path:
                self._called.lines[name] = frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return func(*args, **(kwargs or {}))


class Flat(torch.nn.Module):
    """A function of tensors alone, which keeps the tree of the result aside in `called`.

    The modules that the function captured are submodules here, so that export lifts their
    parameters to inputs.
    """

    def __init__(self, called: Called, captures: Captures) -> None:
        super().__init__()
        self.captured = torch.nn.ModuleList(captures.modules)
        self.called = called

    def forward(self, *tensors: torch.Tensor) -> Any:
        """The tensors of the result, in order."""
        called = self.called
        bound = called.signature.bind_partial()
        bound.arguments.update(_assembled(called.arguments.template, tensors))
        with _Lines(called):
            result = called.function(*bound.args, **bound.kwargs)
        found: list[Any] = []
        called.tree = _shaped(result, found)
        return tuple(found)


def _assembled(template: Any, tensors: tuple[torch.Tensor, ...]) -> Any:
    if isinstance(template, _Place):
        return tensors[template.number]
    if type(template) in (list, tuple):
        return type(template)(_assembled(item, tensors) for item in template)
    if type(template) is dict:
        return {key: _assembled(item, tensors) for key, item in template.items()}
    return template


def _shaped(result: Any, found: list[Any]) -> Any:
    """The result with its tensors replaced by `_Place`; they are appended to `found`."""
    if isinstance(result, torch.Tensor):
        found.append(result)
        return _Place(len(found) - 1)
    if type(result) in (list, tuple):
        return type(result)(_shaped(item, found) for item in result)
    if type(result) is dict:
        return {key: _shaped(item, found) for key, item in result.items()}
    if isinstance(result, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        raise NotOptimizableError("It returns a size or a number that follows from one.")
    if result is None or isinstance(result, (bool, int, float, str, torch.dtype)):
        return trees.Constant(result)
    raise NotOptimizableError(
        f"It returns a {type(result).__name__}: results must be tensors, plain values, or lists, "
        "tuples and dicts of these."
    )


def exported(
    flat: Flat, dynamic: Mapping[str, tuple[int, ...]] | None, text: Text
) -> ExportedProgram:
    """The graph of a function in PyTorch's own operators, before they are taken apart.

    Args:
        flat: the function, with an example.
        dynamic: axes whose size may vary, by expression; None for all that can.
        text: of the function, for messages.

    Raises:
        NotOptimizableError: it cannot be traced; the message says why and where.
    """
    arguments = flat.called.arguments
    shapes = tuple(
        {
            axis: Dim.AUTO
            for axis in range(tensor.dim())
            if dynamic is None or axis in dynamic.get(name, ())
        }
        for name, tensor in zip(arguments.names, arguments.tensors, strict=True)
    )
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(
                flat, arguments.tensors, dynamic_shapes=(shapes,), strict=False
            )
    except NotOptimizableError as error:
        raise NotOptimizableError(f"{text.name} ({text.path}:{text.line}): {error}") from error
    except Exception as error:  # whatever a user's function raises among fake tensors
        raise NotOptimizableError(
            f"{text.name} cannot be traced{_line_in(error, text)}: {_why(error)}"
        ) from error


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The same in core operators: attention as products and a softmax, norms as means."""
    backend = torch.nn.attention.SDPBackend.MATH
    with _quiet(), torch.no_grad(), torch.nn.attention.sdpa_kernel(backend):
        core: ExportedProgram = program.run_decompositions()
        return core


def _line_in(error: BaseException, text: Text) -> str:
    """The last line of the user's file that an error went through, in words."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == text.path:
            return f" ({frame.filename}:{frame.lineno}: {frame.line})"
    return f" ({text.path}:{text.line})" if text.line else ""


_REASONS = (
    ("GuardOnDataDependentSymNode", "what it does next depends on values of its tensors"),
    ("DynamicOutputShape", "the size of a tensor in it depends on values"),
    ("DataDependentOutput", "it reads values of its tensors"),
    ("no active drivers", "it launches a Triton kernel of its own; say with reference= in "
     "PyTorch what it computes"),
)  # fmt: skip


def _why(error: BaseException) -> str:
    """An error in a sentence."""
    told = f"{type(error).__name__}: {error}"
    reason = next((why for mark, why in _REASONS if mark in told), "")
    first = told.strip().splitlines()[0][:300]
    return f"{reason}. PyTorch says: {first}" if reason else first


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Export warns of sizes that it fixed: the guard tells of them."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def result_text(tree: Any) -> str:
    """The tree of a result as a template of Python text, `{n}` for the n-th tensor."""
    if isinstance(tree, _Place):
        return f"{{{tree.number}}}"
    if isinstance(tree, trees.Constant):
        return repr(tree.value).replace("{", "{{").replace("}", "}}")
    if isinstance(tree, dict):
        inner = ", ".join(f"{key!r}: {result_text(item)}" for key, item in tree.items())
        return f"{{{{{inner}}}}}"
    inner = "".join(f"{result_text(item)}, " for item in tree)
    return f"[{inner}]" if isinstance(tree, list) else f"({inner})"


def called_text(called: Called, tensors: list[str]) -> str:
    """The arguments of a call of the function as Python text, with names for its tensors."""
    pieces = []
    for name, value in called.arguments.template.items():
        kind = called.signature.parameters[name].kind
        text = _value_text(value, tensors)
        if kind is inspect.Parameter.VAR_POSITIONAL:
            pieces.append(f"*{text}")
        elif kind is inspect.Parameter.VAR_KEYWORD:
            pieces.append(f"**{text}")
        elif kind is inspect.Parameter.KEYWORD_ONLY:
            pieces.append(f"{name}={text}")
        else:
            pieces.append(text)
    return ", ".join(pieces)


def _value_text(value: Any, tensors: list[str]) -> str:
    if isinstance(value, _Place):
        return tensors[value.number]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_value_text(v, tensors)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = "".join(f"{_value_text(item, tensors)}, " for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, torch.device):
        return f"torch.device({str(value)!r})"
    return repr(value)
