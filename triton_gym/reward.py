"""Named rewards: functions of an outcome, each a published design with its source.

Anything that is not `correct` earns no more than the design gives for being wrong; `cheating` and
`rejected` never earn more than a wrong answer. Speedups are capped at the roofline, since a
result beyond it is an error of the measurement and not a better kernel.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.outcome import Outcome

Reward = Callable[[Outcome], float]
"""A reward: from an outcome to a finite number."""


def capped_speedup(outcome: Outcome) -> float:
    """Speedup over the baseline, at most what the speed of light allows; 0 if not correct.

    Of several timed cases it is the geometric mean.
    """
    if not outcome.correct:
        return 0.0
    found = outcome.over_cases(lambda case: case.speedup / max(1.0, case.roofline))
    return found if math.isfinite(found) else 0.0


def kevin(outcome: Outcome) -> float:
    """`0.3 · correct + correct · speedup` (Kevin, arXiv 2507.11948, §3)."""
    return 0.3 + capped_speedup(outcome) if outcome.correct else 0.0


def autotriton(outcome: Outcome) -> float:
    """1 if the answer is Triton and correct, else 0 (AutoTriton, arXiv 2507.05687, §3.3)."""
    return float(outcome.correct)


def dr_kernel(outcome: Outcome) -> float:
    """`C + C · min(speedup, 3) + C · coverage` (Dr. Kernel, arXiv 2602.05885)."""
    if not outcome.correct:
        return 0.0
    coverage = outcome.coverage if math.isfinite(outcome.coverage) else 0.0
    return 1.0 + min(capped_speedup(outcome), 3.0) + coverage


def cuda_agent(outcome: Outcome) -> float:
    """Milestones −1, 1, 2, 3 (CUDA Agent, arXiv 2602.24286).

    −1 if wrong, 1 if correct, 2 if 5% faster than the baseline, 3 if also at 0.8 of the speed of
    light. The paper's third milestone is being faster than `torch.compile`; the roofline says
    the same without a second baseline.
    """
    if not outcome.correct:
        return -1.0
    if capped_speedup(outcome) < 1.05:
        return 1.0
    return 3.0 if roofline(outcome) >= 0.8 else 2.0


def roofline(outcome: Outcome) -> float:
    """Fraction of the speed of light reached, 0 to 1 (Williams et al., CACM 52(4), 2009)."""
    if not outcome.correct:
        return 0.0
    found = outcome.over_cases(lambda case: min(case.roofline, 1.0))
    return found if math.isfinite(found) else 0.0


REWARDS: Mapping[str, Reward] = MappingProxyType(
    {
        "kevin": kevin,
        "autotriton": autotriton,
        "dr_kernel": dr_kernel,
        "cuda_agent": cuda_agent,
        "roofline": roofline,
    }
)


def finite(reward: float, outcome: Outcome) -> float:
    """The reward as a float.

    Raises:
        InvalidOptionError: a reward function returned something that nothing can learn from.
    """
    value = float(reward)
    if not math.isfinite(value):
        raise InvalidOptionError(f"The reward function returned {value} for {outcome}.")
    return value


def reward_named(reward: str | Reward) -> Reward:
    """The reward that a user's `reward=` names.

    Args:
        reward: a name in `REWARDS`, a function of an `Outcome`, or where to find one:
            `my_module:my_reward`.

    Raises:
        InvalidOptionError: it is none of these.
    """
    if callable(reward):
        return reward
    if not isinstance(reward, str):
        raise InvalidOptionError(
            f"reward must be a name or a callable over an Outcome; got {type(reward).__name__}."
        )
    if reward in REWARDS:
        return REWARDS[reward]
    module, colon, attribute = reward.partition(":")
    if not colon:
        raise unknown("reward", reward, [*REWARDS, "my_module:my_reward"])
    try:
        found: Reward = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidOptionError(f"reward={reward!r}: {error}.") from None
    if not callable(found):
        raise InvalidOptionError(f"reward={reward!r} is no function of an Outcome.")
    return found
