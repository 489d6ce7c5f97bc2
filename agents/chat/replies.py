"""The replies of a model that is scored, on disk as soon as they are there.

A file of JSON lines. The first says what is scored; then a line for each reply and one for what
became of it, so that a run that is ended at any moment asks for no reply twice.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_gym.errors import InvalidOptionError, RunError
from triton_gym.outcome import from_json


@dataclass(slots=True)
class Recorded:
    """One reply, and what became of it if that was recorded too."""

    text: str
    result: Mapping[str, Any] | None = None
    """`status`, `speedup`, `reward` and the `outcome`."""


def check_place(path: Path) -> None:
    """Check that a file can be written, before anything that takes long; makes nothing.

    Raises:
        InvalidOptionError: it cannot.
    """
    if path.is_dir():
        raise InvalidOptionError(f"{path} is a folder; name a file for the scores.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InvalidOptionError(f"Cannot write {path}: {above} is no folder that may be written.")


class Replies:
    """The file, open for this process alone.

    Args:
        path: made if it is not there, with the folders above it.
        about: what is scored, plain values; a file of something else is refused.

    Raises:
        InvalidOptionError: the file is of something else.
        RunError: it is in use, damaged, or cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self.known: dict[int, list[Recorded]] = {}
        """The replies of each conversation, in order."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise RunError(f"Cannot write {path}: {error}.") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RunError(f"{path} is in use by another run.") from None
        try:
            self._read(json.loads(json.dumps(about)))
        except BaseException:
            self._file.close()
            raise

    def reply(self, conversation: int, text: str) -> None:
        """Add the next reply of a conversation."""
        self._write({"conversation": conversation, "reply": text})

    def result(self, conversation: int, result: Mapping[str, Any]) -> None:
        """Add what became of the last reply of a conversation."""
        self._write({"conversation": conversation, "result": dict(result)})

    def close(self) -> None:
        """Let others open it."""
        self._file.close()

    def __enter__(self) -> Replies:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"Cannot write {self.path}: {error}. What was written before is kept; make room, "
                "and the same command goes on."
            ) from None

    def _read(self, about: Mapping[str, Any]) -> None:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):  # a kill left it unfinished
            self._file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        if not lines:
            self._write({"about": about})
            return
        then: Mapping[str, Any] = {}
        for number, line in enumerate(lines):
            try:
                if number:
                    self._take(json.loads(line))
                else:
                    then = dict(json.loads(line)["about"])
            except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
                raise RunError(f"{self.path}, line {number + 1}, is damaged: {error!r}.") from None
        _check_same(self.path, then, about)

    def _take(self, line: dict[str, Any]) -> None:
        replies = self.known.setdefault(int(line["conversation"]), [])
        if "reply" in line:
            replies.append(Recorded(str(line["reply"])))
        else:
            replies[-1].result = _result(dict(line["result"]))


def _result(given: dict[str, Any]) -> Mapping[str, Any]:
    """What became of a reply, as it was recorded; raises if it is damaged."""
    numbers = [given["reward"], *([] if given["speedup"] is None else [given["speedup"]])]
    if not all(type(one) in (int, float) and math.isfinite(one) for one in numbers):
        raise ValueError(f"reward and speedup are {numbers!r:.80}")
    if type(given["status"]) is not str:
        raise TypeError(f"status is {given['status']!r:.80}")
    if given["outcome"] is not None:
        from_json(given["outcome"])
    return given


def _check_same(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if changed:
        told = "; ".join(f"{n} was {then.get(n)!r}, now {now.get(n)!r}" for n in changed)
        raise InvalidOptionError(
            f"{path} holds replies of another scoring: {told}. Give another --out, or the same "
            "arguments to go on."
        )
