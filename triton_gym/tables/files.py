"""Tables as files: one `.npz` a task, read without an extra; and those that ship with us."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.tables.table import MEASURES, Table
from triton_gym.task import Case

FORMAT = 2
"""Bumped when older readers would misread a file."""
SHIPPED = Path(__file__).parent / "data"
"""Tables that come with the package."""
_NARROW = np.float32


def save(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a table; a reader sees the old file or the new one, never a part.

    Times keep seven digits (float32), which is far below their spread.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "format": FORMAT, "task": table.task, "gpu": table.gpu,
        "knobs": {name: list(values) for name, values in table.knobs.items()},
        "cases": [[case.dtype, dict(case.sizes), dict(case.dtypes)] for case in table.cases],
        "card": dict(table.card),
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "choices": table.choices.astype(np.int16), "status": table.status.astype(np.int8),
        "baseline_us": table.baseline_us, "floor_us": table.floor_us, "flops": table.flops,
        "moved_bytes": table.moved_bytes,
        **{name: table.measures[name].astype(_NARROW) for name in MEASURES},
    }  # fmt: skip
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> Table:
    """The table of a file.

    Raises:
        InvalidOptionError: there is no such file, or it is no table of this format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(bytes(file["about"]))
            if about.get("format") != FORMAT:
                raise InvalidOptionError(
                    f"{path} has format {about.get('format')!r}; this version reads {FORMAT}."
                )
            return Table(
                task=about["task"],
                gpu=about["gpu"],
                knobs={name: tuple(values) for name, values in about["knobs"].items()},
                cases=tuple(Case(*told) for told in about["cases"]),
                card=about["card"],
                choices=file["choices"].astype(np.int64),
                status=file["status"],
                measures={name: file[name].astype(np.float64) for name in MEASURES},
                **{
                    name: file[name].astype(np.float64)
                    for name in ("baseline_us", "floor_us", "flops", "moved_bytes")
                },
            )
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise InvalidOptionError(
            f"{path} is not a table of recorded times ({type(error).__name__}: {error})."
        ) from error


def tables(path: str | os.PathLike[str] | None = None) -> Mapping[str, Path]:
    """The files of a folder's tables, or of those that ship with the package, by task.

    Raises:
        InvalidOptionError: `path` holds none.
    """
    folder = SHIPPED if path is None else Path(path)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.npz"))
    if not files:
        raise InvalidOptionError(
            f"There are no tables in {folder}; `triton-gym record` makes them."
            if path is not None
            else "This installation has no recorded tables."
        )
    return {file.stem: file for file in files}


def table_of(task: str, path: str | os.PathLike[str] | None = None) -> Table:
    """The table of a task.

    Args:
        task: its name.
        path: a file, or a folder of files named after tasks; what ships with the package by
            default.

    Raises:
        InvalidOptionError: there is none.
    """
    found = tables(path)
    file = next(iter(found.values())) if path is not None and Path(path).is_file() else None
    if file is None:
        if task not in found:
            raise unknown("recorded task", task, found)
        file = found[task]
    table = _read(str(file), file.stat().st_mtime_ns)
    if table.task != task:
        raise InvalidOptionError(f"{file} holds the table of {table.task!r}, not of {task!r}.")
    return table


@cache
def _read(path: str, changed_ns: int) -> Table:
    """A file's table, read once for as long as it does not change."""
    return load(path)
