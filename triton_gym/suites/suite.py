"""A suite: problems that are listed at once and loaded one by one, when they are asked for."""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import tokenize
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from triton_gym.errors import InvalidTaskError, unknown
from triton_gym.registration import register_lazily
from triton_gym.suites.splits import groups_of, split

if TYPE_CHECKING:
    from triton_gym.task import Task

LONGEST_S = 600.0
"""Seconds that loading one problem may take."""
LARGEST = 1 << 26
"""Bytes of a problem's file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that was found, not loaded."""

    suite: str
    """Name of the suite."""
    key: str
    """What the suite calls it, e.g. `level1/23_Softmax`."""
    name: str
    """Name of its task."""
    path: Path
    """The file that holds it."""
    loader: Callable[[], Task]
    """Makes its task."""
    text: Callable[[], str]
    """What it is, as text: problems whose texts are nearly equal are near-duplicates."""

    @property
    def id(self) -> str:
        """The id of its environment once it is registered."""
        return f"TritonKernel-{self.name}-v0"

    def task(self, seconds: float = LONGEST_S) -> Task:
        """Load it. What its file does to the process is undone, see `held.held`.

        Args:
            seconds: how long it may take, held in the main thread alone.

        Raises:
            InvalidTaskError: it cannot be a task; the message says which problem and why.
        """
        from triton_gym.suites.held import TooLongError, held

        try:
            with held(seconds):
                task = self.loader()
        except (InvalidTaskError, KeyboardInterrupt):
            raise
        except TooLongError as error:
            raise InvalidTaskError(
                f"{self.path}: loading it takes more than {seconds:g} s."
            ) from error
        except BaseException as error:  # whatever a file raises, an exit included
            raise InvalidTaskError(
                f"{self.path}: {type(error).__name__}: {one_line(error)}"
            ) from error
        return task if task.name == self.name else replace(task, name=self.name)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of problems that were all loaded."""

    tasks: tuple[Task, ...]
    refused: dict[str, str]
    """Key of each problem that cannot be a task, and why."""


class Suite(Sequence[Problem]):
    """The problems of a checkout, in the suite's own order.

    Args:
        name: of the suite.
        path: of the checkout.
        problems: all of them.
    """

    def __init__(self, name: str, path: Path, problems: Sequence[Problem]) -> None:
        self.name = name
        self.path = path
        self._problems = tuple(problems)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the problems' environments."""
        return tuple(problem.id for problem in self._problems)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Problem, ...]: ...
    def __getitem__(self, index: int | slice) -> Problem | tuple[Problem, ...]:
        return self._problems[index]

    def __len__(self) -> int:
        return len(self._problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)

    def __repr__(self) -> str:
        return f"<suite {self.name}: {len(self)} problems in {self.path}>"

    def problem(self, key: str) -> Problem:
        """The problem of a key, a name or an id.

        Raises:
            InvalidOptionError: there is none; the message suggests the nearest.
        """
        for problem in self._problems:
            if key in (problem.key, problem.name, problem.id):
                return problem
        raise unknown("problem", key, [problem.key for problem in self._problems])

    def register(self) -> tuple[str, ...]:
        """Make every problem available to `gym.make`; each is loaded when it is made.

        Returns:
            Their ids.
        """
        for problem in self._problems:
            register_lazily(problem.name, problem.task)
        return self.ids

    def load(
        self, done: Callable[[Problem], None] = lambda problem: None, *, seconds: float = LONGEST_S
    ) -> Loaded:
        """Load every problem; one that cannot be a task does not keep the others from it.

        Args:
            done: called after each.
            seconds: how long each may take, held in the main thread alone.
        """
        return load_all(self._problems, done, seconds)

    def groups(self) -> tuple[tuple[Problem, ...], ...]:
        """The problems, near-duplicates together."""
        return groups_of(self._problems)

    def split(self, test: float = 0.2) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
        """Problems to train on and to test on, the same in every checkout; see `splits.split`."""
        return split(self._problems, test)


def load_all(
    problems: Iterable[Problem], done: Callable[[Problem], None] = lambda problem: None,
    seconds: float = LONGEST_S,
) -> Loaded:  # fmt: skip
    """Load problems; those that cannot be tasks are told of."""
    tasks, refused = [], {}
    for problem in problems:
        try:
            tasks.append(problem.task(seconds))
        except InvalidTaskError as error:
            refused[problem.key] = str(error)
        done(problem)
    return Loaded(tuple(tasks), refused)


def distinct(problems: Iterable[Problem], checkout: Path) -> Iterator[Problem]:
    """The problems, each with a key, a name and an id of its own, all of which can be printed.

    Of several with one name the first keeps it; the others' get a hash of their keys.
    """
    keys: set[str] = set()
    names: set[str] = set()
    for problem in problems:
        key, name = _printable(problem.key), problem.name
        if key in keys:
            key = f"{key} ({_printable(problem.path.relative_to(checkout).as_posix())})"
        if name in names:
            name = f"{name}_{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        keys.add(key)
        names.add(name)
        same = (key, name) == (problem.key, problem.name)
        yield problem if same else replace(problem, key=key, name=name)


def _printable(text: str) -> str:
    """Bytes of a file's name that are no UTF-8 as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def task_name(*parts: str) -> str:
    """An identifier made of words, e.g. `level1_23_softmax`."""
    text = unicodedata.normalize("NFKC", "_".join(parts).lower())
    plain = (c if c == "_" or (c.isalnum() and f"a{c}".isidentifier()) else " " for c in text)
    name = re.sub(" +", "_", "".join(plain)).strip("_")
    return name if name.isidentifier() else f"problem_{name}"


def read_source(path: Path) -> str:
    """The text of a problem's file, without a byte order mark, lines ended by line feeds.

    It is UTF-8, or what a file of Python declares in its first lines.

    Raises:
        InvalidTaskError: it cannot be read, is no file, is very large, or in no known encoding.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InvalidTaskError(f"{path} is no file.")
        if status.st_size > LARGEST:
            raise InvalidTaskError(
                f"{path} has {status.st_size} bytes; a problem's file has at most {LARGEST}."
            )
        content = path.read_bytes()
    except OSError as error:
        raise InvalidTaskError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        encoding = "utf-8-sig"
        if path.suffix == ".py":
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidTaskError(f"{path} is not UTF-8: {error}.") from error
    except SyntaxError as error:  # of what the first lines declare
        raise InvalidTaskError(f"{path} is not UTF-8: {one_line(error)}.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file of JSON holds.

    Raises:
        InvalidTaskError: see `read_source`; or it holds none.
    """
    text = read_source(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number may have too many digits
        raise InvalidTaskError(f"{path} is no JSON: {one_line(error)}.") from error
    if not isinstance(found, dict):
        raise InvalidTaskError(f"{path} holds no object of JSON, but a {type(found).__name__}.")
    return found


def one_line(error: BaseException, limit: int = 300) -> str:
    """An error's message without line ends, cut where it gets long."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
