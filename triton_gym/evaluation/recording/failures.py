"""How an answer failed while it was recorded: what its outcome will say."""

from __future__ import annotations

import linecache
import re
from typing import Any

from triton_gym.evaluation.plan.messages import Failed
from triton_gym.evaluation.plan.plan import HOST_BYTES, STEPS
from triton_gym.evaluation.recording.memory import LooksAtMuch, Refused
from triton_gym.evaluation.workers.failure import line_at, line_in
from triton_gym.evaluation.workers.room import lacks_room
from triton_gym.outcome import Status

MESSAGE_LIMIT = 3000
"""Longest feedback in characters."""


class Failure(Exception):
    """The answer failed; holds the message for the judge."""

    def __init__(self, status: Status, text: str, *, again: bool = False) -> None:
        super().__init__(text)
        self.message: Any = Failed(status, text[:MESSAGE_LIMIT], again)

    @classmethod
    def of(cls, message: Any) -> Failure:
        """The failure whose message is another."""
        made = cls(Status.RUNTIME_ERROR, "")
        made.message = message
        return made


class TooMuchRead(Exception):
    """A call that looks at values reads or uploads more than a plan allows."""

    def __init__(self, counts: tuple[int, int]) -> None:
        super().__init__(
            f"Host code looks at {counts[0]} bytes on the device and makes {counts[1]} for it; a "
            f"call may do {HOST_BYTES} of each."
        )


class TooManySteps(Exception):
    """A call is longer than a plan may be."""

    def __init__(self, count: int) -> None:
        super().__init__(f"A call of the host function takes {count} steps; {STEPS} are allowed.")


def _text(error: BaseException) -> str:
    """What an exception says, and what the one says that it came from: Triton tells in the outer
    where, in the inner one what is wrong inside of a helper."""
    text = str(error).strip()
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    cause = str(inner).strip()
    return f"{text}\n{cause}".strip() if cause not in text else text or "no message"


def _innermost(error: BaseException, path: str) -> str:
    """Which line of which kernel function an error of Triton's front end came from, and by which
    calls: Triton counts lines from each function's first one, and says what is wrong last."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    places = [place for each in chain if (place := _place(each, path))]
    if not places:
        return ""
    *outer, (name, number) = places
    reason = str(getattr(chain[-1], "error_message", None) or chain[-1]).strip()
    calls = "".join(f", called by {caller} at line {at}" for caller, at in reversed(outer))
    told = reason.splitlines()[0] if reason else "it does not compile"
    return f"In {name}{line_at(path, number)}{calls}: {told}"


def _place(error: BaseException, path: str) -> tuple[str, int] | None:
    """Name of a kernel function and line of the answer that a compilation error speaks of."""
    text, node = getattr(error, "src", None), getattr(error, "node", None)
    number = getattr(node, "lineno", None)
    if not isinstance(text, str) or not isinstance(number, int):
        return None
    wanted = [line.strip() for line in text.strip().splitlines()]
    lines = [line.strip() for line in linecache.getlines(path)]
    for start in range(len(lines) - len(wanted) + 1):
        if lines[start : start + len(wanted)] == wanted:
            head = re.match(r"def\s+(\w+)", wanted[0])
            return head[1] if head else "a kernel", start + number
    return None


def failure(status: Status, error: BaseException, path: str, case: str) -> Failure:
    """The failure of an answer that raised.

    Args:
        status: of what was going on.
        error: what was raised.
        path: of the answer's source, whose lines are told.
        case: name of what it was called on, if it was.
    """
    where = f" on {case}" if case else ""
    if isinstance(error, Refused):
        line = line_at(path, error.taint.line)
        return Failure(
            Status.REJECTED,
            f"PyTorch was to compute ({error.taint.operator}){where}{line}, and {error.use} "
            "depends on it: the answer's own Triton kernels must do all of the work.",
        )
    if isinstance(error, (TooMuchRead, LooksAtMuch)):
        told = str(error).rstrip(".")
        return Failure(
            Status.REJECTED,
            f"{told}{where}{line_in(error, path)}: the answer's own Triton kernels must do all of "
            "the work.",
        )
    kind = type(error).__name__
    library = type(error).__module__.partition(".")[0]
    if library == "triton" or kind == "CompileFailed":
        status = Status.COMPILE_ERROR
    inner = _innermost(error, path) if status == Status.COMPILE_ERROR else ""
    told = f"{kind}{where}{line_in(error, path)}: {inner and inner + chr(10)}{_text(error)}"
    return Failure(status, told, again=lacks_room(error))
