"""`triton-gym store show` and `triton-gym store export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from triton_gym.errors import StoreError

if TYPE_CHECKING:
    from triton_gym.evaluation.records.store import Store

app = typer.Typer(
    help="Outcomes that were found before: look at them, take them elsewhere.",
    no_args_is_help=True,
)
File = Annotated[Path, typer.Argument(metavar="STORE", help="The file, as given to store=.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only of this task.")]
StatusOption = Annotated[
    str | None, typer.Option("--status", help="Only these: correct, incorrect, rejected, …")
]
SpeedupOption = Annotated[
    float | None, typer.Option("--min-speedup", help="Only answers at least so fast.")
]


@app.command("show")
def show(
    store: File,
    task: TaskOption = None,
    status: StatusOption = None,
    min_speedup: SpeedupOption = None,
    limit: Annotated[int, typer.Option(help="Most rows.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, sources too.")] = False,
) -> None:
    """List recorded outcomes, the fastest of each task first."""
    found = _open(store).rows(task=task, status=status, min_speedup=min_speedup, limit=limit)
    if as_json:
        for row in found:
            print(json.dumps(row))
        return
    table = Table(box=SIMPLE_HEAD)
    for name in ("task", "status", "speedup", "µs", "roofline", "device", "baseline", "answer"):
        table.add_column(name, justify="right" if name in ("speedup", "µs", "roofline") else "left")
    for row in found:
        table.add_row(
            escape(row["task"]), row["status"], _number(row["speedup"]), _number(row["runtime_us"]),
            _number(row["roofline"]), escape(row["device"]), row["baseline"], row["answer"][:12],
        )  # fmt: skip
    Console().print(table)


@app.command("export")
def export(
    store: File,
    out: Annotated[Path, typer.Argument(help="Ends in .parquet, .csv or .jsonl.")],
    task: TaskOption = None,
    status: StatusOption = None,
    min_speedup: SpeedupOption = None,
) -> None:
    """Write recorded outcomes with their sources to a file."""
    from triton_gym.evaluation.records import export as exports

    rows = _open(store).rows(task=task, status=status, min_speedup=min_speedup)
    count = exports.export(rows, out)
    Console().print(f"{count} outcomes written to {out}", markup=False, highlight=False)


def _open(path: Path) -> Store:
    from triton_gym.evaluation.records.store import Store

    if not path.exists():  # opening would make it
        raise StoreError(f"There is no store {path}.")
    return Store(path)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
