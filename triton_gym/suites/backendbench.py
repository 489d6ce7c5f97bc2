"""BackendBench's problems: overloads of ATen's operators, with the arguments of PyTorch's tests.

(Saroufim et al., "BackendBench: An evaluation suite for testing how well LLMs and humans can write
PyTorch backends", Meta, 2025.) The checkout says which overloads there are, and which are left out
as random or as not to be tested. The arguments are what PyTorch's own tests of its operators
(`op_db`) lead to: a sample of an operator is run, forward and where need be backward, and each call
of the overload on its way is a case, its number the size `call`. Overloads that PyTorch takes apart
before they can be seen are called with the samples' own arguments, where these fit.
"""

from __future__ import annotations

import ast
import keyword
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym import syntax
from triton_gym.errors import InvalidTaskError
from triton_gym.suites.suite import Problem, one_line, read_source, task_name
from triton_gym.task import Case, Kind

if TYPE_CHECKING:
    import torch

    from triton_gym.suites.op_samples import Source
    from triton_gym.task import Task

_LEFT_OUT = ("UNSUPPORTED_OPERATORS", "RANDOM_OPS", "TENSOR_CREATION_AND_MANIPULATION_OPS")
"""Lists of the checkout whose overloads it does not test."""
_ASKED = (
    "Write a function `{name}` that returns what PyTorch's operator `torch.ops.aten.{overload}` "
    "does, computed with Triton kernels of your own only. The operator's schema:\n\n"
    "    {schema}\n\nThe function is called with `{name}({parameters})` by position; what is not "
    "among them has the schema's default. It is tried on the arguments of PyTorch's own tests."
)
MOST_CALLS = 48
"""Calls of an overload that become cases."""


def discover(checkout: Path) -> Iterator[Problem]:
    """The functional overloads of the checkout's map that it tests."""
    path = checkout / "BackendBench" / "scripts" / "op_map.py"
    left_out = _left_out(checkout / "BackendBench" / "op_categories.py")
    for overload in _functional(path):
        if overload not in left_out:
            name = task_name("backendbench", overload)
            yield Problem(
                suite="backendbench",
                key=overload,
                name=name,
                path=path,
                loader=partial(load, overload),
                text=partial(_base, overload),
            )


def _functional(path: Path) -> tuple[str, ...]:
    """The functional overloads that a map names, but for internal ones."""
    found: dict[str, None] = {}
    for line in str(_strings(path).get("op_map_data", "")).splitlines():
        fields = dict(field.split(":", 1) for field in line.split() if ":" in field)
        overload = fields.get("func", "")
        if overload and not overload.startswith("_"):
            found[overload] = None
    return tuple(found)


def _strings(path: Path) -> dict[str, Any]:
    """The constants of a file that are written out."""
    if not path.is_file():
        return {}
    found = {}
    try:
        tree = syntax.parse(read_source(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidTaskError(f"{path} is no Python: {one_line(error)}") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except (ValueError, TypeError):  # computed
                continue
    return found


def _left_out(path: Path) -> frozenset[str]:
    lists = _strings(path)
    return frozenset(name for key in _LEFT_OUT for name in lists.get(key, ()))


def _base(overload: str) -> str:
    """An operator's name: its overloads are near-duplicates, and so is what it is built on."""
    return overload.partition(".")[0].strip("_")


@dataclass(frozen=True, slots=True)
class Overload:
    """An overload of an ATen operator, with samples of PyTorch's tests that lead to it."""

    name: str
    """E.g. `add.Tensor`."""
    source: Source
    """Which samples of `op_db` lead to its calls, and how."""
    parameters: tuple[str, ...] = ()
    """Those of the schema that some call gives another value than the default."""

    kind = Kind.FUNCTION

    def calls(self, seed: int) -> list[dict[str, Any]]:
        """Arguments by parameter of the calls, on the CPU."""
        return [dict(call) for call in _drawn(self, seed)]

    def init(self, case: Case) -> tuple[Any, ...]:
        """A function has none."""
        return ()

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """The arguments of a call, drawn anew."""
        from triton_gym.suites.module_file import converted
        from triton_gym.suites.op_samples import copied, default_of

        call = _drawn(self, generator.initial_seed())[case["call"] - 1]
        values = (copied(call.get(n, default_of(self.name, n))) for n in self.parameters)
        return tuple(converted(value, case.dtype, generator.device) for value in values)

    def reference(self, *arguments: Any) -> Any:
        """The operator."""
        from triton_gym.suites.op_samples import called

        return called(self.name, dict(zip(self.parameters, arguments, strict=True)))


@lru_cache(maxsize=4)
def _drawn(form: Overload, seed: int) -> tuple[dict[str, Any], ...]:
    """The calls of a seed, which every case draws from."""
    from triton_gym.suites.op_samples import calls_of

    return tuple(calls_of(form.name, form.source, seed, MOST_CALLS))


def load(overload: str) -> Task:
    """The task of an overload.

    Raises:
        InvalidTaskError: PyTorch has no such operator or no sample of it, or nothing can be judged.
    """
    from dataclasses import replace

    from triton_gym.suites.loading import Description
    from triton_gym.suites.op_samples import passed, resolved, source_of
    from triton_gym.suites.trying import tried_cases
    from triton_gym.task import Entry

    operator = resolved(overload)
    form = Overload(overload, source_of(overload))
    calls = form.calls(1)
    if not calls:
        raise InvalidTaskError(
            f"No sample of PyTorch's op_db calls {overload}, fits its schema, or has a gradient "
            "that calls it, on tensors and numbers alone."
        )
    form = replace(form, parameters=passed(overload, calls))
    base = overload.partition(".")[0]
    shown = tuple(_identifier(name) for name in form.parameters)
    asked = _ASKED.format(
        name=base, overload=overload, schema=operator._schema, parameters=", ".join(shown)
    )
    described = Description(
        name=task_name("backendbench", overload),
        title=f"aten.{overload}",
        statement=asked,
        entry=Entry(base, shown),
        tags=("backendbench",),
    )
    cases = [Case("float32", {"call": i + 1}) for i in range(len(calls))]
    return tried_cases([form], described, cases, f"aten.{overload}")


def _identifier(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name
