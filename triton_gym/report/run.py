"""The report of a run: how it went, the best kernel, and every step with diff and outcome."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from triton_gym.outcome import NUMBERS, Outcome
from triton_gym.report import html
from triton_gym.runs.folder import RunFolder
from triton_gym.runs.records import Step

MOST_STEPS = 400
"""Steps that are shown one by one: the last, and the best."""
MOST_TEXT = 20_000
"""Characters of an action that are shown."""


def run_page(folder: RunFolder, summary: Mapping[str, Any], best: str) -> str:
    """The page of a run's folder.

    Args:
        folder: of the run.
        summary: what `summary.json` holds; empty for a run that did not come so far.
        best: source of the best kernel; empty if there is none.
    """
    config, steps = folder.config, folder.steps
    taken = [step for step in steps if step.step > 0]
    right = [step for step in steps if step.outcome.correct]
    parts = []
    if not taken:
        parts.append(html.bad("No step was taken: there is nothing to show."))
    elif not right:
        parts.append(html.bad("No kernel was correct: the run found nothing."))
    if summary.get("state") == "interrupted":
        parts.append(html.bad("The run was interrupted; it can be resumed."))
    if taken:
        parts.append(_curve(steps))
        parts.append(_counts(taken))
    if right:
        first = max(right, key=lambda step: step.outcome.speedup)
        parts.append(f"<h2>Best kernel: step {first.step}</h2>{_numbers(first.outcome)}")
        parts.append(html.folded("source", html.code(best)) if best else "")
    parts += [_steps(steps), html.about(_about(folder, summary))]
    return html.document(f"{config.agent} on {config.env}", parts)


def _curve(steps: Sequence[Step]) -> str:
    right = [(float(s.step), s.outcome.speedup) for s in steps if s.outcome.correct]
    wrong = [(float(s.step), 0.0) for s in steps if not s.outcome.correct]
    best: list[tuple[float, float]] = []
    for step, speedup in right:
        best.append((step, max(speedup, best[-1][1] if best else 0.0)))
    source = str(steps[0].outcome.time_source)
    return html.plot(
        f"Speedup over PyTorch ({source})",
        [
            html.Curve("correct", right, html.colour(0), dots=True),
            html.Curve("best so far", best, html.colour(3)),
            html.Curve("not correct", wrong, html.colour(1), dots=True),
        ],
        low=0.0, label="steps",
    )  # fmt: skip


def _counts(steps: Sequence[Step]) -> str:
    counts = Counter(str(step.outcome.status) for step in steps)
    return "<h2>What became of steps</h2>" + html.table(
        ("status", "steps", "share"),
        [(name, count, f"{count / len(steps):.0%}") for name, count in counts.most_common()],
    )


def _numbers(outcome: Outcome) -> str:
    told = {name: getattr(outcome, name) for name in NUMBERS}
    rows = [(name, f"{value:.6g}") for name, value in told.items() if math.isfinite(value)]
    return html.note(outcome.message) + html.folded("numbers", html.table(("", ""), rows))


def _steps(steps: Sequence[Step]) -> str:
    shown = steps[-MOST_STEPS:]
    parts = ["<h2>Steps</h2>"]
    if len(shown) < len(steps):
        parts.append(html.note(f"The last {len(shown)} of {len(steps)}."))
    before = ""
    for step in shown:
        action = step.action if isinstance(step.action, str) else ""
        speedup = html.number(step.outcome.speedup, ".2f")
        title = f"{step.step}: {step.outcome.status}, speedup {speedup}, reward {step.reward:.3g}"
        parts.append(html.folded(title, _step(step, action, before)))
        before = action or before
    return "".join(parts)


def _step(step: Step, action: str, before: str) -> str:
    parts = [_numbers(step.outcome)]
    if step.info:
        parts.append(html.table(("", ""), list(step.info.items())))
    if action:
        parts.append(html.folded("action", html.code(action[:MOST_TEXT])))
        if before:
            lines = difflib.unified_diff(
                before[:MOST_TEXT].splitlines(), action[:MOST_TEXT].splitlines(), "before", "this",
                lineterm="",
            )  # fmt: skip
            parts.append(html.folded("difference from the step before", html.diff(lines)))
    elif step.action is not None:
        parts.append(html.code(str(step.action)))
    return "".join(parts)


def _about(folder: RunFolder, summary: Mapping[str, Any]) -> dict[str, object]:
    config = folder.config
    told = {name: value for name, value in summary.items() if isinstance(value, str | int | float)}
    return {"seed": config.seed, **config.options, **told}
