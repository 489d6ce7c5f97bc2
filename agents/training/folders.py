"""The folder of a training run, made or opened again."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from triton_gym.errors import RunError
from triton_gym.runs.folder import write_json

_ids = ("out", "steps", "tensorboard", "save_every", "keep", "transcripts_every", "evaluate_every")
"""Settings of `run` that may differ when a run goes on."""


def claim(folder: Path, config: Mapping[str, Any], machine: Mapping[str, Any]) -> IO[bytes]:
    """Make the run folder, or take an interrupted run's, for this process alone.

    Args:
        folder: of the run.
        config: what it is to do; must be that of the run that is there, but for how long it runs
            and what it writes.
        machine: versions and device, for the record.

    Returns:
        A lock; the folder is this process's until it is closed.

    Raises:
        RunError: it cannot be written, is in use, or holds another run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    except OSError as error:
        raise RunError(f"Cannot make the run folder {folder}: {error}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RunError(f"{folder} is in use by another run.") from None
    try:
        file = folder / "config.json"
        if file.is_file():
            differing = list(_differences(json.loads(file.read_text(encoding="utf-8")), config))
            if differing:
                raise RunError(
                    f"{folder} holds a run with other settings: {'; '.join(differing[:3])}. Give "
                    "the same settings to go on with it, or another run.out."
                )
        else:
            write_json(folder / "machine.json", machine)
        write_json(file, config)
    except BaseException:
        lock.close()
        raise
    return lock


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in sorted({*old, *new}):
        if prefix == "run." and name in _ids:
            continue
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name} was {a!r}, is {b!r}")
    return found
