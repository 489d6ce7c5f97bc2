"""`triton-gym audit`: the exploits and the honest answers against the judge of this machine."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from triton_gym.audit.exploits import all_exploits
from triton_gym.audit.honest import all_honest


def audit(
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, simulated.")] = "auto",
    workers: Annotated[int, typer.Option(help="Evaluations at the same time.")] = 2,
    task: Annotated[str, typer.Option(help="Exploits of this task only.")] = "",
    only: Annotated[str, typer.Option(help="Answers whose name or class holds this text.")] = "",
    seconds: Annotated[float, typer.Option(help="Stop after so long, and report.")] = math.inf,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write a report.")] = None,
) -> None:
    """Try to cheat the judge. Exit code 1 if anything gains or anything honest is refused."""
    from triton_gym.audit.report import Result
    from triton_gym.audit.report import audit as run
    from triton_gym.evaluation.service.evaluator import Evaluator

    exploits = [e for e in all_exploits() if task in ("", e.task) and only in e.key]
    honest = [h for h in all_honest() if task in ("", h.task) and only in f"honest/{h.key}"]
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Evaluator(device, workers=workers, pending=2000) as evaluator,
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
    ):
        bar = progress.add_task(evaluator.describe(), total=len(exploits) + len(honest))

        def done(result: Result) -> None:
            progress.advance(bar)
            if not result.good:
                progress.console.print(
                    f"{result.task}/{result.kind}/{result.name}: {result.status} "
                    f"({result.runtime_us:.1f} µs) {result.message[:300]}",
                    markup=False, highlight=False, soft_wrap=True,
                )  # fmt: skip

        report = run(evaluator, exploits, honest, done=done, seconds=seconds)
    table = Table(title=f"Audit of the judge on {report.device}")
    for column in ("class", "tried", "held / accepted", "gained / refused"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for kind, (tried, good) in report.counts().items():
        table.add_row(kind, str(tried), str(good), str(tried - good))
    console.print(table)
    if report.unfinished:
        console.print(f"{report.unfinished} answers were not evaluated: the time was up.")
    if as_json:
        as_json.write_text(json.dumps(report.record(), indent=2), encoding="utf-8")
    raise typer.Exit(1 if report.failures else 0)
