"""What a run was asked to do, and one step of it, as they are written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_gym.outcome import Outcome
from triton_gym.outcome import from_json as outcome_from_json
from triton_gym.outcome import to_json as outcome_to_json


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


def step_to_json(step: Step) -> dict[str, Any]:
    """A step as a line of `steps.jsonl` holds it."""
    fields = {f.name: getattr(step, f.name) for f in dataclasses.fields(step)}
    return {**fields, "outcome": outcome_to_json(step.outcome)}


def step_from_json(fields: Mapping[str, Any]) -> Step:
    """The step of a line."""
    return Step(**{**fields, "outcome": outcome_from_json(fields["outcome"])})
