"""Answers that are scored without a model: experts, starters, and the best kernels of runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidOptionError

if TYPE_CHECKING:
    from triton_gym.evaluation.service.protocol import EvaluatorLike
    from triton_gym.outcome import Outcome

WRITTEN = ("expert", "starter")
"""What the catalogue holds for every task."""


def is_answers(model: str) -> bool:
    """Whether what is to be scored is answers at hand: `expert`, `starter`, or a folder of them."""
    return model in WRITTEN or bool(_files(Path(model).expanduser()))


def sources(model: str, tasks: Sequence[str]) -> dict[str, str]:
    """The answer to each task that has one.

    Args:
        model: `expert`, `starter`, or a folder of `<task>.py` and of runs with their best kernel.
        tasks: names.
    """
    if model in WRITTEN:
        from triton_gym.registration import load

        return {name: getattr(load(name), model) for name in tasks}
    files = _files(Path(model).expanduser())
    return {
        name: files[name].read_text(encoding="utf-8", errors="replace")
        for name in tasks if name in files
    }  # fmt: skip


def _files(folder: Path) -> dict[str, Path]:
    """Files by the name of their task; nothing if it is no folder of answers."""
    if not folder.is_dir() or ((folder / "config.json").is_file() and not _task_of(folder)):
        return {}
    from triton_gym.registration import catalogue

    known = set(catalogue())
    found = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem in known}
    for run in (folder, *sorted(path.parent for path in folder.glob("*/best.py"))):
        if (task := _task_of(run)) and (run / "best.py").is_file():
            found[task] = run / "best.py"
    return found


def _task_of(run: Path) -> str:
    """The task of a run's folder."""
    from triton_gym.registration import name_in

    try:
        config: Any = json.loads((run / "config.json").read_text(encoding="utf-8"))
        return name_in(str(config["env"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def evaluated(
    evaluator: EvaluatorLike, tasks: Sequence[str], answers: dict[str, str], tries: int
) -> dict[str, list[Outcome]]:
    """What becomes of the answers, each judged so often.

    Raises:
        InvalidOptionError: there is no answer to any of the tasks.
    """
    from triton_gym.registration import load

    if not answers:
        raise InvalidOptionError(f"There is no answer to any of {', '.join(tasks)}.")
    waiting = {
        name: [evaluator.submit(load(name), source, seed=k) for k in range(tries)]
        for name, source in answers.items()
    }
    return {name: [one.result() for one in futures] for name, futures in waiting.items()}
