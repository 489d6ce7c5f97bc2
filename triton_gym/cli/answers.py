"""Answers that are scored without a model: experts, starters, and the best kernels of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.records.store import versions
from triton_gym.outcome import Outcome, from_json, to_json
from triton_gym.reward import Reward, finite

if TYPE_CHECKING:
    from triton_gym.evaluation.service.protocol import EvaluatorLike

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

    Raises:
        InvalidOptionError: there is no answer to any of them.
    """
    if model in WRITTEN:
        from triton_gym.registration import load

        return {name: getattr(load(name), model) for name in tasks}
    files = _files(Path(model).expanduser())
    found = {
        name: files[name].read_text(encoding="utf-8", errors="replace")
        for name in tasks if name in files
    }  # fmt: skip
    if not found:
        raise InvalidOptionError(f"There is no answer to any of {', '.join(tasks)}.")
    return found


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
    evaluator: EvaluatorLike, answers: dict[str, str], tries: int, reward: Reward, kept: Any
) -> dict[str, list[Outcome]]:
    """What becomes of the answers, each judged so often; kept as soon as it is known.

    Args:
        evaluator: where they are judged.
        answers: by the name of their task.
        tries: how often each is.
        reward: of an outcome.
        kept: a `triton_gym.agents.chat.replies.Replies`; what it knows of an equal answer is not
            found out again.
    """
    from triton_gym.registration import load

    places = [(name, one) for name in answers for one in range(tries)]
    found: dict[int, Outcome] = {}
    waiting: dict[Future[Outcome], int] = {}

    def keep(future: Future[Outcome]) -> None:
        number = waiting.pop(future)
        found[number] = outcome = future.result()
        name, _ = places[number]
        kept.reply(number, answers[name])
        kept.result(number, _result(name, outcome, reward))

    try:
        for number, (name, one) in enumerate(places):
            if (outcome := _known(kept, number, answers[name])) is not None:
                found[number] = outcome
            else:
                waiting[evaluator.submit(load(name), answers[name], seed=one)] = number
        for future in as_completed(list(waiting)):
            keep(future)
    finally:  # an interruption loses nothing that is known
        for future in list(waiting):
            if not future.cancel() and future.exception() is None:
                keep(future)
    return {name: [found[n] for n, place in enumerate(places) if place[0] == name]
            for name in answers}  # fmt: skip


def _known(kept: Any, number: int, source: str) -> Outcome | None:
    """What is known of an answer, if it and all that judges it are still the same."""
    recorded = kept.known.get(number, [])
    if not recorded or recorded[-1].text != source or recorded[-1].result is None:
        return None
    result = recorded[-1].result
    return from_json(result["outcome"]) if result.get("versions") == versions() else None


def _result(task: str, outcome: Outcome, reward: Reward) -> dict[str, Any]:
    return {
        "task": task, "status": str(outcome.status), "reward": finite(reward(outcome), outcome),
        "speedup": outcome.speedup if math.isfinite(outcome.speedup) else None,
        "outcome": to_json(outcome), "versions": versions(),
    }  # fmt: skip
