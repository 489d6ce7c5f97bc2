"""`triton-gym export`: recorded tables for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from triton_gym.cli.names import task_of
from triton_gym.errors import unknown

FORMATS = ("parquet", "kernel-tuner", "t4")


def export(
    envs: Annotated[
        list[str] | None, typer.Argument(metavar="ENV...", help="Tasks; all by default.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="parquet, kernel-tuner or t4.")
    ] = "parquet",
    device: Annotated[str, typer.Option(help="recorded, or recorded:PATH.")] = "recorded",
    out: Annotated[Path, typer.Option(help="Folder that is written to.")] = Path("exported"),
) -> None:
    """Write recorded tables as Parquet with a data card, or their complete shapes as Kernel Tuner's
    cache files or T4 results."""
    from triton_gym.tables import kernel_tuner
    from triton_gym.tables.files import load, tables
    from triton_gym.tables.parquet import data_card, write_parquet
    from triton_gym.tables.split import chosen
    from triton_gym.tuning.opening import recorded_path, recorded_table

    if format_ not in FORMATS:
        raise unknown("format", format_, FORMATS)
    names = [task_of(env).name for env in envs or ()]
    held = {name: recorded_table(name, device) for name in names}
    if not names:
        held = {name: load(file) for name, file in tables(recorded_path(device)).items()}
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    written = 0
    for name, table in held.items():
        if format_ == "parquet":
            write_parquet(table, out / f"{name}.parquet")
            written += 1
            continue
        for case in chosen(table, "test"):
            path = out / f"{name}-{str(table.cases[case]).replace(' ', '-')}.json"
            if format_ == "t4":
                path.write_text(json.dumps(kernel_tuner.t4_results(table, case)), encoding="utf-8")
            elif gaps := kernel_tuner.write_cache(table, case, path):
                restrictions = path.with_suffix(".restrictions.json")
                restrictions.write_text(json.dumps(gaps), encoding="utf-8")
            written += 1
    if format_ == "parquet":
        (out / "README.md").write_text(data_card(held), encoding="utf-8")
    console.print(f"{written} files of {len(held)} tables in {out}")
