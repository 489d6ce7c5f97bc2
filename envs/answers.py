"""The starter and the expert that lie beside a task."""

from __future__ import annotations

from pathlib import Path


def answers(task_file: str) -> dict[str, str]:
    """The sources of a task's two answers, as the arguments of `Task` that they are.

    Args:
        task_file: `__file__` of the task's module.
    """
    folder = Path(task_file).parent
    return {
        name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in ("starter", "expert")
    }
