"""Outcomes that were found before, in one SQLite file: a seen answer costs no second evaluation.

The key is the answer, what the task does (`fingerprint.py`), the hardware, the versions of the
libraries and of the evaluation itself, the baseline and the limits. It is not the seed: a recorded
outcome stands for its answer whatever inputs it was found on, so on the simulated device a store
gives up that equal seeds give equal numbers. `submit(..., fresh=True)` evaluates in any case.

Only what the answer alone decides is kept (`storable`). The file is in WAL mode: any number of
processes of one machine may read and write at once, and a process that is killed loses at most
what it was about to write. SQLite's locks do not hold on network file systems.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from triton_gym import printing
from triton_gym.errors import InvalidOptionError, StoreError, unknown, warn
from triton_gym.evaluation.fingerprint import task_fingerprint
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import NAN, NUMBERS, Outcome, Status, TimeSource, from_json, to_json
from triton_gym.task import Task

BUSY_S = 60.0
"""How long a writer waits for another."""
KEPT = frozenset({Status.REJECTED, Status.COMPILE_ERROR, Status.INCORRECT, Status.CORRECT})
"""Statuses that the answer decides. A timeout may be the load's doing; so may a runtime error
(memory) and, on a GPU, the clock's verdict that an answer cheats."""
COLUMNS = (
    "task", "status", "speedup", "runtime_us", "baseline_us", "roofline", "gbps", "tflops",
    "registers", "spills", "shared_bytes", "bound", "max_error", "tolerance", "coverage",
    "device", "found", "seed", "baseline", "answer", "source", "message", "versions", "limits",
)  # fmt: skip
"""Columns of a query and of an export. `found` is `measured` or `simulated`, `answer` the digest
of `source`."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (digest TEXT PRIMARY KEY, source BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcomes (
    key TEXT NOT NULL, device TEXT NOT NULL, task TEXT NOT NULL, answer TEXT NOT NULL,
    status TEXT NOT NULL, speedup REAL, seed INTEGER, baseline TEXT NOT NULL, limits TEXT NOT NULL,
    versions TEXT NOT NULL, created REAL NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (key, device)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_task ON outcomes (task, status, speedup);
"""
_VERSION = 1


def storable(outcome: Outcome) -> bool:
    """Whether an outcome would be the same under another load of the machine."""
    cheats = outcome.status is Status.CHEATING and outcome.time_source is TimeSource.SIMULATED
    return outcome.status in KEPT or cheats


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """What is looked up, beside the hardware."""

    digest: str
    answer: str
    """Digest of the source."""
    limits: str
    baseline: str


class Store:
    """A file of outcomes. Safe to use from several threads and processes.

    Args:
        path: of the file; it is made if it is not there. Its folder must be.
        busy_s: how long to wait for others that hold the file.

    Raises:
        StoreError: the file cannot be opened or is none of these.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_s: float = BUSY_S) -> None:
        self._set_up(file_of(path), busy_s)
        with self._lock, self._errors():
            self._open()

    @classmethod
    def unopened(cls, path: Path, *, busy_s: float = BUSY_S) -> Store:
        """A store whose file is opened by the first use."""
        made = cls.__new__(cls)
        made._set_up(path, busy_s)
        return made

    def _set_up(self, path: Path, busy_s: float) -> None:
        self.path, self._busy_s = path, busy_s
        self._lock = threading.Lock()
        self._owner = 0
        self._connection: sqlite3.Connection | None = None
        self._damaged = False

    def key(self, task: Task, source: str, baseline: str, limits: Limits) -> Key:
        """The key of an evaluation."""
        answer = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
        bounds = json.dumps(dataclasses.asdict(limits), sort_keys=True)
        parts = (answer, task_fingerprint(task), bounds, baseline, versions())
        return Key(hashlib.sha256("\0".join(parts).encode()).hexdigest(), answer, bounds, baseline)

    def get(self, key: Key, devices: Iterable[str]) -> Outcome | None:
        """What was recorded, labelled `recorded`; None if nothing was.

        Args:
            key: of `key()`.
            devices: hardware that it may have been found on.
        """
        names = sorted(devices)
        marks = ", ".join("?" * len(names))
        with self._lock, self._errors():
            row = self._open().execute(
                f"SELECT outcome FROM outcomes WHERE key = ? AND device IN ({marks}) LIMIT 1",
                (key.digest, *names),
            ).fetchone()  # fmt: skip
        if row is None:
            return None
        try:
            return as_recorded(_outcome(row[0]))
        except _DAMAGE as error:
            self._tell_damage(error)
            return None

    def put(
        self, key: Key, device: str, task: str, source: str, seed: int | None, outcome: Outcome
    ) -> None:
        """Record an outcome if it is `storable`; a later one replaces an earlier one."""
        if not storable(outcome):
            return
        row = (
            key.digest, device, task, key.answer, str(outcome.status), _number(outcome.speedup),
            _integer(seed), key.baseline, key.limits, versions(), time.time(),
            json.dumps(to_json(outcome)),
        )  # fmt: skip
        packed = zlib.compress(source.encode("utf-8", "surrogatepass"))
        with self._lock, self._errors():
            connection = self._open()
            with connection:  # one transaction
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?)", (key.answer, packed)
                )
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT OR REPLACE INTO outcomes VALUES ({marks})", row)

    def rows(
        self,
        *,
        task: str | None = None,
        status: str | None = None,
        min_speedup: float | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Recorded outcomes, the fastest of each task first, as rows of `COLUMNS`.

        Raises:
            InvalidOptionError: there is no such status.
        """
        if status is not None and status not in list(Status):
            raise unknown("status", status, list(Status))
        if limit is not None and limit < 0:
            raise InvalidOptionError(f"limit must be 0 or more; got {limit}.")
        asked = {"task = ?": task, "status = ?": status, "speedup >= ?": min_speedup}
        chosen = {term: value for term, value in asked.items() if value is not None}
        where = f"WHERE {' AND '.join(chosen)} " if chosen else ""
        query = (
            "SELECT task, device, seed, baseline, limits, versions, answer, answers.source, "
            f"outcome FROM outcomes JOIN answers ON answers.digest = outcomes.answer {where}"
            "ORDER BY task, speedup IS NULL, speedup DESC LIMIT ?"
        )
        # A connection of its own: a long export must not hold up those who record.
        with self._errors():
            connection = self._connect()
            try:
                found = connection.execute(
                    query, (*chosen.values(), -1 if limit is None else limit)
                )
                for row in found:
                    try:
                        yield _row(*row)
                    except _DAMAGE as error:
                        self._tell_damage(error)
            finally:
                connection.close()

    def __len__(self) -> int:
        with self._lock, self._errors():
            return int(self._open().execute("SELECT count(*) FROM outcomes").fetchone()[0])

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    # -- the connection -----------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        # SQLite's connections do not survive a fork.
        if self._connection is None or self._owner != os.getpid():
            self._connection, self._owner = self._connect(), os.getpid()
        return self._connection

    def _tell_damage(self, error: Exception) -> None:
        if not self._damaged:
            self._damaged = True
            told = f"{type(error).__name__}: {error}"
            warn(f"The store {self.path} holds damaged records, which count as not there. {told}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        # Text that is none is a damaged record, and not an error of the whole query.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise StoreError(f"{self.path} is a store of version {version}, not {_VERSION}.")
        tables = {name for (name,) in connection.execute("SELECT tbl_name FROM sqlite_master")}
        if tables - {"answers", "outcomes"}:
            raise StoreError(f"{self.path} is a database of something else than outcomes.")
        _to_wal(connection, self._busy_s)
        connection.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _errors(self) -> _Errors:
        return _Errors(self.path)


def file_of(path: object) -> Path:
    """The path of a store, as it was given.

    Raises:
        InvalidOptionError: it is none.
    """
    if isinstance(path, (str, os.PathLike)):
        return Path(path)
    raise InvalidOptionError(f"store must be the path of a file; got {path!r:.80}.")


class _Errors:
    """Turns SQLite's errors into the library's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            folder = self._path.absolute().parent
            why = "" if os.access(folder, os.W_OK) else f" The folder {folder} cannot be written."
            raise StoreError(f"The store {self._path} cannot be used: {error}.{why}") from error


def as_recorded(outcome: Outcome) -> Outcome:
    """An outcome that is not found again: nothing is evaluated, so nothing takes time."""
    return outcome.replace(time_source=TimeSource.RECORDED, evaluation_s=NAN, phases=())


_DAMAGE = (
    ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError, zlib.error,
)  # fmt: skip
"""What reading a record raises that is none."""


def _outcome(text: str) -> Outcome:
    """A recorded outcome; raises one of `_DAMAGE` if it is none."""
    found = from_json(json.loads(text))
    if not storable(found):
        raise ValueError(f"{found.status} is not recorded")
    return found.replace(message=printing.message(found.message))


def _to_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    """Switch to a write-ahead log; of several that try at once, SQLite turns all but one away."""
    deadline = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@cache
def versions() -> str:
    """Everything of this installation that an outcome depends on, as JSON."""
    found = {name: _version(name) for name in ("torch", "triton", "numpy", "triton-gym")}
    found["python"] = platform.python_version()
    found["code"] = _code_digest()
    return json.dumps(found, sort_keys=True)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _code_digest() -> str:
    """Digest of this package's code, tasks and agents apart: a changed judge, or a changed family
    of tasks, finds nothing that another one recorded."""
    home = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        name = path.relative_to(home)
        if name.parts[0] not in ("envs", "agents"):
            digest.update(str(name).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _integer(value: int | None) -> int | str | None:
    return str(value) if value is not None and not -(1 << 63) <= value < 1 << 63 else value


def _number(value: float) -> float | None:
    return value if value == value else None  # SQLite has no NaN


def _row(
    task: str, device: str, seed: int | None, baseline: str, limits: str, versions: str,
    answer: str, packed: bytes, outcome: str,
) -> dict[str, Any]:  # fmt: skip
    _outcome(outcome)
    fields = json.loads(outcome)
    known = {
        "task": task, "device": device, "seed": seed, "baseline": baseline, "limits": limits,
        "versions": versions, "answer": answer,
        "found": fields.get("time_source", fields.get("source")),  # the latter is its name of old
        "source": zlib.decompress(packed).decode("utf-8", "surrogatepass"),
    }  # fmt: skip
    row = {name: known[name] if name in known else fields[name] for name in COLUMNS}
    return {k: float(v) if k in NUMBERS and v is not None else v for k, v in row.items()}
