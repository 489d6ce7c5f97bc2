"""Environments for a policy: made with the shared evaluator, and drawn for each step."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.service import Evaluator
from triton_gym.reward import REWARDS, Reward

from ..protocol import Environment
from .episodes import Place

_A_JUDGE = 4
"""Evaluations that one judge of the simulated device has under way."""
HELD_OUT = (7, 7, 7)
"""What the seeds of held-out tasks come from: the same in every run."""


def maker(
    options: Mapping[str, Any],
    *,
    evaluator: Evaluator | Sequence[Evaluator] | None,
    turns: int,
    reward: str,
) -> Callable[[str], Environment]:
    """Makes environments of an id.

    Args:
        options: arguments of the id.
        evaluator: that the kernel environments share, or several that take turns.
        turns: after which an episode is over.
        reward: see `RolloutSettings.reward`.
    """
    function = reward_function(reward)
    shared = [evaluator] if isinstance(evaluator, Evaluator) else list(evaluator or ())
    turn = itertools.cycle(shared)

    def make(name: str) -> Environment:
        given = dict(options)
        if "TritonKernel-" in name:
            given = {"max_turns": turns, "reward": function, **given}
            if shared:
                given["evaluator"] = next(turn)
        try:
            return gym.make(name, **given)
        except (gym.error.Error, ModuleNotFoundError) as error:
            raise InvalidOptionError(f"{error} `triton-gym envs` lists what there is.") from None
        except TypeError as error:
            raise InvalidOptionError(f"{name} does not take these options: {error}") from None

    return make


def evaluators(device: str, workers: int) -> list[Evaluator]:
    """Evaluators for `workers` evaluations at the same time.

    A judge of the simulated device keeps few workers busy, so there are several; a GPU has one.
    """
    first = Evaluator(device, workers=1)
    if not first.device.simulated:
        return [Evaluator(device, workers=workers)]
    judges = -(-workers // _A_JUDGE)
    shares = [workers // judges + (i < workers % judges) for i in range(judges)]
    return [Evaluator(device, workers=share) for share in shares]


def reward_function(name: str) -> str | Reward:
    """A named reward, or a function of one's own given as `module:function`.

    Raises:
        InvalidOptionError: there is no such function.
    """
    module, colon, attribute = name.partition(":")
    if not colon or name in REWARDS:
        return name
    try:
        found: Reward = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InvalidOptionError(f"reward={name!r}: {error}.") from None
    return found


def draw_places(envs: Sequence[str], count: int, seeds: Sequence[int]) -> list[Place]:
    """Places for `count` groups, the same for the same seeds.

    Seeds of resets are below 2³¹, as Gymnasium's spaces want them.
    """
    rng = np.random.default_rng(list(seeds))
    return [
        Place(envs[int(rng.integers(len(envs)))], int(rng.integers(1 << 31))) for _ in range(count)
    ]
