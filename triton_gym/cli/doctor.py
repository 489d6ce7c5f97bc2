"""`triton-gym doctor`: what this machine has, and what each missing piece costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from triton_gym.cli import findings
from triton_gym.cli.findings import Finding


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Evaluate no kernel.")] = False,
) -> None:
    """Say what GPU, versions and confinement are here, and what each missing piece costs."""
    console = Console()
    found: list[Finding] = []
    checks = [
        findings.versions,
        findings.devices,
        findings.tools,
        findings.confinement,
        findings.extras,
    ]
    if not quick:
        checks.append(findings.evaluations)
    with console.status("looking around …") if not as_json else _Quiet():
        for check in checks:
            found.extend(check())
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        table = Table(box=SIMPLE_HEAD)
        for column in ("", "part", "found", "what its absence costs"):
            table.add_column(column)
        for f in found:
            mark = "[green]✓[/]" if f.ok else "[red]✗[/]" if f.needed else "[yellow]–[/]"
            table.add_row(mark, f.part, escape(f.found), escape(f.cost))
        console.print(table)
    raise typer.Exit(0 if all(f.ok for f in found if f.needed) else 1)


class _Quiet:
    def __enter__(self) -> None: ...
    def __exit__(self, *exc: object) -> None: ...
