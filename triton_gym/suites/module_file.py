"""A problem that is a file with a class `Model`, `get_inputs()` and `get_init_inputs()`.

It has one shape, given by constants at the top of the file or by numbers in the two functions.
Those are its sizes. What `Model` itself reads of the constants stays: an answer has such constants
of its own and could not follow.
"""

from __future__ import annotations

import ast
import inspect
import symtable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from triton_gym import syntax
from triton_gym.errors import InvalidTaskError
from triton_gym.task import Case, Kind

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """A problem's source; its methods are what a task is made of."""

    source: str
    path: str

    kind = Kind.MODULE

    def names(self, sizes: Mapping[str, int]) -> dict[str, Any]:
        """The file's names after it ran, with its constants set to `sizes`."""
        from triton_gym.suites.execution import DRAWING, executed

        literals = {k: v for k, v in sizes.items() if k.partition(".")[0] in DRAWING}
        scope = executed(self.source, self.path, literals)
        for name, size in sizes.items():
            stem, _, place = name.partition(".")
            if name in literals or stem not in scope:
                continue
            if place:
                items = list(scope[stem])
                items[int(place)] = size
                scope[stem] = type(scope[stem])(items)
            else:
                scope[stem] = size
        return scope

    def sizes(self) -> dict[str, int]:
        """Integers among the file's constants, those in tuples and lists as `name.0`, `name.1`, and
        those written in the functions that draw as `get_inputs.0`, `get_inputs.1`."""
        from triton_gym.suites.execution import literal_sizes

        tree = syntax.parse(self.source)
        scope, found = self.names({}), {}
        kept = read_by(self.source, "Model")
        for node in tree.body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (t for top in targets for t in ast.walk(top)):
                if isinstance(target, ast.Name) and target.id not in kept:
                    found.update(_integers(target.id, scope.get(target.id)))
        return found | literal_sizes(self.source)

    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters of `Model.forward`, one for each input."""
        return self.parameters_at(Case("float32", {}))

    def parameters_at(self, case: Case) -> tuple[str, ...]:
        """The same for the inputs of a case."""
        from triton_gym.suites.shapes import without_values

        scope = self.names(case.sizes)
        count = len(without_values(lambda generator: self.drawn(scope, generator)))
        forward = inspect.signature(scope["Model"].forward).parameters.values()
        names: list[str] = []
        for one in list(forward)[1:]:
            if one.kind == inspect.Parameter.VAR_POSITIONAL:
                names += [f"{one.name}{i}" for i in range(count - len(names))]
            elif one.kind != inspect.Parameter.KEYWORD_ONLY:
                names.append(one.name)
        return tuple(names[:count])

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """`get_inputs()` with its random numbers drawn on the generator's device."""
        found = self.drawn(self.names(case.sizes), generator)
        return tuple(converted(value, case.dtype, generator.device) for value in found)

    def drawn(self, scope: Mapping[str, Any], generator: torch.Generator) -> tuple[Any, ...]:
        """What the file gives as inputs, in its own dtypes."""
        from triton_gym.suites.execution import drawing

        with drawing(generator.initial_seed(), generator.device):
            given = scope["get_inputs"]()
        return in_order(given, inspect.signature(scope["Model"].forward), "forward", skipped=1)

    def init(self, case: Case) -> tuple[Any, ...]:
        """`get_init_inputs()`."""
        scope = self.names(case.sizes)
        given = scope["get_init_inputs"]()
        return tuple(
            value.item() if isinstance(value, np.generic) else value
            for value in in_order(given, inspect.signature(scope["Model"]), "Model")
        )

    def reference(self, *init: Any) -> Any:
        """`Model(*init)`."""
        return self.names({})["Model"](*init)


def in_order(
    given: Any, signature: inspect.Signature, name: str, *, skipped: int = 0
) -> tuple[Any, ...]:
    """Arguments in the order of their parameters.

    Args:
        given: a sequence of them; a dict by name; or a sequence and a dict in a list, if the dict's
            keys are parameters' names, or two arguments are not taken.
        signature: of what takes them.
        name: what that is called.
        skipped: parameters before the first, as `self`.

    Raises:
        InvalidTaskError: an argument by name is none that can be given in order.
    """
    positional, named = given, {}
    if isinstance(given, dict):
        positional, named = (), given
    elif isinstance(given, (list, tuple)) and len(given) == 2 and _of_both(*given):
        meant = bool(given[1]) and set(given[1]) <= set(signature.parameters)
        if meant or not _takes(signature, (*[None] * skipped, *given)):
            positional, named = given
    if not named:
        return tuple(positional)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = [p for p in list(signature.parameters.values())[skipped:] if p.kind in kinds]
    rest = rest[len(positional) :]
    last = max((n for n, one in enumerate(rest) if one.name in named), default=-1)
    values = [named.get(one.name, one.default) for one in rest[: last + 1]]
    unknown = set(named) - {one.name for one in rest}
    if unknown or inspect.Parameter.empty in values:
        wrong = sorted(map(str, unknown)) or [one.name for one in rest if one.name not in named]
        raise InvalidTaskError(
            f"{name} has no parameter {wrong[0]!r} that its arguments by name fill in order; they "
            f"are {', '.join(map(str, named))}."
        )
    return (*positional, *values)


def _of_both(first: Any, second: Any) -> bool:
    """Whether these are arguments in order and arguments by name."""
    named = isinstance(second, dict) and all(isinstance(key, str) for key in second)
    return isinstance(first, (list, tuple)) and named


def _takes(signature: inspect.Signature, arguments: tuple[Any, ...]) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def converted(value: Any, dtype: str, device: torch.device) -> Any:
    """An input where it belongs: float32 becomes the case's dtype, any other dtype stays.

    Containers keep their form; what holds no tensor comes back as it is.
    """
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().to(device)
        return value.to(getattr(torch, dtype)) if value.dtype == torch.float32 else value
    if type(value) in (list, tuple):
        return type(value)(converted(item, dtype, device) for item in value)
    if type(value) is dict:
        return {key: converted(item, dtype, device) for key, item in value.items()}
    return value


def read_by(source: str, name: str) -> set[str]:
    """Global names that a class or function of a file reads, also through others of the file."""
    top = symtable.symtable(source, "<problem>", "exec")
    defined = {table.get_name(): table for table in top.get_children()}
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        table = defined.get(waiting.pop())
        read = _globals(table) - seen if table else set()
        seen |= read
        waiting += read
    return seen


def _globals(table: symtable.SymbolTable) -> set[str]:
    found = {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    return found.union(*map(_globals, table.get_children()))


def _integers(name: str, value: Any) -> dict[str, int]:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return {name: value}
    if isinstance(value, (tuple, list)):
        return {
            f"{name}.{i}": item for i, item in enumerate(value)
            if isinstance(item, int) and not isinstance(item, bool) and item >= 1
        }  # fmt: skip
    return {}
