"""The agents, by name: `load("evolution")`, or `load("my_module:MyAgent")` for one of your own.

Those that are a language model take its name after a colon: `load("grpo:runs/grpo")`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from triton_gym.errors import InvalidOptionError, unknown

from .protocol import (
    Agent,
    Finite,
    Learner,
    Maker,
    Planner,
    Pretrained,
    Recaller,
    Saver,
    Trainer,
    play,
)

__all__ = [
    "AGENTS",
    "Agent",
    "Finite",
    "Learner",
    "Maker",
    "Planner",
    "Pretrained",
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
        "steady-state": "triton_gym.agents.steady_state:SteadyState",
        "grid": "triton_gym.agents.grid:GridSearch",
        "annealing": "triton_gym.agents.annealing:SimulatedAnnealing",
        "tpe": "triton_gym.agents.tpe:TPE",
        "gp": "triton_gym.agents.gaussian_process:GaussianProcess",
        "average": "triton_gym.agents.transfer:BestOnAverage",
        "nearest": "triton_gym.agents.transfer:NearestShape",
        "trees": "triton_gym.agents.transfer:BoostedTrees",
        "amortised": "triton_gym.agents.amortised:AmortisedPolicy",
        "kernel-tuner": "triton_gym.agents.kernel_tuner:KernelTuner",
        "ppo": "triton_gym.agents.sb3:PPOAgent",
        "a2c": "triton_gym.agents.sb3:A2CAgent",
        "dqn": "triton_gym.agents.sb3:DQNAgent",
        "maskable-ppo": "triton_gym.agents.sb3:MaskablePPOAgent",
        "recurrent-ppo": "triton_gym.agents.sb3:RecurrentPPOAgent",
        "pretrained-ppo": "triton_gym.agents.sb3_pretrained:PretrainedPPO",
        "pretrained-a2c": "triton_gym.agents.sb3_pretrained:PretrainedA2C",
        "pretrained-dqn": "triton_gym.agents.sb3_pretrained:PretrainedDQN",
        "pretrained-maskable-ppo": "triton_gym.agents.sb3_pretrained:PretrainedMaskablePPO",
        "best-of-n": "triton_gym.agents.chat.agents:BestOfN",
        "chat": "triton_gym.agents.chat.agents:Chat",
        "grpo": "triton_gym.agents.chat.agents:Chat",
    }
)
"""The bundled agents, as `module:Class`; a module is imported when its agent is asked for."""
MODELS = ("best-of-n", "chat", "grpo", "kernel-tuner")
"""Of them, those that take the name of a model, or of a strategy, after a colon."""


def load(name: str) -> Maker:
    """The class of an agent.

    Args:
        name: a key of `AGENTS`, or `module:Class` of your own, importable from here. After a key
            in `MODELS`, a colon and a model's name, e.g. `chat:http://localhost:8000/v1#qwen`,
            `best-of-n:smollm2` or `grpo:runs/grpo` for the last checkpoint of a run; or a
            strategy's, `kernel-tuner:genetic_algorithm`.

    Raises:
        InvalidOptionError: there is no such agent, or it has no `act`.
    """
    kind, _, model = name.partition(":")
    if model and kind in MODELS:
        made: Any = functools.partial(load(kind), model=model)  # type: ignore[call-arg]
        return made  # type: ignore[no-any-return]
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
    _check_maker(name, found)
    return found  # type: ignore[no-any-return]


def _check_maker(name: str, found: Any) -> None:
    """Refuse what cannot be called as an agent's class is; builtins do not always say."""
    taken = callable(found)
    with contextlib.suppress(ValueError):
        try:
            inspect.signature(found).bind(None, seed=0)
        except TypeError:
            taken = False
    if not taken:
        raise InvalidOptionError(
            f"agent={name!r} is no agent: it cannot be called with an environment and `seed=`; "
            "see examples/custom_agent.py for the smallest agent."
        )
