"""Folders that go when what they were made for ends, though others may still be writing there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

TRIES = 100
"""How often a folder is removed into which a dying process still writes."""
PAUSE_S = 0.05
PREFIX = "triton-gym-"
HELD = "held"
"""A file in a judge's folder that is locked as long as the judge or its user lives."""


class Scratch:
    """A folder for one answer: its source, Triton's cache, nothing else. Gone afterwards.

    Raises:
        OSError: there is no room for it; then nothing is left of it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.folder = tempfile.mkdtemp(prefix=PREFIX)
        self.path = str(Path(self.folder, "answer.py"))
        try:
            Path(self.path).write_text(source, encoding="utf-8")
        except OSError:
            remove(self.folder)
            raise

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *exc: object) -> None:
        remove(self.folder)


def remove(folder: str) -> None:
    """Remove a folder and all in it, again and again if processes that were killed still write."""
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            break
        time.sleep(PAUSE_S)


def remove_returned(folder: str) -> None:
    """Remove a judge's folder that was removed before, and is back.

    A process that starts while its judge dies may come to make a folder of its own there, and
    `os.makedirs`, which PyTorch and Triton use, makes what is above it too.
    """
    if os.path.basename(folder).startswith(PREFIX) and not os.path.exists(f"{folder}/{HELD}"):
        remove(folder)
