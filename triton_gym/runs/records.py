"""What a run was asked to do, and one step of it, as they are written down."""

from __future__ import annotations

import dataclasses
import sys
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


def step_from_json(fields: Any) -> Step:
    """The step of a line.

    Args:
        fields: as JSON had them; a file may be damaged.

    Raises:
        ValueError: they are none of a step's; the message says what is wrong.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"it is {fields!r:.80}, not a step")
    names = [f.name for f in dataclasses.fields(Step)]
    if different := set(fields) ^ set(names):
        raise ValueError(f"it lacks {name}" if (name := min(different)) in names else
                         f"{name!r:.80} is no part of a step")  # fmt: skip
    for name, kinds in _KINDS.items():
        if type(fields[name]) not in kinds or not _finite(fields[name]):
            raise ValueError(f"{name} is {fields[name]!r:.80}")
    if not _is_action(fields["action"]):
        raise ValueError(f"action is {fields['action']!r:.80}")
    return Step(**{**fields, "outcome": outcome_from_json(fields["outcome"])})


_KINDS: Mapping[str, tuple[type, ...]] = {
    "step": (int,), "reward": (int, float), "terminated": (bool,), "truncated": (bool,),
    "seconds": (int, float), "info": (dict,), "outcome": (dict,),
}  # fmt: skip


def _is_action(value: Any) -> bool:
    """Whether it is a text, a number, a flat list of numbers, or nothing."""
    numbers = value if isinstance(value, list) else [value]
    return isinstance(value, str) or all(
        one is None or (isinstance(one, (int, float)) and _finite(one)) for one in numbers
    )


def _finite(value: Any) -> bool:
    """Whether a number is one that a float64 holds; anything else is let through."""
    if not isinstance(value, (int, float)):
        return True
    return abs(value) <= sys.float_info.max
