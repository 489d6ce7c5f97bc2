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
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym import syntax
from triton_gym.errors import InvalidTaskError
from triton_gym.suites.module_file import read_by
from triton_gym.suites.suite import Problem, read_source, task_name
from triton_gym.suites.tritonbench import captured_task, parts

if TYPE_CHECKING:
    from triton_gym.suites.published import PublishedFile
    from triton_gym.task import Task

LARGE = 1 << 18
"""Elements of a problem's smallest call above which smaller shapes are looked for: they take
minutes to emulate."""
HALVED = 12
"""Sizes are halved fewer times than this."""
TRIES = 5
"""So many ways to halve are tried."""
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

    Where the functions keep to themselves what their kernels compute, or there is none, it is the
    task of a kernel: its arguments and its grid are given.

    Raises:
        InvalidTaskError: there is none; the message says why for the first.
    """
    from triton_gym.suites.published import NoResultError

    path = Path(path)
    source, tests = parts(path)
    first: InvalidTaskError | None = None
    names = entries(source, tests)
    for name in names:
        try:
            return _task(source, tests, path, name)
        except InvalidTaskError as error:
            first = first or error
    if not names or isinstance(first, NoResultError):
        for name in _plain_kernels(source):
            try:
                return _task(source, tests, path, name)
            except InvalidTaskError as error:
                first = first or error
    raise first or InvalidTaskError(
        f"The tests of {path} call no function that launches a kernel of it. They launch a kernel "
        "whose blocks are tuned, with a grid that does not follow from them."
    )


def _task(source: str, tests: str, path: Path, name: str) -> Task:
    """The task of a function, tried on smaller shapes than its tests have where these are large."""
    from triton_gym.suites.captured import elements
    from triton_gym.suites.execution import told
    from triton_gym.suites.published import PublishedFile
    from triton_gym.suites.shrinking import TINY_ELEMENTS

    form = PublishedFile(source, tests, str(path), name)
    try:
        full = form.shapes()
    except InvalidTaskError:
        raise
    except Exception as error:
        raise InvalidTaskError(f"The tests of {path} fail: {told(error, str(path))}.") from error
    if (least := min(map(elements, full), default=0)) > LARGE:
        for halvings in _halvings(form, least, TINY_ELEMENTS):
            with suppress(InvalidTaskError):  # the file is not made for such sizes
                return _task_at(form, path, halvings, full)
    return _task_at(form, path, 0, [])


def _halvings(form: PublishedFile, least: int, most: int) -> Iterator[int]:
    """How often sizes may be halved: first so that a call has at most so many elements, or as few
    as there may be, then less often.

    Args:
        form: the function and its tests.
        least: elements of its smallest call.
        most: what is wanted.
    """
    from triton_gym.suites.captured import elements

    # Of the axes of a tensor two shrink, most often.
    start = max(1, math.ceil(math.log(least / most, 4)) - 1)
    found, fewest = start, math.inf
    for times in range(start, HALVED):
        try:
            calls = form.halved(times).shapes()
        except Exception:  # at some sizes nothing can be drawn
            continue
        now = min(map(elements, calls), default=0)
        if now < fewest:
            found, fewest = times, now
        if now <= most:
            break
    yield from range(found, max(0, found - TRIES), -1)


def _task_at(form: PublishedFile, path: Path, halvings: int, full: list[dict[str, Any]]) -> Task:
    """The task whose cases are the calls of the tests, their sizes halved so often."""
    import torch

    from triton_gym.suites.execution import told
    from triton_gym.suites.module_arguments import told_of
    from triton_gym.suites.parameters import passed

    try:
        small = form.halved(halvings) if halvings else form
        calls = small.calls(1, torch.device("cpu"))
        form = replace(form, parameters=passed([*calls, *full], form.function()))
        form = form.watched(calls)
    except InvalidTaskError:
        raise
    except Exception as error:
        raise InvalidTaskError(f"The tests of {path} fail: {told(error, str(path))}.") from error
    if not calls:
        raise InvalidTaskError(f"The tests of {path} never get to call {form.name}.")
    described = _description(path).replace("{", "{{").replace("}", "}}")
    given = told_of(value for call in calls for value in call.values())
    asked = _ASKED.replace("{writes}", _told_writes(form) + f" {given}".rstrip())
    asked = asked.replace("{told}", described)
    return captured_task(
        form, len(calls), task_name("tritonbench_g", path.stem), ("tritonbench-g",), asked,
        form.tests, halvings=halvings,
    )  # fmt: skip


def _told_writes(form: PublishedFile) -> str:
    if form.parameters[-1:] == ("grid",):
        rest = _told_writes(replace(form, parameters=form.parameters[:-1]))
        return f" `grid` is how many programs the published kernel has along each axis.{rest}"
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
    rows = json.loads(read_source(path))
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


def _plain_kernels(source: str) -> list[str]:
    """Kernels whose blocks nobody else chooses: those under `triton.jit` alone."""
    return [
        node.name
        for node in syntax.parse(source).body
        if isinstance(node, ast.FunctionDef)
        and [ast.unparse(one).rpartition(".")[2] for one in node.decorator_list] == ["jit"]
    ]


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
