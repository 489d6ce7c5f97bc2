"""A suite: problems that are listed at once and loaded one by one, when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from triton_gym.errors import InvalidTaskError, unknown
from triton_gym.registration import register_lazily
from triton_gym.suites.splits import groups_of, split

if TYPE_CHECKING:
    from triton_gym.task import Task


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

    def task(self) -> Task:
        """Load it.

        Raises:
            InvalidTaskError: it cannot be a task; the message says which problem and why.
        """
        try:
            return self.loader()
        except InvalidTaskError:
            raise
        except Exception as error:
            raise InvalidTaskError(
                f"{self.path}: {type(error).__name__}: {one_line(error)}"
            ) from error


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

    def load(self, done: Callable[[Problem], None] = lambda problem: None) -> Loaded:
        """Load every problem; one that cannot be a task does not keep the others from it.

        Args:
            done: called after each.
        """
        return load_all(self._problems, done)

    def groups(self) -> tuple[tuple[Problem, ...], ...]:
        """The problems, near-duplicates together."""
        return groups_of(self._problems)

    def split(self, test: float = 0.2) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
        """Problems to train on and to test on, the same in every checkout; see `splits.split`."""
        return split(self._problems, test)


def load_all(
    problems: Iterable[Problem], done: Callable[[Problem], None] = lambda problem: None
) -> Loaded:
    """Load problems; those that cannot be tasks are told of."""
    tasks, refused = [], {}
    for problem in problems:
        try:
            tasks.append(problem.task())
        except InvalidTaskError as error:
            refused[problem.key] = str(error)
        done(problem)
    return Loaded(tuple(tasks), refused)


def task_name(*parts: str) -> str:
    """An identifier made of words, e.g. `level1_23_softmax`."""
    name = re.sub(r"\W+", "_", "_".join(parts)).strip("_").lower()
    return name if name.isidentifier() else f"problem_{name}"


def read_source(path: Path) -> str:
    """The text of a problem's file, without a byte order mark.

    Raises:
        InvalidTaskError: it is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidTaskError(f"{path} is not UTF-8: {error}.") from error


def one_line(error: BaseException, limit: int = 300) -> str:
    """An error's message without line ends, cut where it gets long."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
