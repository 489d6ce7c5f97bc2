"""`triton-gym envs` and `triton-gym show`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from triton_gym import registration, suites
from triton_gym.cli.names import family_id, ids_of, task_of
from triton_gym.errors import InvalidOptionError, unknown

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def envs(
    tag: Annotated[str, typer.Option(help="Only tasks with this tag, e.g. core or matrix.")] = "",
    suite: Annotated[str, typer.Option(help="A suite from elsewhere, e.g. kernelbench.")] = "",
    path: Annotated[Path | None, typer.Option(help="Your checkout of the suite.")] = None,
    as_json: _JSON = False,
) -> None:
    """List the environments, or the problems of a suite. None of those is loaded for it."""
    if suite or path:
        _suite(suite, path, as_json)
        return
    rows: list[dict[str, Any]] = []
    for name in registration.tasks():
        task = registration.load(name)
        rows += [
            {"id": env_id, "title": task.title, "tags": task.tags, "knobs": len(task.knobs)}
            for env_id in ids_of(name, task)
        ]
    for name in registration.families():
        title = (inspect.getdoc(registration.family_of(name)) or "").partition("\n")[0]
        rows.append({"id": family_id(name), "title": title, "tags": (name,), "knobs": 0})
    if tag:
        known = {one for row in rows for one in row["tags"]}
        rows = [row for row in rows if tag in row["tags"]]
        if not rows:
            raise unknown("tag", tag, known)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("id", "title", "tags", "knobs"):
        # Ids are for copying: they must not be cut.
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    for row in rows:
        table.add_row(row["id"], row["title"], " ".join(row["tags"]), str(row["knobs"]))
    Console().print(table)


def _suite(name: str, path: Path | None, as_json: bool) -> None:
    if not name or path is None:
        raise InvalidOptionError(
            f"A suite is listed with both --suite ({', '.join(suites.SUITES)}) and --path, the "
            "folder of your checkout."
        )
    found = suites.load(name, path)
    tested = {problem.key for problem in found.split()[1]}
    if as_json:
        rows = [
            {
                "id": problem.id, "key": problem.key, "path": str(problem.path),
                "split": "test" if problem.key in tested else "train",
            }
            for problem in found
        ]  # fmt: skip
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, padding=(0, 1))
    table.add_column("id", no_wrap=True)
    table.add_column("problem", overflow="fold")
    table.add_column("split")
    for problem in found:
        table.add_row(problem.id, problem.key, "test" if problem.key in tested else "train")
    Console().print(table)


def show(
    task_name: Annotated[str, typer.Argument(metavar="TASK", help="A task's name or an id.")],
    starter: Annotated[bool, typer.Option("--starter", help="Print only the starter.")] = False,
    expert: Annotated[bool, typer.Option("--expert", help="Print only the expert.")] = False,
) -> None:
    """Show what a task asks for."""
    task = task_of(task_name)
    console = Console()
    if starter or expert:
        for source in [task.starter] * starter + [task.expert] * expert:
            # On a pipe the source must come out as it is, to be saved and edited.
            if console.is_terminal:
                console.print(Syntax(source, "python"))
            else:
                print(source, end="")
        return
    console.print(Panel(Text(task.statement), title=task.title, title_align="left"))
    table = Table(show_header=False, box=None)
    table.add_row("environments", ", ".join(ids_of(task.name, task)))
    table.add_row("signature", task.signature)
    table.add_row("tags", " ".join(task.tags))
    table.add_row("timed on", str(task.bench[0]))
    table.add_row("further sizes", "\n".join(map(str, (*task.bench[1:], *task.untimed))) or "–")
    table.add_row("tiny cases", "\n".join(map(str, task.tiny)))
    spans = [f"{name}: {span.low} to {span.high}" for name, span in task.spans.items()]
    table.add_row("hidden sizes", "\n".join(spans) or "–")
    knobs = [f"{name}: {', '.join(map(str, values))}" for name, values in task.knobs.items()]
    table.add_row("knobs", "\n".join(knobs) or "–")
    console.print(table)
