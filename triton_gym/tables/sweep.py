"""Several tasks recorded one after the other within a time: test shapes of all first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from triton_gym.tables.plan import Plan
from triton_gym.tables.recording import Recording, Records
from triton_gym.tables.table import Table

Told = Callable[[str, str, int, int], None]
"""Called with a task, `test` or `train`, how many evaluations are over, and of about how many."""


def record_all(
    plans: Sequence[Plan], evaluator: Records, folder: Path, *,
    earlier: Mapping[str, Table] | None = None, until: float = math.inf,
    told: Told = lambda task, part, done, whole: None,
) -> dict[str, Table]:  # fmt: skip
    """Record tasks: the complete tables of all first, then the samples, in the order of `plans`.

    Args:
        plans: what is recorded.
        evaluator: on which device.
        folder: of journals and tables, which are written after each part.
        earlier: tables of other runs; see `Recording`.
        until: when to stop, by `time.monotonic`.
        told: hears of the progress.

    Returns:
        The tables, by task, of which anything was measured.
    """
    known = earlier or {}
    recordings = [
        Recording(plan, evaluator, folder, earlier=known.get(plan.task.name)) for plan in plans
    ]
    found: dict[str, Table] = {}
    for part in ("test", "train"):
        for recording in recordings:
            name, split = recording.plan.task.name, len(recording.plan.test)
            cases = range(split) if part == "test" else range(split, len(recording.cases))

            def heard(done: int, whole: int, name: str = name, part: str = part) -> None:
                told(name, part, done, whole)

            table = recording.run(heard, cases=cases, until=until)
            if table is not None:
                found[name] = table
            if time.monotonic() >= until:
                return found
    return found
