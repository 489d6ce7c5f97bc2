"""What a training run writes down: a line of metrics a step, TensorBoard, transcripts."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triton_gym.errors import InvalidOptionError, RunError
from triton_gym.runs.folder import write_whole


class Journal:
    """Metrics of one run, in `metrics.jsonl` and, if asked for, for TensorBoard.

    Args:
        folder: of the run.
        glossary: name and meaning of every metric, written to `glossary.md`.
        done: steps that the run goes on from; lines of later ones, which a kill left, are dropped.
        tensorboard: write event files as well.

    Raises:
        InvalidOptionError: TensorBoard was asked for and is not installed.
    """

    def __init__(
        self, folder: Path, glossary: Mapping[str, str], *, done: int, tensorboard: bool
    ) -> None:
        self.path = folder / "metrics.jsonl"
        self._folder = folder
        kept = [line for line in read_lines(self.path) if line["step"] <= done]
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        rows = "".join(f"| `{name}` | {text} |\n" for name, text in glossary.items())
        write_whole(folder / "glossary.md", f"| metric | meaning |\n|---|---|\n{rows}")
        self._board: Any = None
        if tensorboard:
            if importlib.util.find_spec("tensorboard") is None:
                raise InvalidOptionError(
                    "run.tensorboard needs tensorboard: pip install tensorboard"
                )
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> str:
        """Add a line. Returns what went wrong if the disk took it not; training goes on."""
        plain = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **plain}) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if self._board:
                for name, value in metrics.items():
                    if math.isfinite(value):
                        self._board.add_scalar(name, value, step)
                self._board.flush()
        except OSError as error:
            return f"the metrics of step {step} could not be written: {error}"
        return ""

    def transcript(self, step: int, text: str, kind: str = "") -> None:
        """Write conversations for a person to read; not worth stopping for.

        Args:
            step: when they took place.
            text: all of them.
            kind: which they are, if they are no sample.
        """
        name = f"step-{step:06d}" + (f"-{kind}" if kind else "")
        try:
            (self._folder / "transcripts").mkdir(exist_ok=True)
            write_whole(self._folder / "transcripts" / f"{name}.md", text)
        except OSError:
            pass

    def close(self) -> None:
        """Let TensorBoard's files go."""
        if self._board:
            self._board.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; one that a kill left unfinished is left out.

    Raises:
        RunError: another line is damaged.
    """
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines):
        try:
            found.append(json.loads(line))
        except ValueError:
            if number + 1 < len(lines):
                raise RunError(f"{path}, line {number + 1}, is damaged.") from None
    return found
