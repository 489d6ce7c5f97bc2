"""TritonBench-T's problems: PyTorch functions, each in a file with its tests below a line of `#`.

(Li et al., "TritonBench: Benchmarking large language model capabilities for generating Triton
operators", 2025.) A problem's cases are the calls of its tests (`captured.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from triton_gym.errors import InvalidTaskError
from triton_gym.suites.suite import Problem, read_source, task_name

if TYPE_CHECKING:
    from triton_gym.suites.captured import CapturedFile
    from triton_gym.task import Task

_LINE = re.compile(r"^#{40,}\s*$", re.MULTILINE)
_ASKED = (
    "Write a function `{name}` that returns what the function of that name below does, computed "
    "with Triton kernels of your own only. It is called with all parameters of the signature "
    "`{signature}` by position; those that are not in it have their defaults."
)


def discover(checkout: Path) -> Iterator[Problem]:
    """The problems of a checkout."""
    folder = checkout / "data" / "TritonBench_T_v1"
    for path in sorted(folder.glob("*.py")):
        yield Problem(
            suite="tritonbench-t",
            key=path.stem,
            name=task_name("tritonbench_t", path.stem),
            path=path,
            loader=partial(load, path),
            text=partial(_function, path),
        )


def load(path: str | Path) -> Task:
    """The task of a problem file.

    Raises:
        InvalidTaskError: no call of its tests can be judged; the message says why the first cannot.
    """
    from triton_gym.suites.captured import CapturedFile
    from triton_gym.suites.execution import told
    from triton_gym.suites.module_arguments import told_of
    from triton_gym.suites.parameters import passed

    path = Path(path)
    source, tests = parts(path)
    form = CapturedFile(source, tests, str(path), path.stem)
    try:
        import torch

        calls = form.calls(1, torch.device("cpu"))
        form = replace(form, parameters=passed(calls, form.function()))
    except InvalidTaskError:
        raise
    except Exception as error:
        raise InvalidTaskError(f"The tests of {path} fail: {told(error, str(path))}.") from error
    if not calls:
        raise InvalidTaskError(f"The tests of {path} never call {path.stem}.")
    asked = f"{_ASKED} {told_of(value for call in calls for value in call.values())}".strip()
    return captured_task(
        form, len(calls), task_name("tritonbench_t", path.stem), ("tritonbench-t",), asked, source
    )


def captured_task(
    form: CapturedFile, calls: int, name: str, tags: tuple[str, ...], asked: str, shown: str,
    *, halvings: int = 0,
) -> Task:  # fmt: skip
    """The task whose cases are the calls that can be judged.

    Args:
        form: the function and its tests.
        calls: how many calls there are.
        name: of the task.
        tags: of the task.
        asked: what is asked for, with places for `name` and `signature`.
        shown: source that the statement ends with.
        halvings: how often the sizes in its tests are halved for what is tried here; its largest
            call is timed at its own size.
    """

    from triton_gym.suites.captured import HALVINGS, KEPT, Redraw
    from triton_gym.suites.loading import Description, statement_of
    from triton_gym.suites.trying import tried_cases
    from triton_gym.task import Case, Entry

    signature = f"def {form.name}({', '.join(form.given)})"
    described = Description(
        name=name,
        title=form.name.replace("_", " "),
        statement=statement_of(shown, asked.format(name=form.name, signature=signature)),
        entry=Entry(form.name, form.given),
        tags=tags,
    )
    smaller = {HALVINGS: halvings} if halvings else {}
    cases = [Case("float32", {"call": i + 1, **smaller}) for i in range(calls)]
    ways = (Redraw.VALUES, Redraw.SIZE, Redraw.NOTHING, Redraw.SINGLE)
    forms = [replace(form, redraw=how) for how in ways]
    own = ways.index(Redraw.NOTHING)
    task = tried_cases(forms, described, cases, form.path, as_given=own)
    if not halvings:
        return task
    note = (
        f"numbers above {KEPT} in its tests are halved {halvings} times for small shapes; it is "
        "timed at their own"
    )
    bench = Case("float32", {"call": task.bench[0]["call"]})
    return replace(task, bench=(bench,), notes=(note, *task.notes))


def parts(path: Path) -> tuple[str, str]:
    """Source and tests of a problem file."""
    source, *tests = _LINE.split(read_source(path))
    if not tests:
        raise InvalidTaskError(f"{path} is no problem of TritonBench: no line of # parts it.")
    return source, "\n".join(tests)


def _function(path: Path) -> str:
    return _LINE.split(read_source(path))[0]
