"""The agents, by name: `load("evolution")`, or `load("my_module:MyAgent")` for one of your own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from triton_gym.errors import InvalidOptionError, unknown

from .protocol import Agent, Learner, Maker, Recaller, Saver, Trainer, play

__all__ = [
    "AGENTS",
    "Agent",
    "Learner",
    "Maker",
    "Recaller",
    "Saver",
    "Trainer",
    "load",
    "play",
]

AGENTS: Mapping[str, str] = MappingProxyType(
    {
        "random": "triton_gym.agents.random_search:RandomSearch",
        "evolution": "triton_gym.agents.evolution:Evolution",
        "ppo": "triton_gym.agents.sb3:PPOAgent",
        "a2c": "triton_gym.agents.sb3:A2CAgent",
        "dqn": "triton_gym.agents.sb3:DQNAgent",
    }
)
"""The bundled agents, as `module:Class`; a module is imported when its agent is asked for."""


def load(name: str) -> Maker:
    """The class of an agent.

    Args:
        name: a key of `AGENTS`, or `module:Class` of your own, importable from here.

    Raises:
        InvalidOptionError: there is no such agent, or it has no `act`.
    """
    module, _, attribute = AGENTS.get(name, name).partition(":")
    if not attribute:
        raise unknown("agent", name, [*AGENTS, "my_module:MyAgent"])
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
            raise  # the module is there; something that it imports is not
        raise InvalidOptionError(
            f"agent={name!r}: there is no module {module!r} here or on PYTHONPATH."
        ) from None
    except AttributeError:
        raise InvalidOptionError(
            f"agent={name!r}: the module {module!r} has no {attribute!r}."
        ) from None
    if inspect.isclass(found) and not hasattr(found, "act") and not hasattr(found, "train"):
        raise InvalidOptionError(
            f"agent={name!r} has no method `act(self, observation, info)`; see "
            "examples/custom_agent.py for the smallest agent."
        )
    return found  # type: ignore[no-any-return]
