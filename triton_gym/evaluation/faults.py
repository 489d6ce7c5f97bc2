"""Faults of a task's own functions, told as the caller's: which task, function, line and case."""

from __future__ import annotations

import linecache
import math
import numbers
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import triton_gym
from triton_gym.errors import InvalidTaskError, TritonGymError
from triton_gym.task import Case, Task

_LONGEST = 500
_PACKAGE = str(Path(triton_gym.__file__).parent)
_LIBRARIES = (
    sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"),
    str(Path(torch.__file__).parent), "<frozen",
)  # fmt: skip


@contextmanager
def blaming(task: Task, what: str, case: Case | None) -> Iterator[None]:
    """Whatever is raised inside is the task's fault, but for memory that could not be had.

    Args:
        task: whose function is called.
        what: which, as a message names it: `reference`, `inputs()`, …
        case: what it is called on; None where there is none.

    Raises:
        InvalidTaskError: the function raised.
    """
    try:
        yield
    except (TritonGymError, torch.OutOfMemoryError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        text = str(error).strip()[:_LONGEST] or "no message"
        on = f" on {case}" if case is not None else ""
        raise InvalidTaskError(
            f"The {what} of task {task.name!r} fails{on}{_place(error)}: "
            f"{type(error).__name__}: {text}"
        ) from error


def hold_counts(task: Task, case: Case) -> None:
    """Hold that a task's counts of a case are numbers that something can be held against.

    Raises:
        InvalidTaskError: one raises, or is no number of 0 or more.
    """
    for name in ("flops", "min_bytes", "reduction"):
        with blaming(task, f"{name}()", case):
            count = getattr(task, name)(case)
        plain = isinstance(count, numbers.Real) and not isinstance(count, bool)
        if not plain or not 0 <= count < math.inf:
            raise InvalidTaskError(
                f"{name}() of task {task.name!r} must give a number of 0 or more; on {case} it "
                f"gave {count!r:.80}."
            )


def _place(error: BaseException) -> str:
    """The innermost line that is neither ours nor a library's, where there is one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        catalogue = frame.filename.startswith(f"{_PACKAGE}/envs/")
        if frame.filename.startswith((_PACKAGE, *_LIBRARIES)) and not catalogue:
            continue
        line = linecache.getline(frame.filename, frame.lineno or 0).strip()
        shown = f", `{line}`" if line else ""
        name = Path(frame.filename).name.strip("<>")
        return f" in {frame.name} ({name}, line {frame.lineno}{shown})"
    return ""
