"""The folder of a data set: shards as they are finished, then one file a split."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from triton_gym.errors import InvalidOptionError, RunError
from triton_gym.runs.folder import write_whole

from .config import DataConfig
from .examples import Row


class Folder:
    """Where a data set is written. Files are replaced in one move: a kill leaves no half of one.

    Raises:
        InvalidOptionError: the format needs a package that is not here.
        RunError: the folder holds something else, or cannot be written.
    """

    def __init__(self, config: DataConfig) -> None:
        if config.format == "parquet" and importlib.util.find_spec("pyarrow") is None:
            raise InvalidOptionError(
                "format='parquet' needs pyarrow: pip install 'triton-gym[parquet]', or ask for "
                "format='jsonl'."
            )
        self.path = Path(config.out)
        self._format = config.format
        recipe = json.loads(json.dumps(config.recipe()))
        known = self.path / "recipe.json"
        try:
            (self.path / "shards").mkdir(parents=True, exist_ok=True)
            if not known.exists():
                write_whole(known, json.dumps(recipe, indent=2) + "\n")
            found = json.loads(known.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"Cannot use the folder {self.path}: {error}.") from None
        different = sorted(k for k in {*recipe, *found} if recipe.get(k) != found.get(k))
        if different:
            told = ", ".join(f"{k}={found.get(k)!r}, not {recipe.get(k)!r}" for k in different)
            raise RunError(
                f"{self.path} holds a data set with {told}. Continue it with the same settings, or "
                "choose another folder."
            )

    def shard(self, split: str, start: int, end: int) -> Path:
        """The file of some tasks of a split."""
        return self.path / "shards" / f"{split}-{start:06d}-{end:06d}.{self._format}"

    def final(self, split: str) -> Path:
        """The file of a split."""
        return self.path / f"{split}.{self._format}"

    def write(self, path: Path, rows: Sequence[Row]) -> None:
        """Write the rows of a file.

        Raises:
            RunError: the disk is full, or the folder is not writable.
        """
        raw = _parquet(rows) if self._format == "parquet" else _jsonl(rows)
        try:
            write_whole(path, raw)
        except OSError as error:
            raise RunError(
                f"Cannot write {path}: {error}. What was finished before is kept; the same command "
                "continues from there."
            ) from None

    def read(self, path: Path) -> list[Row]:
        """The rows of a file.

        Raises:
            RunError: it is damaged.
        """
        return read_rows(path)


def read_rows(path: Path) -> list[Row]:
    """The rows of a `.parquet` or `.jsonl` file.

    Raises:
        RunError: it is not there, or is damaged.
    """
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            table: Any = pyarrow.parquet.read_table(path, partitioning=None)
            rows: list[Row] = table.to_pylist()
            return rows
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from None


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = io.BytesIO()
    table = pyarrow.Table.from_pylist(list(rows), schema=_schema(pyarrow))
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _jsonl(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


TEXTS = ("kind", "split", "graph", "graph_kind", "dtype", "bench", "entry", "style", "shape",
         "cause", "module", "before", "before_status", "key", "environment", "device",
         "versions", "options")  # fmt: skip
COUNTS = ("seed", "steps")
NUMBERS = ("before_runtime_us", "runtime_us", "baseline_us", "speedup", "roofline", "max_error",
           "tolerance", "registers", "spills", "shared_bytes")  # fmt: skip


def _schema(pyarrow: Any) -> Any:
    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    return pyarrow.schema(
        [
            ("messages", pyarrow.list_(message)),
            *((name, pyarrow.string()) for name in TEXTS),
            *((name, pyarrow.int64()) for name in COUNTS),
            *((name, pyarrow.float64()) for name in NUMBERS),
        ]
    )
