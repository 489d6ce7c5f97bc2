"""`triton-gym record`: tables of recorded times."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from triton_gym.cli.names import task_of
from triton_gym.errors import InvalidOptionError

if TYPE_CHECKING:
    from triton_gym.device import Gpu
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.tables.plan import Plan

_LEAST_S = 0.2
_END_S = 3.0
"""What the end of a check takes."""


def record(
    envs: Annotated[
        list[str] | None, typer.Argument(metavar="ENV...", help="Ids or names.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of journals and tables.")] = Path("tables"),
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, simulated, ...")] = "auto",
    plan: Annotated[Path | None, typer.Option(help="TOML file: what to record of tasks.")] = None,
    train: Annotated[int, typer.Option(min=0, help="Shapes with a sample each.")] = 24,
    test: Annotated[int, typer.Option(min=0, help="Shapes with every configuration.")] = 3,
    sample: Annotated[int, typer.Option(min=2, help="Configurations of a sample.")] = 80,
    seed: Annotated[int, typer.Option(help="Of shapes, samples and order.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Evaluations at a time.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="Stop after so long; 0: never.")] = 0.0,
    earlier: Annotated[
        Path | None, typer.Option(help="Folder of tables whose complete shapes are kept.")
    ] = None,
    check: Annotated[
        int, typer.Option(min=0, help="Measure so many rows of the tables in OUT again instead.")
    ] = 0,
) -> None:
    """Measure tasks' knobs over shapes, for `device="recorded:FOLDER"`. Goes on where it was."""
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.tables.recording import gpu_of

    if not envs and plan is None and not check:
        raise InvalidOptionError("Name the tasks to record, or give a --plan that does.")
    until = time.monotonic() + seconds if seconds else math.inf
    with Evaluator(device, workers=workers or None) as evaluator:
        if check:
            _check(evaluator, out, check, seed, set(envs or ()), until)
            return
        gpu = gpu_of(evaluator)
        plans = _plans(envs or [], plan, gpu, (train, test, sample, seed))
        _record(evaluator, plans, out, earlier, until)


def _plans(
    envs: list[str], plan: Path | None, gpu: Gpu, given: tuple[int, int, int, int]
) -> list[Plan]:
    from triton_gym.tables.plan import Plan, read_plans
    from triton_gym.tables.shapes import drawn_shapes

    wanted = [task_of(env) for env in envs]
    if plan is not None:
        found = {one.task.name: one for one in read_plans(plan, gpu, task_of)}
        missing = [task.name for task in wanted if task.name not in found]
        if missing:
            raise InvalidOptionError(f"{plan} says nothing of {', '.join(missing)}.")
        return [found[task.name] for task in wanted] or list(found.values())
    train, test, sample, seed = given
    plans = []
    for task in wanted:
        shapes = drawn_shapes(task, train + test, gpu, seed)
        plans.append(
            Plan(task=task, test=shapes[:test], train=shapes[test:], sample=sample, seed=seed)
        )
    return plans


def _record(
    evaluator: Evaluator, plans: list[Plan], out: Path, earlier: Path | None, until: float
) -> None:
    from triton_gym.tables.files import load, tables
    from triton_gym.tables.sweep import record_all

    files = tables(earlier) if earlier is not None and any(earlier.glob("*.npz")) else {}
    known = {name: load(file) for name, file in files.items()}
    console = Console()
    with Progress(console=console) as bar:
        shown: dict[tuple[str, str], TaskID] = {}
        last = [0.0]

        def told(task: str, part: str, done: int, whole: int) -> None:
            if (task, part) not in shown:
                shown[task, part] = bar.add_task(f"{task} {part}")
            if time.monotonic() - last[0] >= _LEAST_S or done >= whole:
                last[0] = time.monotonic()
                bar.update(shown[task, part], completed=done, total=whole)

        found = record_all(plans, evaluator, out, earlier=known, until=until, told=told)
    for plan in plans:
        if plan.task.name not in found:
            console.print(
                f"{plan.task.name}: stopped before there was a table; the same command goes on."
            )
    for name, table in found.items():
        right, complete = int(table.correct.sum()), len(table.card["complete_cases"])
        console.print(
            f"{name}: {table.rows} rows on {len(table.cases)} shapes ({complete} finished), "
            f"{right} correct; {out / f'{name}.npz'}"
        )


def _check(
    evaluator: Evaluator, out: Path, count: int, seed: int, only: set[str], until: float
) -> None:
    from triton_gym.tables import checking
    from triton_gym.tables.files import load, tables
    from triton_gym.tables.origin import origin

    found = {name: load(file) for name, file in tables(out).items() if not only or name in only}
    tasks = {name: task_of(name) for name in found}
    console = Console()
    with Progress(console=console) as bar:
        shown = bar.add_task("measured again")
        summary = checking.check(
            found, tasks, evaluator, count, seed,
            lambda done, whole: bar.update(shown, completed=done, total=whole),
            until=until - _END_S,
        )  # fmt: skip
    told = {"device": evaluator.hardware(), **origin(), **summary}
    (out / "check.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name in ("differences", "corrected"):
        one = summary[name]
        if one["median"] is not None:
            console.print(f"{name}: median {one['median']:.2%}, 95th percentile {one['p95']:.2%}")
    console.print(
        f"rank correlation {summary['spearman']}, of times over the best of their shape "
        f"{summary['spearman_over_best']}; {summary['no_longer_correct']} of {summary['rows']} no "
        f"longer correct; sentinels' factor {summary['sentinel_factor']:.4f}; {out / 'check.json'}"
    )
