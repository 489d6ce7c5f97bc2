"""The learning curve of a run as a picture. Needs the extra `report` (matplotlib)."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triton_gym.runs.folder import RunFolder
    from triton_gym.runs.records import Step


def learning_curve(folder: RunFolder) -> Path | None:
    """Write `curve.png`; None if matplotlib is not installed."""
    try:
        figure = importlib.import_module("matplotlib.figure").Figure
    except ModuleNotFoundError:
        return None
    picture = figure(figsize=(8, 4.5), layout="constrained")
    draw(picture.subplots(), folder.steps, f"{folder.config.agent} on {folder.config.env}")
    content = io.BytesIO()
    picture.savefig(content, format="png", dpi=120)
    return folder.write("curve.png", content.getvalue())


def draw(axes: Any, steps: Sequence[Step], title: str) -> None:
    """Speedup of every correct step, the best so far, and a mark where a step was not correct."""
    right = [s for s in steps if s.outcome.correct]
    wrong = [s.step for s in steps if not s.outcome.correct]
    best: list[float] = []
    for step in right:
        best.append(max(step.outcome.speedup, best[-1] if best else 0.0))
    axes.plot(
        [s.step for s in right], [s.outcome.speedup for s in right], "o", ms=4, alpha=0.5,
        label="correct kernel",
    )  # fmt: skip
    axes.step([s.step for s in right], best, where="post", label="best so far")
    axes.plot(wrong, [0.0] * len(wrong), "x", color="tab:red", ms=5, label="not correct")
    axes.axhline(1.0, color="grey", lw=0.8, ls="--", label="PyTorch")
    source = str(steps[0].outcome.time_source) if steps else ""
    axes.set(title=title, xlabel="step", ylabel=f"speedup over PyTorch ({source})", ylim=(0, None))
    axes.legend()
