"""The report of a model's score: correct@k, fast_p and speedups, per task and in total."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_gym.report import html


def score_page(found: Mapping[str, Any]) -> str:
    """The page of what `triton-gym score` wrote.

    Args:
        found: the scores as JSON holds them.
    """
    total, tasks = found["total"], found["tasks"]
    ks = [name for name in total if name.startswith("correct@")]
    columns = [*ks, "fast_1", "fast_2", "mean_speedup", "median_speedup"]
    columns = [name for name in columns if name in total]
    parts = []
    if not tasks:
        parts.append(html.bad("No task was scored: there is nothing to show."))
    elif not any(row.get(ks[0]) for row in tasks.values()) if ks else False:
        parts.append(html.bad("No reply was correct."))
    if len(tasks) == 1:
        parts.append(html.bad("One task: there are no intervals, and no conclusion."))
    if empty := found.get("replies", {}).get("empty"):
        parts.append(html.bad(f"{empty} of {found['replies']['made']} replies were empty."))
    rows = [[name, *(_shown(row.get(column), column) for column in columns)]
            for name, row in tasks.items()]  # fmt: skip
    rows.append(["all", *(_shown(total[column]["value"], column) for column in columns)])
    rows.append(["95 % interval", *(_interval(total[column], column) for column in columns)])
    parts.append("<h2>Scores</h2>" + html.table(["task", *columns], rows))
    plain = {k: v for k, v in found.items() if isinstance(v, str | int | float)}
    parts.append(html.about(plain))
    return html.document(f"Score of {found.get('model', 'a model')}", parts)


def _shown(value: float | None, column: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if "speedup" in column else f"{value:.0%}"


def _interval(found: Mapping[str, float | None], column: str) -> str:
    if found.get("low") is None:
        return "–"
    return f"{_shown(found['low'], column)} … {_shown(found['high'], column)}"
