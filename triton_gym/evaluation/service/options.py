"""What a caller gives with an answer, checked before anything starts.

A wrong value found later would be found in a thread of the service, where it is nobody's error.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from triton_gym.errors import InvalidOptionError, InvalidTaskError, unknown
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.task import Task

BASELINES = ("eager", "compile")


def check_answer(task: object, source: object) -> None:
    """Check what is to be evaluated.

    Raises:
        InvalidTaskError, InvalidOptionError: it is no task, or no text.
    """
    if not isinstance(task, Task):
        raise InvalidTaskError(
            f"task must be a triton_gym.Task, as triton_gym.load makes of a name; got {task!r:.80}."
        )
    if not isinstance(source, str):
        raise InvalidOptionError(f"source must be text; got {type(source).__name__}.")


def check_options(baseline: object, limits: object, priority: object, wait: object) -> None:
    """Check how it is to be.

    Raises:
        InvalidOptionError: one is outside what is allowed.
    """
    if baseline not in BASELINES:
        raise unknown("baseline", baseline, BASELINES)
    if limits is not None and not isinstance(limits, Limits):
        raise InvalidOptionError(f"limits must be a triton_gym.Limits or None; got {limits!r:.80}.")
    if not isinstance(priority, (int, float)) or math.isnan(priority):
        raise InvalidOptionError(f"priority must be a number; got {priority!r:.80}.")
    if not isinstance(wait, (int, float)) or math.isnan(wait):
        raise InvalidOptionError(f"wait must be True, False or seconds; got {wait!r:.80}.")


def seed_of(given: Any) -> int | None:
    """A seed as it is stored and sent: an integer of 64 bits with its sign.

    Raises:
        InvalidOptionError: it is another thing.
    """
    if given is None:
        return None
    seed = _index(given)
    if seed is None or not -(1 << 63) <= seed < 1 << 63:
        raise InvalidOptionError(
            f"seed must be an integer from -2^63 to 2^63 - 1, or None; got {given!r:.80}."
        )
    return seed


def count_of(name: str, given: Any) -> int:
    """A number of workers, or of evaluations.

    Raises:
        InvalidOptionError: it is no integer of 1 or more.
    """
    count = _index(given)
    if count is None or count < 1:
        raise InvalidOptionError(f"{name} must be 1 or more; got {given!r:.80}.")
    return count


def _index(given: Any) -> int | None:
    try:
        return None if isinstance(given, bool) else operator.index(given)
    except TypeError:
        return None
