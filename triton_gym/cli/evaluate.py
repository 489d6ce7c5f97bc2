"""`triton-gym eval` and `triton-gym times`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from triton_gym.cli.names import LARGEST_SEED, task_of
from triton_gym.cli.tables import microseconds, outcomes_table
from triton_gym.errors import InvalidOptionError
from triton_gym.outcome import Outcome

Device = Annotated[str, typer.Option(help="auto, cuda, cuda:1, simulated or simulated:<gpu>.")]
Baseline = Annotated[str, typer.Option(help="eager or compile.")]


def evaluate(
    env: Annotated[str, typer.Argument(metavar="ENV", help="An id or a task's name.")],
    kernel: Annotated[Path, typer.Argument(help="The kernel's file; - for standard input.")],
    device: Device = "auto",
    baseline: Baseline = "eager",
    seed: Annotated[
        int, typer.Option(help="Of the inputs, on the simulated device.", min=0, max=LARGEST_SEED)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compile, test and profile a kernel. Exit code 0 if it is correct, 1 if not, 2 for misuse."""
    import gymnasium as gym

    task = task_of(env)
    source = _read(kernel)
    made = gym.make(
        f"TritonKernel-{task.name}-v{task.version}", device=device, baseline=baseline, max_turns=1
    )
    made.reset(seed=seed)
    _, _, _, _, info = made.step(source)
    outcome: Outcome = made.unwrapped.outcome  # type: ignore[attr-defined]
    if as_json:
        # NaN is not JSON: a number that does not exist is null.
        plain = {k: None if _missing(v) else v for k, v in info.items()}
        print(json.dumps(plain, indent=2))
    else:
        console = Console()
        console.print(
            outcomes_table(
                f"{task.title} on {made.unwrapped.evaluator.describe()}",  # type: ignore[attr-defined]
                {str(kernel): outcome},
            )
        )
        console.print(outcome.message, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if outcome.correct else 1)


def times(
    env: Annotated[str, typer.Argument(metavar="ENV", help="An id or a task's name.")],
    device: Device = "auto",
    baseline: Baseline = "eager",
) -> None:
    """Compare a task's starter and expert with PyTorch."""
    from triton_gym.evaluation.service.pool import evaluator_for

    task = task_of(env)
    evaluator = evaluator_for(device)
    console = Console()
    with console.status(f"{task.title} on {evaluator.describe()} …"):
        outcomes = {
            name: evaluator.evaluate(task, source, baseline=baseline)
            for name, source in (("starter", task.starter), ("expert", task.expert))
        }
    console.print(outcomes_table(f"{task.title}, {task.bench[0]}", outcomes))
    reference = outcomes["expert"].baseline_us
    console.print(f"PyTorch ({baseline}): {microseconds(reference)} on {evaluator.describe()}")
    for name, outcome in outcomes.items():
        if not outcome.correct:
            console.print(f"{name}: {outcome.message}", markup=False)
    raise typer.Exit(0 if all(o.correct for o in outcomes.values()) else 1)


def _read(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptionError(f"Cannot read the kernel {path}: {error}.") from None


def _missing(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
