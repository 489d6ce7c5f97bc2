"""What became of one answer: the frozen record that every evaluation ends in."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_gym import printing

NAN = math.nan


class Number(np.float64):
    """A float64 of `info`, for which a number that does not exist equals itself.

    Gymnasium's `check_env` compares the infos of equal seeds with `==`, which an ordinary NaN
    never passes. `math.isnan`, `numpy.isnan`, `!=` and arithmetic are those of float64.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if math.isnan(self) and isinstance(other, float):
            return math.isnan(other)
        return bool(np.float64.__eq__(self, other))

    __hash__ = np.float64.__hash__

    def __repr__(self) -> str:
        return float.__repr__(float(self))


class Status(enum.StrEnum):
    """How an evaluation ended. Exactly one of these, always."""

    INVALID_ACTION = "invalid_action"
    """No answer could be read from the action: empty, not Python, an edit that does not apply."""
    REJECTED = "rejected"
    """The screen refused the source before anything ran."""
    COMPILE_ERROR = "compile_error"
    """The module does not import, lacks its entry point, or Triton or ptxas refused a kernel."""
    RUNTIME_ERROR = "runtime_error"
    """The answer raised, crashed, left its memory limits or returned the wrong kind of thing."""
    TIMEOUT = "timeout"
    """The answer did not finish within the time limit."""
    INCORRECT = "incorrect"
    """The answer ran and its result is wrong."""
    CHEATING = "cheating"
    """The result was not honestly obtained: its time, its work or its data are not its own."""
    CORRECT = "correct"
    """Every output of every launch was verified."""


class TimeSource(enum.StrEnum):
    """Where the times of an outcome come from."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedCase:
    """What one timed case came to; the fields are those of an `Outcome`."""

    case: str
    """Its sizes and dtype, as `str(case)`."""
    runtime_us: float = NAN
    runtime_low_us: float = NAN
    runtime_high_us: float = NAN
    baseline_us: float = NAN
    speedup: float = NAN
    roofline: float = NAN
    gbps: float = NAN
    tflops: float = NAN
    bound: str = ""
    coverage: float = NAN
    registers: float = NAN
    spills: float = NAN
    shared_bytes: float = NAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one evaluation. Numbers that do not exist are NaN.

    Where a task has several timed cases, `cases` holds what each came to and `speedup` is the
    geometric mean of theirs. All other numbers are the first case's.
    """

    status: Status
    message: str = ""
    """Feedback that a person or a model can act on; printable, whatever the answer said."""
    runtime_us: float = NAN
    """Median time of one call at the bench case, in microseconds."""
    runtime_low_us: float = NAN
    """Lower end of the 95% interval of that median; where the time is simulated, of the model's 90%
    interval, which is wide where it has little evidence."""
    runtime_high_us: float = NAN
    """Upper end of the same."""
    baseline_us: float = NAN
    """Median time of the PyTorch reference at the same case, beside it."""
    speedup: float = NAN
    """`baseline_us / runtime_us`; the geometric mean over `cases`, where there are several."""
    roofline: float = NAN
    """Speed of light over `runtime_us`: 1 is the device's limit for the case's work."""
    gbps: float = NAN
    """The case's minimal bytes over `runtime_us`, in 10⁹ bytes a second."""
    tflops: float = NAN
    """The case's FLOPs over `runtime_us`, in 10¹² a second."""
    bound: str = ""
    """What limits the kernel: `memory`, `compute`, `launch`, or empty."""
    max_error: float = NAN
    """Largest error seen, as a share of what is allowed times `tolerance`."""
    tolerance: float = NAN
    """Relative tolerance that applied where `max_error` was seen."""
    coverage: float = NAN
    """Share of the device's busy time spent in the answer's own Triton kernels, 0 to 1."""
    registers: float = NAN
    """Registers a thread of the heaviest kernel."""
    spills: float = NAN
    """Spilled bytes a thread of the heaviest kernel."""
    shared_bytes: float = NAN
    """Shared memory a program of the heaviest kernel, in bytes."""
    compiled: bool = False
    """Whether the answer got as far as running its kernels."""
    evaluation_s: float = NAN
    """Wall time of the evaluation, in seconds; NaN where outcomes must be reproducible."""
    phases: tuple[tuple[str, float], ...] = ()
    """Seconds of each phase; see `PHASES`."""
    time_source: TimeSource = TimeSource.MEASURED
    """Whether the times were measured, simulated, or read from a recording."""
    cases: tuple[TimedCase, ...] = ()
    """Each timed case of the task, in its order; empty if the answer did not get so far."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printing.message(self.message))

    @property
    def correct(self) -> bool:
        """Whether the answer is right in every respect."""
        return self.status is Status.CORRECT

    def replace(self, **changes: Any) -> Outcome:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def over_cases(self, number: Callable[[Outcome | TimedCase], float]) -> float:
        """The geometric mean of a number over the timed cases; NaN if one of them has none."""
        values = [number(case) for case in self.cases or (self,)]
        if not all(math.isfinite(value) and value >= 0 for value in values):
            return NAN
        return geometric_mean(values)

    def info(self) -> dict[str, Any]:
        """The outcome as the flat `info` of a step: same keys always, plain types."""
        return {
            "status": str(self.status),
            "message": self.message,
            "compiled": self.compiled,
            "correct": self.correct,
            **{name: Number(getattr(self, name)) for name in NUMBERS},
            "bound": self.bound,
            "time_source": str(self.time_source),
            "source": str(self.time_source),  # its name of old
        }


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of numbers that are not negative; 0 if one of them is 0."""
    if not all(values):
        return 0.0
    return math.exp(sum(map(math.log, values)) / len(values))


def timed_case(outcome: Outcome, case: str) -> TimedCase:
    """What an outcome says of the case that it was timed on."""
    names = [field.name for field in dataclasses.fields(TimedCase) if field.name != "case"]
    return TimedCase(case=case, **{name: getattr(outcome, name) for name in names})


PHASES: tuple[str, ...] = ("start", "learn", "compile", "test", "wait", "profile")
"""What an evaluation's time goes to, in order. Only a GPU's have `learn`, in which the judge finds
out about a task that is new to it, and `wait`, for others that are profiled."""
NUMBERS: tuple[str, ...] = (
    "runtime_us",
    "runtime_low_us",
    "runtime_high_us",
    "baseline_us",
    "speedup",
    "roofline",
    "gbps",
    "tflops",
    "max_error",
    "tolerance",
    "coverage",
    "registers",
    "spills",
    "shared_bytes",
    "evaluation_s",
)
"""The numeric fields of an outcome, in the order of the `metrics` observation."""


def to_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON: null for a number that does not exist."""
    fields = dataclasses.asdict(outcome)
    fields.update(status=str(outcome.status), time_source=str(outcome.time_source))
    fields["phases"] = [list(phase) for phase in outcome.phases]
    for part in (fields, *fields["cases"]):
        for name in NUMBERS:
            if name in part:
                part[name] = _json_number(float(part[name]))
    fields["cases"] = list(fields["cases"])
    return fields


def _json_number(value: float) -> float | str | None:
    # JSON has no infinities; `float` reads these words back.
    return value if math.isfinite(value) else None if math.isnan(value) else str(value)


def from_json(fields: Mapping[str, Any]) -> Outcome:
    """The outcome that `to_json` wrote.

    Args:
        fields: as JSON had them; a file may be damaged.

    Raises:
        ValueError: they are none of an outcome's.
    """
    try:
        return _outcome(dict(fields))
    except (ArithmeticError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it holds no outcome: {type(error).__name__}: {error}") from None


_PLAIN: Mapping[str, type] = {"message": str, "bound": str, "compiled": bool, "case": str}
"""Fields that are as JSON has them."""


def _outcome(given: dict[str, Any]) -> Outcome:
    given["cases"] = [dict(case) for case in given.get("cases", ())]
    for part in (given, *given["cases"]):
        for name in NUMBERS:
            if name in part:
                part[name] = math.nan if part[name] is None else float(part[name])
        for name, kind in _PLAIN.items():
            if name in part and type(part[name]) is not kind:
                raise TypeError(f"{name} is {part[name]!r:.80}")
    given["cases"] = tuple(TimedCase(**case) for case in given["cases"])
    given["status"] = Status(given["status"])
    if "source" in given:  # its name of old
        given["time_source"] = given.pop("source")
    given["time_source"] = TimeSource(given["time_source"])
    given["phases"] = tuple((str(phase), float(seconds)) for phase, seconds in given["phases"])
    return Outcome(**given)
