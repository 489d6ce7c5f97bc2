"""How an answer failed: what its outcome will say, and which line of it that was."""

from __future__ import annotations

import linecache
import traceback

from triton_gym.outcome import Status


class Failure(Exception):
    """The answer failed; becomes the reply."""

    def __init__(self, status: Status, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.again = again
        """Whether the machine may be to blame."""


def line_in(error: BaseException, path: str) -> str:
    """The line of the answer that an exception came from, with its text."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f" at line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return line_at(path, frames[-1].lineno) if frames else ""


def line_at(path: str, number: int | None) -> str:
    """A line of the answer with its text, as a part of a sentence."""
    return f" at line {number} (`{linecache.getline(path, number).strip()}`)" if number else ""
