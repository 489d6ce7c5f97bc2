"""What a worker reports of a call at full size, read with suspicion.

The reports are made in a process that ran the answer. They are records of numbers: a field that is
missing, of another type, not finite or beyond any machine ends as `cheating`, and so do two
reports of one call that tell of different launches.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from triton_gym.evaluation.simulate.launches import LaunchTrace
from triton_gym.evaluation.simulate.machine_code.build import Build
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


def read_builds(reply: dict[str, Any]) -> list[Build]:
    """The builds that a worker reports.

    Raises:
        Ended: they cannot be true.
    """
    return _read(reply, "builds", Build, Build.read)


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


def read_sizes(reply: dict[str, Any], name: str) -> list[int]:
    """Bytes of each of PyTorch's kernels of a kind, as a worker reports them.

    Raises:
        Ended: they cannot be true.
    """
    sizes = numbers(reply, name, int)
    if len(sizes) > LAUNCHES:
        raise forged(f"{name} must be a list of at most {LAUNCHES}")
    return sizes


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
        for name, part in typing.get_type_hints(kind).items():
            if typing.get_origin(part) is not typing.ClassVar:
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


def hold_together(builds: Sequence[Build], traces: Sequence[LaunchTrace]) -> None:
    """Raise unless what was compiled and what was followed are the same launches.

    Configurations of an autotuned kernel may fail in one of the two; launches may not.

    Raises:
        Ended: they differ.
    """
    built = {(b.index, b.config): b for b in builds}
    followed = {(t.index, t.config): t for t in traces}
    if len(built) != len(builds) or len(followed) != len(traces):
        raise forged("a launch is told of twice")
    if {b.index for b in builds} != {t.index for t in traces}:
        raise Ended(
            Status.CHEATING,
            "The answer launched other kernels when it was compiled at full size than when it was "
            f"followed there: {_named(builds)} against {_named(traces)}.",
        )
    for key in built.keys() & followed.keys():
        one, other = built[key], followed[key]
        if (one.kernel, one.grid) != (other.kernel, other.grid):
            raise Ended(
                Status.CHEATING,
                f"Launch {one.index} was {one.kernel}{list(one.grid)} when it was compiled at full "
                f"size, and {other.kernel}{list(other.grid)} when it was followed there.",
            )


def _named(launches: Sequence[Build] | Sequence[LaunchTrace]) -> str:
    return ", ".join(dict.fromkeys(f"{x.kernel}{list(x.grid)}" for x in launches)) or "none"


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
