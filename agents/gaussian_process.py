"""Bayesian optimisation with a Gaussian process over the knobs (extra `bench`)."""

from __future__ import annotations

import importlib
import math
import warnings
from typing import Any

import numpy as np

from triton_gym.errors import InvalidOptionError

from .candidates import Candidate, Choices, candidates_of
from .protocol import Environment
from .spaces import every_choice, scaled_choices

FIRST = 5
"""Random configurations before the first model."""
PENALTY = 0.7
"""log time that a failure is worse than the slowest that was seen: twice as slow."""


class GaussianProcess:
    """Expected improvement of log time under a Matérn-5/2 process (Jones, Schonlau and Welch,
    Journal of Global Optimization 13, 1998), maximised over all configurations not tried yet.

    Args:
        env: `TritonTune`.
        seed: of the first configurations.

    Raises:
        InvalidOptionError: the environment has no knobs, or scikit-learn is not installed.
    """

    def __init__(self, env: Environment, *, seed: int) -> None:
        if not isinstance(candidates_of(env), Choices):
            raise InvalidOptionError("gp searches TritonTune environments alone.")
        try:
            library: Any = importlib.import_module("sklearn.gaussian_process")
        except ModuleNotFoundError:
            raise InvalidOptionError(
                "gp needs scikit-learn: pip install 'triton-gym[bench]'."
            ) from None
        self._choices = every_choice(env)
        self._points = scaled_choices(env, self._choices)
        width = self._points.shape[1]
        kernels = library.kernels
        kernel = kernels.ConstantKernel() * kernels.Matern(
            np.full(width, 0.5), [(0.05, 20.0)] * width, nu=2.5
        ) + kernels.WhiteKernel(1e-3, (1e-5, 1e-1))
        self._model: Any = library.GaussianProcessRegressor(
            kernel, normalize_y=True, random_state=seed
        )
        self._rng = np.random.default_rng(seed)
        self._left = np.ones(len(self._choices), np.bool_)
        self._tried: list[int] = []
        self._costs: list[float] = []
        self._at = 0

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """What promises most."""
        if not self._left.any():
            self._left[:] = True
        left = np.flatnonzero(self._left)
        known = [cost for cost in self._costs if math.isfinite(cost)]
        if len(self._tried) < FIRST or len(known) < 2:
            self._at = int(self._rng.choice(left))
        else:
            self._at = int(left[np.argmax(self._improvement(left, known))])
        return np.array(self._choices[self._at], np.int64)

    def learn(
        self, action: Candidate, observation: Any, reward: float, terminated: bool,
        truncated: bool, info: dict[str, Any],
    ) -> None:  # fmt: skip
        """Note the logarithm of the time; a failure's is infinite."""
        self._left[self._at] = False
        self._tried.append(self._at)
        self._costs.append(math.log(float(info["runtime_us"])) if info["correct"] else math.inf)

    def _improvement(self, left: Any, known: list[float]) -> Any:
        from scipy.stats import norm

        unconverged = importlib.import_module("sklearn.exceptions").ConvergenceWarning
        worst, best = max(known) + PENALTY, min(known)
        costs = [cost if math.isfinite(cost) else worst for cost in self._costs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", unconverged)  # a length at its bound is fine
            self._model.fit(self._points[self._tried], costs)
        mean, spread = self._model.predict(self._points[left], return_std=True)
        spread = np.maximum(spread, 1e-9)
        z = (best - mean) / spread
        return spread * (z * norm.cdf(z) + norm.pdf(z))
