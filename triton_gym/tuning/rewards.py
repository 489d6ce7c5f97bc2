"""Rewards of a tuning environment, beside those of an outcome (`triton_gym.reward`).

| name | of a step | summed over an episode |
|---|---|---|
| `best` | floor / least time so far, 0 to 1 | rewards finding a good one early |
| `improvement` | by how much `best` rose | the final `best` |
| `regret` | log(optimum / time), `FAILED_REGRET` for a failure | − cumulative regret |

`regret` needs a table. floor / time is the fraction of the speed of light (Williams et al., CACM
52(4), 2009); simple and cumulative regret as in Lattimore and Szepesvári, Bandit Algorithms, 2020,
chapters 4 and 33.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

FAILED_REGRET = -math.log(10.0)
"""What a failure counts: as much as ten times the optimum."""


@dataclass(slots=True)
class Standing:
    """What a reward sees of an episode."""

    floor_us: float
    optimum_us: float
    """The least time of the case's table; NaN without one."""
    before_us: float
    """The least time before this step, infinite before the first correct one."""
    best_us: float
    """The least time so far."""
    time_us: float
    """This step's, infinite for a failure."""


def best(standing: Standing) -> float:
    """Fraction of the speed of light of the best so far."""
    return min(1.0, standing.floor_us / standing.best_us)


def improvement(standing: Standing) -> float:
    """By how much that fraction rose."""
    return best(standing) - min(1.0, standing.floor_us / standing.before_us)


def regret(standing: Standing) -> float:
    """log(optimum / time), 0 at best."""
    if not math.isfinite(standing.time_us):
        return FAILED_REGRET
    return max(FAILED_REGRET, math.log(standing.optimum_us / standing.time_us))


TUNING_REWARDS: Mapping[str, Callable[[Standing], float]] = MappingProxyType(
    {"best": best, "improvement": improvement, "regret": regret}
)
