"""`triton-gym train data | sft | grpo`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

train = typer.Typer(
    help="Train a language model on kernels: verified data, fine-tuning, reinforcement learning.",
    no_args_is_help=True,
)

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML or JSON; see docs/grpo.md.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings that override the file's, e.g. run.seed=1."),
]
Policy = Annotated[
    str | None,
    typer.Option("--policy", metavar="MODEL", help="For policy.model=MODEL; smollm2 unless given."),
]
_SHOWN = {
    "reward": "reward {:.3f}",
    "loss": "loss {:.4f}",
    "correct": "correct {:.0%}",
    "speedup": "speedup {:.2f}×",
    "held_out/loss": "held-out loss {:.4f}",
    "held_out/correct": "held-out correct {:.0%}",
    "share/waiting": "waiting {:.0%}",
    "tokens/second": "{:.0f} tokens/s",
}
"""Metrics in the progress line."""


@train.command("data")
def data(settings: Settings = None, config: Config = None) -> None:
    """Build a data set of verified examples, or go on with one."""
    package = importlib.import_module("triton_gym.agents.data")
    read = importlib.import_module("triton_gym.agents.training.settings").read_settings
    chosen = read(package.DataConfig, config, settings or [])
    console = Console()
    with _progress(console) as progress:
        bars: dict[str, Any] = {}

        def show(state: Any) -> None:
            if state.split not in bars:
                bars[state.split] = progress.add_task(state.split, total=state.total)
            progress.update(
                bars[state.split],
                completed=state.done,
                description=f"{state.split}: {state.examples} examples, {state.evaluations} "
                "evaluations",
            )

        _interruptible(console, lambda: package.build(chosen, show))
    console.print(f"data set: {chosen.out}", markup=False, highlight=False)


@train.command("sft")
def sft(settings: Settings = None, config: Config = None, policy: Policy = None) -> None:
    """Fine-tune a model on verified examples, or go on with a run."""
    _train("triton_gym.agents.sft", "SFTSettings", config, settings or [], policy)


@train.command("grpo")
def grpo(settings: Settings = None, config: Config = None, policy: Policy = None) -> None:
    """Train a policy by reinforcement learning, or go on with a run."""
    _train("triton_gym.agents.grpo", "GRPOSettings", config, settings or [], policy)


def _train(
    package: str, kind: str, config: Path | None, overrides: list[str], policy: str | None
) -> None:
    from triton_gym.report.train import train_page

    if policy is not None:
        overrides = [*overrides, f"policy.model={policy}"]
    read = importlib.import_module("triton_gym.agents.training.settings").read_settings
    settings = read(
        getattr(importlib.import_module(f"{package}.settings"), kind), config, overrides
    )
    console = Console()
    with console.status(f"loading {settings.policy.model} …"):
        trainer = importlib.import_module(f"{package}.trainer").Trainer(settings)
    with trainer:
        total = getattr(trainer, "steps", settings.run.steps)
        console.print(f"run folder: {settings.run.out}", markup=False, highlight=False)
        if trainer.done:
            console.print(f"going on after step {trainer.done}", highlight=False)
        with _progress(console) as progress:
            bar = progress.add_task("first step", total=total, completed=trainer.done)

            def show(step: int, metrics: dict[str, float]) -> None:
                progress.update(bar, completed=step, description=_line(metrics))

            trainer.watch(show)
            try:
                _interruptible(console, trainer.train)
            finally:
                page = Path(settings.run.out) / "report.html"
                page.write_text(train_page(Path(settings.run.out)), encoding="utf-8")
        last = trainer.checkpoint()
    if last:
        console.print(f"checkpoint: {last}", markup=False, highlight=False)
    console.print(f"report: {page}", markup=False, highlight=False)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.description}"), console=console,
    )  # fmt: skip


def _line(metrics: dict[str, float]) -> str:
    shown = [
        text.format(metrics[name])
        for name, text in _SHOWN.items()
        if name in metrics and metrics[name] == metrics[name]
    ]
    return ", ".join(shown)


def _interruptible(console: Console, work: Any) -> None:
    try:
        work()
    except KeyboardInterrupt:
        console.print("\nInterrupted. The same command goes on from the last checkpoint.")
        raise typer.Exit(130) from None
