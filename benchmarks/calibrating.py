"""Weights of the time model's intervals: a quantile regression of its errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from following import Row
from scipy.optimize import linprog

from triton_gym.device import Gpu
from triton_gym.evaluation.simulate.time_model import confidence
from triton_gym.evaluation.simulate.time_model.constants import Constants
from triton_gym.evaluation.simulate.time_model.model import Estimate

NAMES = tuple(confidence.WEIGHTS)
"""What errors are laid to."""
FEW = 3.0
"""Sum of the shares of all answers below which nothing is known of a weight: it stays."""


def shares(found: Estimate) -> list[float]:
    """How much of a call's time rests on each of `NAMES`."""
    return [found.rests_on.get(name, 0.0) for name in NAMES]


def calibrate(
    rows: Sequence[Row], gpu: Gpu, constants: Constants, quantile: float
) -> Mapping[str, float]:
    """The weights with which so many measured times lie within the half-widths.

    Args:
        rows: measured answers of families that may be fitted to.
        gpu: that they were measured on.
        constants: of the model.
        quantile: of the errors.

    Returns:
        Half-widths, as logarithms, of what rests on each of `NAMES` alone.
    """
    estimates = [row.estimate(gpu, constants) for row in rows]
    errors = np.array(
        [abs(math.log(e.us / r.job.measured_us)) for e, r in zip(estimates, rows, strict=True)]
    )
    table = np.array([shares(e) for e in estimates])
    known = confidence.WEIGHTS
    fixed = np.array([known[n] if table[:, i].sum() < FEW else 0.0 for i, n in enumerate(NAMES)])
    free = [i for i in range(len(NAMES)) if not fixed[i]]
    left = errors - table @ fixed
    # Errors above the line cost the quantile, those below the rest: a linear programme.
    n, k = len(rows), len(free)
    cost = np.concatenate([np.zeros(k), np.full(n, quantile), np.full(n, 1 - quantile)])
    equal = np.hstack([table[:, free], np.eye(n), -np.eye(n)])
    solved = linprog(cost, A_eq=equal, b_eq=left, bounds=(0, None), method="highs")
    if not solved.success:
        raise SystemExit(f"No weights: {solved.message}")
    weights = dict(zip(NAMES, fixed, strict=True))
    weights |= {NAMES[i]: float(w) for i, w in zip(free, solved.x[:k], strict=True)}
    return weights
