"""The report of a training run: its metrics over steps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from triton_gym.report import html

FIRST = ("reward", "correct", "speedup", "loss", "held_out/correct", "held_out/loss")
"""Metrics that are drawn at the top; the others are folded."""


def train_page(folder: Path) -> str:
    """The page of a training run's folder.

    Args:
        folder: with `metrics.jsonl`, and `glossary.md` if there is one.
    """
    rows = _rows(folder / "metrics.jsonl")
    names = sorted({name for row in rows for name in row if name != "step"})
    parts = []
    if not rows:
        parts.append(html.bad("No step is over yet: there is nothing to show."))
    elif any(value is None for row in rows[-1:] for value in row.values()):
        parts.append(html.note("Metrics of the last step that do not exist are left out."))
    for name in [name for name in FIRST if name in names]:
        parts.append(_curve(name, rows))
    rest = [name for name in names if name not in FIRST]
    if rest:
        parts.append(html.folded(f"{len(rest)} more metrics",
                                 "".join(_curve(name, rows) for name in rest)))  # fmt: skip
    parts.append(html.about({"folder": folder.name, "steps": len(rows)}))
    return html.document(f"Training in {folder.name}", parts)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Lines up to one that was not written whole."""
    found: list[dict[str, Any]] = []
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _curve(name: str, rows: list[dict[str, Any]]) -> str:
    points = [
        (float(row["step"]), math.nan if row.get(name) is None else float(row[name]))
        for row in rows
    ]
    return html.plot(name, [html.Curve(name, points, html.colour(0))], label="steps", form=".3g")
