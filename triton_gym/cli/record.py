"""`triton-gym record`: tables of recorded times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from triton_gym.cli.names import task_of
from triton_gym.errors import InvalidTaskError


def record(
    envs: Annotated[list[str], typer.Argument(metavar="ENV...", help="Ids or tasks' names.")],
    out: Annotated[Path, typer.Option(help="Folder of journals and tables.")] = Path("tables"),
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, simulated, ...")] = "auto",
    train: Annotated[int, typer.Option(min=0, help="Shapes with a sample each.")] = 24,
    test: Annotated[int, typer.Option(min=0, help="Shapes with every configuration.")] = 3,
    sample: Annotated[int, typer.Option(min=2, help="Configurations of a sample.")] = 80,
    seed: Annotated[int, typer.Option(help="Of shapes, samples and order.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Evaluations at a time.")] = 0,
) -> None:
    """Measure a task's knobs over shapes, for `device="recorded:FOLDER"`. Goes on where it was."""
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.tables.recording import Plan, Recording, drawn_shapes, gpu_of

    console = Console()
    tasks = [task_of(env) for env in envs]
    for task in tasks:
        if not task.knobs:
            raise InvalidTaskError(f"Task {task.name!r} declares no knobs: nothing to record.")
    with Evaluator(device, workers=workers or None) as evaluator:
        gpu = gpu_of(evaluator)
        for task in tasks:
            shapes = drawn_shapes(task, train + test, gpu, seed)
            plan = Plan(
                task=task, test=shapes[:test], train=shapes[test:], sample=sample, seed=seed
            )
            recording = Recording(plan, evaluator, out)
            with Progress(console=console) as bar:
                shown = bar.add_task(task.name)

                def told(done: int, whole: int, bar: Progress = bar, shown: Any = shown) -> None:
                    bar.update(shown, completed=done, total=whole)

                table = recording.run(told)
            right = int(table.correct.sum())
            console.print(
                f"{task.name}: {table.rows} rows on {len(table.cases)} shapes, {right} correct; "
                f"{recording.table_path}"
            )
