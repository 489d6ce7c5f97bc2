"""Environments for a policy: made with the shared evaluator, and drawn for each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.registration import kernel_id
from triton_gym.reward import reward_named

from ..protocol import Environment
from .episodes import Place

HELD_OUT = (7, 7, 7)
"""What the seeds of held-out tasks come from: the same in every run."""


def maker(
    options: Mapping[str, Any],
    *,
    evaluator: EvaluatorLike | None,
    turns: int,
    reward: str,
    limits: Limits | None = None,
) -> Callable[[str], Environment]:
    """Makes environments of an id or a task's name, which may carry arguments after a `?`, as in
    `id?action_mode=edit&kind=rows`.

    Args:
        options: arguments of the id.
        evaluator: that the kernel environments share.
        turns: after which an episode is over.
        reward: see `RolloutSettings.reward`.
        limits: of an evaluation.
    """
    function = reward_named(reward)

    def make(name: str) -> Environment:
        name, _, query = name.partition("?")
        name = kernel_id(name)
        given = {**options, **_options(query)}
        if "TritonKernel-" in name:
            given = {"max_turns": turns, "reward": function, "limits": limits, **given}
            if evaluator is not None:
                given["evaluator"] = evaluator
        try:
            return gym.make(name, **given)
        except (gym.error.Error, ModuleNotFoundError) as error:
            raise InvalidOptionError(f"{error} `triton-gym envs` lists what there is.") from None
        except TypeError as error:
            raise InvalidOptionError(f"{name} does not take these options: {error}") from None

    return make


def _options(query: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in query.split("&") if part]
    wrong = [f"{key}{equals}{value}" for key, equals, value in pairs if not (key and value)]
    if wrong:
        raise InvalidOptionError(f"Arguments after ? are key=value, joined by &; got {wrong[0]!r}.")
    return {key: value for key, _, value in pairs}


def draw_places(envs: Sequence[str], count: int, seeds: Sequence[int]) -> list[Place]:
    """Places for `count` groups, the same for the same seeds.

    Seeds of resets are below 2³¹, as Gymnasium's spaces want them.
    """
    rng = np.random.default_rng(list(seeds))
    return [
        Place(envs[int(rng.integers(len(envs)))], int(rng.integers(1 << 31))) for _ in range(count)
    ]
