"""`triton-gym score`: how good a language model is at our tasks."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from triton_gym.cli import answers
from triton_gym.cli.interrupts import interruptible
from triton_gym.cli.names import LARGEST_SEED, environment_id, options_from
from triton_gym.errors import InvalidOptionError

if TYPE_CHECKING:
    from triton_gym.benchmark.suite_score import BestKnown
    from triton_gym.evaluation.service.evaluator import Evaluator


def score(
    model: Annotated[
        str,
        typer.Argument(
            help="smollm2, a Hugging Face id, a folder or run, or https://host/v1#model; or "
            "answers: expert, starter, a folder of <task>.py or of an agent's runs."
        ),
    ],
    envs: Annotated[
        list[str] | None, typer.Argument(metavar="[ENV...]", help="Ids or names of tasks.")
    ] = None,
    tag: Annotated[
        str, typer.Option(help="All tasks of a suite: core, mlperf, spec or backward.")
    ] = "",
    tries: Annotated[int, typer.Option(help="Conversations about each task.", min=1)] = 8,
    turns: Annotated[int, typer.Option(help="Replies of each; the best counts.", min=1)] = 1,
    draws: Annotated[
        int, typer.Option(help="Tasks drawn from an id that draws one at each reset.", min=1)
    ] = 1,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 1.0,
    longest: Annotated[int, typer.Option(help="Tokens of the longest reply.")] = 1024,
    seed: Annotated[int, typer.Option(help="Of tasks and replies.", min=0, max=LARGEST_SEED)] = 0,
    device: Annotated[
        str, typer.Option(help="auto, cuda, cuda:1, simulated or simulated:<gpu>.")
    ] = "auto",
    reward: Annotated[
        str, typer.Option(help="Decides which turn is best; or my_module:f.")
    ] = "kevin",
    workers: Annotated[int, typer.Option(help="Evaluations at the same time.", min=1)] = 4,
    env_arg: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Further arguments of the ids.")
    ] = None,
    best_known: Annotated[
        Path | None,
        typer.Option(help="Times of benchmarks/suite_score.py in place of the shipped ones."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The scores as JSON; replies beside it. In runs/ unless given."),
    ] = None,
) -> None:
    """Score a model or answers: correct@k, fast_p, speedups, and the suite's score.

    The suite's score is the mean over tasks of min(1, best known time / ours). Replies are kept as
    they come: the same command goes on where an earlier one was ended.
    """
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.registration import tasks as tagged
    from triton_gym.report.score import score_page

    names = [environment_id(name) for name in (*(envs or ()), *(tagged(tag=tag) if tag else ()))]
    if not names:
        raise InvalidOptionError("Scoring needs tasks: give their names, or --tag with a suite's.")
    other = [name for name in names if "TritonKernel-" not in name]
    if other:
        raise InvalidOptionError(f"Models write kernels; {other[0]} takes no text.")
    options = options_from(env_arg or [])
    out = out or _place(model, seed)
    journal = importlib.import_module("triton_gym.agents.chat.replies")
    journal.check_place(out)
    kept = out.with_suffix(".replies.jsonl")
    journal.check_place(kept)
    if answers.is_answers(model):
        if options:
            raise InvalidOptionError("--env-arg is for models; answers are evaluated as they are.")
        _score_answers(model, names, device, workers, tries, reward, best_known, out, kept)
        return
    models = importlib.import_module("triton_gym.agents.chat.models")
    scoring = importlib.import_module("triton_gym.agents.chat.scoring")
    places = importlib.import_module("triton_gym.agents.grpo.places")
    chosen = models.chat_model(model, temperature=temperature, longest=longest)
    tasks = [
        (name, seed + draw) for name in names for draw in range(draws if "composed" in name else 1)
    ]
    console = Console()
    with Evaluator(device, workers=workers) as evaluator:
        make = places.maker(options, evaluator=evaluator, turns=turns, reward=reward)
        make(names[0]).close()  # what it does not take is refused before there is a file
        known = _known(evaluator, best_known)
        about = {"model": model, "device": evaluator.describe(), "tries": tries, "turns": turns,
                 "temperature": temperature, "seed": seed}  # fmt: skip
        asked = {**about, "tasks": tasks, "longest": longest, "reward": reward, "options": options}
        try:
            with (
                interruptible(),
                journal.Replies(kept, asked) as replies,
                Progress(console=console) as progress,
            ):
                bar = progress.add_task(f"{model} on {evaluator.describe()}", total=None)
                found = scoring.score(
                    chosen, make, tasks, tries=tries, turns=turns, seed=seed, workers=2 * workers,
                    replies=replies,
                    watch=lambda done, total: progress.update(bar, completed=done, total=total),
                )  # fmt: skip
        except KeyboardInterrupt:
            _tell_interrupted(console, kept)
    console.print(_table(model, found))
    _tell_empty(console, found["replies"])
    suite = _suite(console, found, known)
    _write(out, {**about, **found, "suite": suite})
    page = out.with_suffix(".html")
    page.write_text(score_page({**about, **found}), encoding="utf-8")
    for label, path in (("scores", out), ("replies", kept), ("report", page)):
        console.print(f"{label}: {path}", markup=False, highlight=False, soft_wrap=True)


def _score_answers(
    model: str, names: list[str], device: str, workers: int, tries: int, reward: str,
    best_known: Path | None, out: Path, kept: Path,
) -> None:  # fmt: skip
    """The same for answers that need no model."""
    from triton_gym.evaluation.service.evaluator import Evaluator
    from triton_gym.registration import name_in
    from triton_gym.reward import finite, reward_named

    scoring = importlib.import_module("triton_gym.agents.scoring")
    journal = importlib.import_module("triton_gym.agents.chat.replies")
    rewarded = reward_named(reward)
    console = Console()
    tasks = [name_in(name) for name in names]
    sources = answers.sources(model, tasks)
    try:
        with interruptible(), Evaluator(device, workers=workers) as evaluator:
            known = _known(evaluator, best_known)
            about = {
                "model": model, "device": evaluator.describe(), "tries": tries, "reward": reward
            }  # fmt: skip
            with journal.Replies(kept, {**about, "tasks": list(sources)}) as replies:
                if replies.known:
                    console.print(f"Equal answers that {kept} knows are not judged again.")
                outcomes = answers.evaluated(evaluator, sources, tries, rewarded, replies)
    except KeyboardInterrupt:
        _tell_interrupted(console, kept)
    attempts = [
        scoring.Attempt(name, one.status.value, one.speedup, finite(rewarded(one), one))
        for name in tasks
        for one in outcomes.get(name, [])
    ]
    missing = [
        scoring.Attempt(name, "no_answer", math.nan) for name in tasks if name not in outcomes
    ]
    found = scoring.scores([*attempts, *missing], [1])
    console.print(_table(model, found))
    suite = _suite(console, found, known)
    _write(out, {**about, **found, "suite": suite})
    console.print(f"scores: {out}", markup=False, highlight=False, soft_wrap=True)


def _known(evaluator: Evaluator, path: Path | None) -> BestKnown:
    """The best known times; a wrong file is refused before anything is evaluated."""
    from triton_gym.benchmark.suite_score import best_known

    return best_known(evaluator.hardware(), path)


def _suite(console: Console, found: dict[str, Any], known: BestKnown) -> dict[str, Any]:
    """Print and return the suite's score; what tasks are scored by stands beside it."""
    from triton_gym.benchmark.suite_score import suite_score

    speedups = {
        name: row["best_speedup"] for name, row in found["tasks"].items() if row["best_speedup"]
    }
    got = suite_score(speedups, list(found["tasks"]), known)
    console.print(
        f"suite score {got.score:.3f} (best known time over ours, each task at most 1; "
        f"uncapped {got.uncapped:.3f}) of {got.tasks} tasks, {got.answered} answered",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if got.by_eager:
        console.print(f"{got.by_eager} tasks are scored by eager PyTorch: nothing faster is known.")
    if known.told:
        console.print(f"best known times: {known.told}", markup=False, highlight=False)
    return {**dataclasses.asdict(got), "best_known": known.told}


def _place(model: str, seed: int) -> Path:
    """Where the scores go, unless it is said."""
    name = re.sub(r"[^\w.-]+", "_", model).strip("_.") or "model"
    return Path("runs", f"score-{name}-seed{seed}.json")


def _tell_interrupted(console: Console, kept: Path) -> NoReturn:
    """Say how to go on, and end."""
    console.print(f"\nInterrupted. The same command goes on with what is in {kept}.")
    raise typer.Exit(130)


def _tell_empty(console: Console, replies: dict[str, int]) -> None:
    """Say that replies held nothing: they count as wrong, and may not be the model's fault."""
    if replies["empty"]:
        console.print(
            f"[yellow]{replies['empty']} of {replies['made']} replies were empty and count as "
            "wrong.[/yellow] A model that thinks may need a larger --longest; an endpoint may have "
            "refused to answer.",
            soft_wrap=True,
        )


def _table(model: str, found: dict[str, Any]) -> Table:
    """A row a task and one for the total, whose intervals stand below its numbers."""
    total = found["total"]
    ks = [name for name in total if name.startswith("correct@")]
    columns = [*ks, "fast_1", "fast_2", "mean_speedup", "median_speedup"]
    table = Table(title=f"{model}, {total['tries']} tries")
    table.add_column("task")
    for column in columns:
        table.add_column(column.replace("_speedup", " speedup"), justify="right")
    for task, row in found["tasks"].items():
        table.add_row(task, *(_number(row.get(column), column) for column in columns))
    table.add_section()
    table.add_row(
        f"{total['tasks']} tasks", *(_number(total[column]["value"], column) for column in columns)
    )
    table.add_row("95% interval", *(_interval(total[column], column) for column in columns))
    return table


def _number(value: float | None, column: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}×" if "speedup" in column else f"{value:.0%}"


def _interval(found: dict[str, float | None], column: str) -> str:
    if found["low"] is None:
        return "–"
    return f"{_number(found['low'], column)} … {_number(found['high'], column)}"


def _write(path: Path, content: dict[str, Any]) -> None:
    from triton_gym.runs.folder import write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise InvalidOptionError(f"Cannot write {path}: {error}.") from None
