"""`triton-gym bench`: agents against each other on recorded tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Shown

from triton_gym.cli.names import task_of
from triton_gym.errors import InvalidOptionError


def bench(
    agents: Annotated[str, typer.Argument(metavar="AGENTS", help="Names with commas between.")],
    envs: Annotated[list[str], typer.Argument(metavar="ENV...", help="Tasks with a table.")],
    device: Annotated[str, typer.Option(help="recorded, or recorded:PATH.")] = "recorded",
    seeds: Annotated[int, typer.Option(min=1)] = 25,
    budget: Annotated[int, typer.Option(min=1, help="Unique evaluations of a run.")] = 64,
    split: Annotated[str, typer.Option(help="Shapes: test, leave-one-out, family, ...")] = "test",
    out: Annotated[Path, typer.Option(help="Folder of runs and report.")] = Path("runs/bench"),
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Compare tuners on recorded tables. Goes on where it was stopped; writes report.html."""
    try:
        from triton_gym.benchmark.episodes import shown
        from triton_gym.benchmark.report import page
        from triton_gym.benchmark.running import Settings, planned, run_all, tried_split
        from triton_gym.benchmark.summary import summarise
    except ModuleNotFoundError as error:
        raise InvalidOptionError(
            f"`triton-gym bench` needs the package {error.name!r}: pip install 'triton-gym[bench]'."
        ) from None
    from triton_gym.tables.origin import command, versions
    from triton_gym.tables.split import chosen
    from triton_gym.tuning.opening import recorded_table

    tasks = {task.name: task for task in map(task_of, envs)}
    names = list(tasks)
    tables = {}
    for name in names:
        table = recorded_table(name, device)
        tables[name] = table.only(chosen(table, tried_split(split), held_out=True))
    wanted = [agent.strip() for agent in agents.split(",") if agent.strip()]
    runs = planned(wanted, {name: len(table.cases) for name, table in tables.items()}, seeds)
    settings = Settings(device=device, budget=budget, split=split, reward="best")
    console = Console()
    with Progress(console=console) as bar:
        runs_bar = bar.add_task("runs", total=len(runs))
        journal = run_all(
            runs, settings, out, workers=workers,
            progress=lambda done, whole: bar.update(runs_bar, completed=done, total=whole),
        )  # fmt: skip
    keys = {run.key for run in runs}
    summary = summarise({k: t for k, t in journal.traces.items() if k in keys}, tables, budget)
    about = {
        "device": ", ".join(sorted({f"recorded:{t.gpu}" for t in tables.values()})),
        "command": command(), "split": split, "budget": budget,
        **versions(),
    }  # fmt: skip
    (out / "summary.json").write_text(json.dumps({**about, **summary}, indent=1), encoding="utf-8")
    title = f"{len(wanted)} tuners on {', '.join(names)}"
    held = {key: places for key, places in journal.places.items() if key in keys}
    kernels = shown(held, tables, {name: tasks[name].expert for name in names})
    (out / "report.html").write_text(page(summary, title, about, kernels), encoding="utf-8")
    told = Shown("agent", "interquartile mean", "to 95 %", "reached", "methodology")
    for name, found in summary["agents"].items():
        value, low, high = found["interquartile_mean"]
        span = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        to, score = found["evaluations_to_95"], found["methodology"]
        told.add_row(
            name, f"{value:.3f}{span}", "not reached" if to is None else f"{to:g}",
            f"{found['reached_95']:.0%}", "–" if score is None else f"{score:.3f}",
        )  # fmt: skip
    console.print(told)
    console.print(f"report: {out / 'report.html'}")
