"""Recorded outcomes as files that other programs read: Parquet, CSV or JSON lines."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.records.store import COLUMNS
from triton_gym.outcome import NUMBERS

BATCH = 5000
"""Rows that are in memory at a time."""

Rows = Iterable[Mapping[str, Any]]


def export(rows: Rows, path: Path) -> int:
    """Write rows of `Store.rows` to a file whose ending names the format. Atomic.

    Args:
        rows: what to write; they may be more than memory holds.
        path: ends in `.parquet`, `.csv` or `.jsonl`. A file that is there is replaced.

    Returns:
        How many rows were written.

    Raises:
        InvalidOptionError: another ending, the folder is not there, or `.parquet` without PyArrow.
    """
    formats = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    if path.suffix not in formats:
        raise InvalidOptionError(
            f"Cannot tell the format of {path}. Allowed endings: {', '.join(formats)}."
        )
    if not path.parent.is_dir():
        raise InvalidOptionError(f"The folder {path.parent} is not there.")
    if path.suffix == ".parquet":
        _pyarrow()  # before anything is written
    partial = path.with_name(path.name + ".partial")
    try:
        count = formats[path.suffix](rows, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _pyarrow() -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise InvalidOptionError(
            "Parquet needs PyArrow: pip install 'triton-gym[parquet]'; .csv and .jsonl do not."
        ) from error


def _parquet(rows: Rows, path: Path) -> int:
    pyarrow = _pyarrow()
    text, number = pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema([(name, number if name in NUMBERS else text) for name in COLUMNS])
    count = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            # Seeds may exceed 64 bits, and sources may hold what is not Unicode text.
            plain = [{k: v if k in NUMBERS else _text(v) for k, v in row.items()} for row in batch]
            writer.write_table(pyarrow.Table.from_pylist(plain, schema=schema))
            count += len(batch)
    return count


def _csv(rows: Rows, path: Path) -> int:
    def write(file: IO[str]) -> Callable[[Mapping[str, Any]], object]:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        return lambda row: writer.writerow(
            {k: v if k in NUMBERS else _text(v) for k, v in row.items()}
        )

    return _lines(rows, path, write)


def _jsonl(rows: Rows, path: Path) -> int:
    return _lines(rows, path, lambda file: lambda row: file.write(json.dumps(dict(row)) + "\n"))


def _lines(
    rows: Rows, path: Path, begin: Callable[[IO[str]], Callable[[Mapping[str, Any]], object]]
) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        write = begin(file)
        for row in rows:
            write(row)
            count += 1
    return count


def _text(value: Any) -> str | None:
    return None if value is None else str(value).encode("utf-8", "replace").decode()


def _batches(rows: Rows) -> Iterator[list[Mapping[str, Any]]]:
    left = iter(rows)
    while batch := list(itertools.islice(left, BATCH)):
        yield batch
