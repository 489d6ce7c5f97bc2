"""What an interpreter reports of a call at full size, read with suspicion.

The reports are made in a process that read an answer's kernels. They are records of numbers: a
field that is missing, of another type, not finite or beyond any machine ends as `cheating`.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status

LARGEST = 1e16
"""Beyond any count or size that a call can have."""
LAUNCHES = 4096
"""Beyond any number of launches and configurations of a call."""

_T = TypeVar("_T")


def forged(why: str) -> Ended:
    """The end of an evaluation whose worker told nonsense."""
    return Ended(Status.CHEATING, f"The worker sent a forged report: {why}.")


def read_traces(reply: dict[str, Any]) -> list[LaunchTrace]:
    """The traces that a worker reports.

    Raises:
        Ended: they cannot be true.
    """
    traces = _read(reply, "traces", LaunchTrace, LaunchTrace.read)
    for trace in traces:
        if any(not -1 <= s.owner < len(trace.tensors) for s in trace.sites):
            raise forged("an access goes to a tensor that the launch does not have")
    return traces


def _read(
    reply: dict[str, Any], name: str, kind: type[_T], read: Callable[[dict[str, Any]], _T]
) -> list[_T]:
    records = reply.get(name)
    if not isinstance(records, list) or len(records) > LAUNCHES:
        raise forged(f"{name} must be a list of at most {LAUNCHES}")
    try:
        found = [read(record) for record in records]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise forged(f"{name} cannot be read ({type(error).__name__})") from None
    for value in found:
        _hold(value, kind, name)
    return found


def _hold(value: Any, kind: Any, where: str) -> None:
    """Raise unless a value is of a type, and all numbers in it are finite and not negative."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if type(value) is not kind:
            raise forged(f"{where} is not a record")
        record: Any = kind
        for name, part in _fields(record).items():
            _hold(getattr(value, name), part, f"{where}.{name}")
    elif origin is tuple or origin in (list, Sequence):
        parts = inner if origin is tuple and inner[-1] is not ... else (inner[0],) * len(value)
        if not isinstance(value, (tuple, list)) or len(value) != len(parts):
            raise forged(f"{where} has another length")
        for part, found in zip(parts, value, strict=True):
            _hold(found, part, where)
    elif origin in (dict, Mapping) or origin is types.MappingProxyType:
        if not isinstance(value, Mapping):
            raise forged(f"{where} is not a table")
        for key, found in value.items():
            _hold(key, inner[0], where)
            _hold(found, inner[1], where)
    elif kind in (int, float):
        _hold_number(value, kind, where)
    elif kind in (str, bool) and type(value) is not kind:
        raise forged(f"{where} is not {kind.__name__}")


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    """The types of a record's fields; Python takes its time to find them."""
    hints = typing.get_type_hints(kind).items()
    return {name: part for name, part in hints if typing.get_origin(part) is not typing.ClassVar}


def _hold_number(value: Any, kind: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise forged(f"{where} is not a number")
    if kind is int and not isinstance(value, int):
        raise forged(f"{where} is not a whole number")
    # Only the owner of an access and the parent of a region may be -1, for none.
    if not -1 <= value <= LARGEST:  # NaN is not
        raise forged(f"{where} is no count")
    if value < 0 and where.rpartition(".")[2] not in ("owner", "parent"):
        raise forged(f"{where} is negative")


def numbers(reply: dict[str, Any], name: str, kind: type = float) -> list[Any]:
    """A list of numbers from a reply.

    Raises:
        Ended: it is something else.
    """
    value = reply.get(name)
    if not isinstance(value, list):
        raise forged(f"{name} is not a list")
    for part in value:
        _hold_number(part, kind, name)
        if part < 0:
            raise forged(f"{name} is negative")
    return value
