"""TritonBench-G's problems: Triton kernels published on GitHub, with their host code and tests.

(Li et al., "TritonBench: Benchmarking large language model capabilities for generating Triton
operators", 2025.) What is asked for is one function that the tests call and that launches a kernel,
told by its description in the checkout; the kernel itself is not shown. A problem's cases are the
calls of its tests (`captured.py`). The reference is the published kernel: on a GPU as Triton
compiles it, anywhere else, and for the float64 oracle, emulated (`eager_triton`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from triton_gym import syntax
from triton_gym.errors import InvalidTaskError
from triton_gym.suites.module_file import read_by
from triton_gym.suites.suite import Problem, task_name
from triton_gym.suites.tritonbench import captured_task, parts

if TYPE_CHECKING:
    from triton_gym.suites.published import PublishedFile
    from triton_gym.task import Task

_ASKED = (
    "Write a function `{name}` computed with Triton kernels of your own. It is called with all "
    "parameters of the signature `{signature}` by position.{writes} It is described so:\n\n{told}"
)
_WRITES = (
    " The published function writes to {names}: yours must not change an argument, and returns "
    "{what} instead."
)


def discover(checkout: Path) -> Iterator[Problem]:
    """The problems of a checkout."""
    folder = checkout / "data" / "TritonBench_G_v1"
    for path in sorted(folder.glob("*.py")):
        yield Problem(
            suite="tritonbench-g",
            key=path.stem,
            name=task_name("tritonbench_g", path.stem),
            path=path,
            loader=partial(load, path),
            text=partial(_kernels, path),
        )


def _kernels(path: Path) -> str:
    return parts(path)[0]


def load(path: str | Path) -> Task:
    """The task of a problem file: of the first function with kernels whose calls can be judged.

    Raises:
        InvalidTaskError: there is none; the message says why for the first.
    """
    path = Path(path)
    source, tests = parts(path)
    first: InvalidTaskError | None = None
    for name in entries(source, tests):
        try:
            return _task(source, tests, path, name)
        except InvalidTaskError as error:
            first = first or error
    raise first or InvalidTaskError(
        f"The tests of {path} call no function that launches a kernel of it."
    )


def _task(source: str, tests: str, path: Path, name: str) -> Task:
    import torch

    from triton_gym.suites.captured import passed
    from triton_gym.suites.execution import told
    from triton_gym.suites.published import PublishedFile

    form = PublishedFile(source, tests, str(path), name)
    try:
        calls = form.calls(1, torch.device("cpu"))
        form = replace(form, parameters=passed(calls, form.function()))
        form = form.watched(calls)
    except InvalidTaskError:
        raise
    except Exception as error:
        raise InvalidTaskError(f"The tests of {path} fail: {told(error, str(path))}.") from error
    if not calls:
        raise InvalidTaskError(f"The tests of {path} never get to call {name}.")
    described = _description(path).replace("{", "{{").replace("}", "}}")
    asked = _ASKED.replace("{told}", described).replace("{writes}", _told_writes(form))
    return captured_task(
        form, len(calls), task_name("tritonbench_g", path.stem), ("tritonbench-g",), asked, tests
    )


def _told_writes(form: PublishedFile) -> str:
    if form.drawn:
        names = " and ".join(f"`{name}`" for name in form.drawn)
        return f" The published function draws {names} at random; here they are given." + (
            _told_writes(replace(form, draws=0))
        )
    if not form.writes:
        return ""
    names = " and ".join(f"`{name}`" for name in form.writes)
    rest = " and ".join(f"`{name}`" for name in form.returned)
    what = f"what {rest} would hold" if rest else "the result alone"
    if rest and not form.returns_nothing:
        what = f"a tuple of the result and {what}, in this order,"
    return _WRITES.format(names=names, what=what)


def _description(path: Path) -> str:
    """What the checkout says of a problem."""
    told = _descriptions(path.parent.parent / "TritonBench_G_v1.json").get(path.name, "")
    return " ".join(told.split()) or "as the calls below need it."


@lru_cache(maxsize=8)
def _descriptions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {row["file"]: str(row.get("comp_instru") or row.get("simp_instru", "")) for row in rows}


def entries(source: str, tests: str) -> tuple[str, ...]:
    """Functions of a file that its tests call and that launch a kernel, in the order of the calls.

    A class is one if it is called by `apply` or `forward`; so is a name that stands for one.
    """
    defined: dict[str, str] = {}
    kernels = set()
    for node in syntax.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = node.name
            if any("jit" in ast.unparse(one) for one in node.decorator_list):
                kernels.add(node.name)
        elif isinstance(node, ast.ClassDef):
            defined[node.name] = node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
                defined[node.targets[0].id] = value.value.id
    found: dict[str, None] = {}
    for call in ast.walk(syntax.parse(tests)):
        if isinstance(call, ast.Call) and (name := _called(call.func)) in defined:
            if name not in kernels and kernels & _read(source, defined, name):
                found[name] = None
    return tuple(found)


def _read(source: str, defined: Mapping[str, str], name: str) -> set[str]:
    """Global names that a function or class reads, also through what names of others stand for."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        read = read_by(source, defined.get(one, one)) - seen
        seen |= read
        waiting += [other for other in read if defined.get(other, other) != other]
    return seen


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute) and function.attr in ("apply", "forward"):
        function = function.value
    return function.id if isinstance(function, ast.Name) else ""
