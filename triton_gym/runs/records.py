"""What a run was asked to do, and one step of it, as they are written down."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_gym.outcome import NUMBERS, Outcome, Source, Status


@dataclass(frozen=True, slots=True)
class Config:
    """What a run was asked to do: the same on the simulated device does the same."""

    agent: str
    """Name of a bundled agent, or `module:Class`."""
    env: str
    """Id of the environment."""
    steps: int
    """How many steps to take. A resumed run may be given more."""
    seed: int = 0
    """Of the agent and of the environment's first reset."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `gym.make`: `device`, `reward`, `action_mode`, …"""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of `steps.jsonl`."""

    step: int
    """From 1; 0 is the evaluation of the kernel that the run started from."""
    action: Any
    """As JSON: a text, a number or a list of numbers; null for step 0."""
    reward: float
    terminated: bool
    truncated: bool
    seconds: float
    """Wall time of the step."""
    info: Mapping[str, Any]
    """What `info` held beside the outcome: the turn, the knobs."""
    outcome: Outcome


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON: null for a number that does not exist."""
    fields = dataclasses.asdict(outcome)
    fields.update(status=str(outcome.status), source=str(outcome.source))
    fields["phases"] = [list(phase) for phase in outcome.phases]
    for name in NUMBERS:
        value = float(fields[name])
        # JSON has no infinities; `float` reads these words back.
        fields[name] = value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return fields


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    given = dict(fields)
    for name in NUMBERS:
        given[name] = math.nan if given[name] is None else float(given[name])
    given["status"] = Status(given["status"])
    given["source"] = Source(given["source"])
    given["phases"] = tuple((str(phase), float(seconds)) for phase, seconds in given["phases"])
    return Outcome(**given)


def step_to_json(step: Step) -> dict[str, Any]:
    """A step as a line of `steps.jsonl` holds it."""
    fields = {f.name: getattr(step, f.name) for f in dataclasses.fields(step)}
    return {**fields, "outcome": outcome_fields(step.outcome)}


def step_from_json(fields: Mapping[str, Any]) -> Step:
    """The step of a line."""
    return Step(**{**fields, "outcome": _outcome(fields["outcome"])})
