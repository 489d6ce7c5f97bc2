"""Optuna's multivariate TPE over the knobs (extra `bench`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from triton_gym.errors import InvalidOptionError

from .candidates import Choices, candidates_of
from .protocol import Environment


class TPE:
    """Tree-structured Parzen estimator, all knobs together (Falkner, Klein and Hutter, ICML 2018).

    Args:
        env: `TritonTune`.
        seed: of all choices.

    Raises:
        InvalidOptionError: the environment has no knobs, or Optuna is not installed.
    """

    def __init__(self, env: Environment, *, seed: int) -> None:
        if not isinstance(candidates_of(env), Choices):
            raise InvalidOptionError("tpe searches TritonTune environments alone.")
        try:
            import optuna
        except ModuleNotFoundError:
            raise InvalidOptionError("tpe needs Optuna: pip install 'triton-gym[bench]'.") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space: Any = env.action_space
        self._sizes = [int(n) for n in space.nvec]
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
        self._study = optuna.create_study(sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._trial: Any = None

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """What the estimator asks for."""
        self._trial = self._study.ask()
        chosen = [self._trial.suggest_int(str(i), 0, n - 1) for i, n in enumerate(self._sizes)]
        return np.array(chosen, np.int64)

    def learn(
        self, action: Any, observation: Any, reward: float, terminated: bool, truncated: bool,
        info: dict[str, Any],
    ) -> None:  # fmt: skip
        """Tell the logarithm of the time, or that it failed."""
        if info.get("correct"):
            self._study.tell(self._trial, math.log(float(info["runtime_us"])))
        else:
            self._study.tell(self._trial, state=self._failed)
