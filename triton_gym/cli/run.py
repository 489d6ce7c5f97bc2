"""`triton-gym run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.syntax import Syntax

from triton_gym.cli.interrupts import interruptible
from triton_gym.cli.names import LARGEST_SEED, environment_id, options_from
from triton_gym.cli.tables import microseconds, outcomes_table, roofline, speedup
from triton_gym.errors import InvalidOptionError, TritonGymError
from triton_gym.printing import printable

if TYPE_CHECKING:
    from triton_gym.runs.folder import RunFolder
    from triton_gym.runs.records import Step

STEPS = 40
"""Steps of a run that does not say how many."""


def run(
    agent: Annotated[
        str | None,
        typer.Argument(
            help="random, evolution, ppo, a2c, dqn, best-of-n:MODEL, chat:MODEL, "
            "grpo:CHECKPOINT, or my_module:MyAgent."
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Argument(metavar="ENV", help="A task's name, or an id: TritonKernel-softmax-v0."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help=f"How many; {STEPS} unless given.", min=1)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of agent and environment.", min=0, max=LARGEST_SEED)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cuda, cuda:1, simulated or simulated:<gpu>.")
    ] = None,
    reward: Annotated[
        str | None, typer.Option(help="kevin unless given; or my_module:my_reward.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to make the run folder.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run of this folder.", metavar="FOLDER")
    ] = None,
    env_arg: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Further arguments of the id.")
    ] = None,
) -> None:
    """Let an agent work on an environment, into a run folder that can be resumed."""
    from triton_gym.runs.execution import execute

    options = options_from(env_arg or [])
    options.update({k: v for k, v in (("device", device), ("reward", reward)) if v is not None})
    if env is not None:
        env = environment_id(env, numeric=_numeric(agent))
    if resume is not None:
        if out is not None:
            raise InvalidOptionError("--resume goes on in its folder; leave --out away.")
        folder = _reopened(resume, agent, env, seed, options)
    else:
        if agent is None or env is None:
            raise InvalidOptionError("Give an agent and an environment, or --resume FOLDER.")
        folder = _created(agent, env, steps or STEPS, seed or 0, options, out)
    console = Console()
    with folder:
        total = folder.goal(steps)
        try:
            with interruptible(), _Display(console, folder, total) as display:
                execute(folder, steps=total, watch=display.show)
        except KeyboardInterrupt:
            _page(folder)
            console.print(f"\nInterrupted. Go on with: triton-gym run --resume {folder.path}")
            raise typer.Exit(130) from None
        except TritonGymError:
            folder.discard()
            raise
        _report(console, folder, display.best)


def _numeric(agent: str | None) -> bool:
    """Whether an agent learns numbers alone; one that cannot be had is refused later."""
    import importlib

    agents = importlib.import_module("triton_gym.agents")
    return agent in agents.AGENTS and bool(getattr(agents.load(agent), "numeric", False))


def _created(
    agent: str, env: str, steps: int, seed: int, options: dict[str, Any], out: Path | None
) -> RunFolder:
    import importlib

    from triton_gym.reward import reward_named
    from triton_gym.runs.execution import machine
    from triton_gym.runs.folder import RunFolder
    from triton_gym.runs.records import Config

    importlib.import_module("triton_gym.agents").load(agent)  # before there is a folder
    reward_named(options.get("reward", "kevin"))
    # What `auto` means must not change when the run is resumed on another machine.
    device = _settled(options.get("device", "auto"))
    options = {"reward": "kevin", **options, "device": device}
    config = Config(agent, env, steps, seed, options)
    name = f"{agent}-{env}-seed{seed}".replace(":", ".").replace("/", "_")
    return RunFolder.create(out or Path("runs", name), config, machine(device))


def _reopened(
    path: Path, agent: str | None, env: str | None, seed: int | None, options: dict[str, Any]
) -> RunFolder:
    from triton_gym.runs.execution import same
    from triton_gym.runs.folder import RunFolder, read_config

    if "device" in options:
        options = {**options, "device": _settled(options["device"])}
    wanted = {"agent": agent, "env": env, "seed": seed}
    asked = {name: value for name, value in wanted.items() if value is not None}
    same(read_config(path), {**asked, "options": options})
    return RunFolder.open(path)


def _settled(device: Any) -> str:
    """A device by its own name; a recorded table is named already."""
    from triton_gym.evaluation.backends import resolve
    from triton_gym.tuning.opening import is_recorded

    named = str(device)
    return named if is_recorded(named) else str(resolve(named))


class _Display:
    """A progress bar with the current best, and a line for every improvement."""

    def __init__(self, console: Console, folder: RunFolder, total: int) -> None:
        self.best: Step | None = None
        self._console = console
        self._recorded = len(folder.steps)
        config = folder.config
        console.print(
            f"[bold]{config.agent}[/bold] on [bold]{config.env}[/bold], {total} steps, seed "
            f"{config.seed}, device {config.options.get('device')}\nrun folder: {folder.path}",
            highlight=False,
        )
        if folder.taken:
            console.print(f"going on after step {folder.taken}", highlight=False)
        self._progress = Progress(
            SpinnerColumn(), TextColumn("step"), MofNCompleteColumn(), BarColumn(),
            TimeElapsedColumn(), TextColumn("{task.description}"), console=console,
        )  # fmt: skip
        self._task = self._progress.add_task("compiling and timing the first kernel", total=total)

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, step: Step, best: Step) -> None:
        """Take a step in."""
        if best is not self.best and step.step >= self._recorded:
            outcome = step.outcome
            self._progress.console.print(
                f"step {step.step:>3}: {outcome.status}, {microseconds(outcome.runtime_us)}, "
                f"{speedup(outcome)} PyTorch, roofline {roofline(outcome)}",
                highlight=False,
            )
        self.best = best
        self._progress.update(
            self._task,
            completed=step.step,
            description=f"last {step.outcome.status}, best "
            f"{microseconds(best.outcome.runtime_us)} ({speedup(best.outcome)})",
        )


def _report(console: Console, folder: RunFolder, best: Step | None) -> None:
    """Start → best, the best kernel, the curve, and where everything lies."""
    from triton_gym.runs.report import learning_curve

    page = _page(folder)
    if best is None:
        return
    config, start = folder.config, folder.steps[0]
    columns = {"start": start.outcome, f"best (step {best.step})": best.outcome}
    kernel = folder.path / "best.py"
    if console.is_terminal:
        shown = Syntax(
            printable(kernel.read_text(encoding="utf-8")),
            "python",
            background_color="default",
            word_wrap=True,
        )
        console.print(shown)
    else:  # code that is piped must not be wrapped
        print(kernel.read_text(encoding="utf-8"))
    console.print(outcomes_table(f"{config.agent} on {config.env}", columns))
    curve = learning_curve(folder)
    note = "not drawn: matplotlib is missing (pip install 'triton-gym[report]')"
    summary = json.loads((folder.path / "summary.json").read_text(encoding="utf-8"))
    counts = ", ".join(f"{count} {status}" for status, count in summary["statuses"].items())
    for label, text in (
        ("steps", f"{summary['steps']} in {summary['seconds']:.0f} s: {counts}"),
        ("best kernel", str(kernel)),
        ("learning curve", str(curve) if curve else note),
        ("report", str(page)),
        ("run folder", str(folder.path)),
    ):
        console.print(f"{label + ':':<16}{text}", markup=False, highlight=False, soft_wrap=True)


def _page(folder: RunFolder) -> Path:
    """Write `report.html`."""
    from triton_gym.report.run import run_page

    summary, kernel = folder.path / "summary.json", folder.path / "best.py"
    told = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {}
    source = kernel.read_text(encoding="utf-8") if kernel.exists() else ""
    return folder.write("report.html", run_page(folder, told, source))
