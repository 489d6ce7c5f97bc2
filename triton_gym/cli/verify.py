"""`triton-gym verify`: looks a task over before anyone is asked to beat it."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from triton_gym.cli.names import task_of
from triton_gym.errors import InvalidOptionError
from triton_gym.printing import message
from triton_gym.task import Task

_MARKS = {"error": "[red]error[/]", "doubt": "[yellow]doubt[/]", "fine": "[green]fine[/] "}


def verify(
    task: Annotated[str, typer.Argument(help="`my_module:task`, or the name of a task.")],
    device: Annotated[str, typer.Option(help="Where starter and expert run.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look a task over: reference, tolerances, trivial answers, FLOPs, bytes, starter, expert.

    Ends with exit code 1 if answers would be judged wrongly.
    """
    from triton_gym.verification import verify as look

    console = Console()
    found = _task(task)
    with console.status(f"looking at {escape(found.name)} …"):
        report = look(found, device)
    if as_json:
        print(json.dumps({"ok": report.ok, **asdict(report)}, indent=2))
    else:
        console.print(escape(str(report).splitlines()[0]))
        for finding in report.findings:
            text = escape(message(finding.what))
            console.print(f"  {_MARKS[finding.level]}  {text}", soft_wrap=True)
    raise typer.Exit(0 if report.ok else 1)


def _task(name: str) -> Task:
    """The task that a user names.

    Raises:
        InvalidOptionError: there is none.
    """
    module, colon, attribute = name.partition(":")
    if not colon or attribute.startswith("Triton"):
        return task_of(name)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidOptionError(f"{name!r}: {error}.") from None
    if not isinstance(found, Task):
        raise InvalidOptionError(f"{name!r} is no Task but a {type(found).__name__}.")
    return found
