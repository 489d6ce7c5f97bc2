"""Kernel Tuner's strategies over a recorded table: `kernel-tuner:genetic_algorithm`, …

Kernel Tuner searches the shape's table in its simulation mode; the configurations that it asked for
are then taken as steps, in its order. Needs the package `kernel-tuner` (1.5), in an environment
that suits it: it is no extra, since it pins what others pin otherwise.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from triton_gym.errors import InvalidOptionError, RunError
from triton_gym.tables.kernel_tuner import cache_file, restrictions

from .protocol import Environment

STRATEGY = "genetic_algorithm"


class KernelTuner:
    """One of Kernel Tuner's strategies.

    Args:
        env: `TritonTune` on a recorded table, `action_mode="configuration"`.
        seed: of the strategy: Python's and NumPy's generators, which it draws from.
        model: name of the strategy, as Kernel Tuner spells it.

    Raises:
        InvalidOptionError: there is no table, or Kernel Tuner is not installed.
    """

    numeric = True

    def __init__(self, env: Environment, *, seed: int, model: str = STRATEGY) -> None:
        if getattr(env.unwrapped, "table", None) is None:
            raise InvalidOptionError(
                "kernel-tuner searches recorded tables: device='recorded' or 'recorded:PATH'."
            )
        try:
            interface: Any = importlib.import_module("kernel_tuner.interface")
        except ModuleNotFoundError:
            raise InvalidOptionError(
                "kernel-tuner needs Kernel Tuner: pip install kernel-tuner."
            ) from None
        known = sorted(interface.strategy_map)
        if model not in known:
            raise InvalidOptionError(
                f"Kernel Tuner has no strategy {model!r}. Allowed: {', '.join(known)}."
            )
        self._env, self._seed, self._strategy = env, seed, model

    def train(self, steps: int) -> None:
        """Search the shape's table, and take the configurations that were asked for as steps.

        Args:
            steps: the budget of unique configurations; an environment that counts them and tells
                its own `budget` goes before.
        """
        self._env.reset(seed=self._seed)
        tuning: Any = self._env.unwrapped
        budget = min(steps, getattr(self._env, "budget", steps))
        for choice in searched(tuning.table, tuning.case_index, self._strategy, budget, self._seed):
            if self._env.step(np.array(choice, np.int64))[3]:
                return


def searched(
    table: Any, case: int, strategy: str, budget: int, seed: int
) -> list[tuple[int, ...]]:  # fmt: skip
    """The different configurations that a strategy evaluates on a shape, in order.

    Args:
        table: the times.
        case: index of the shape.
        strategy: its name.
        budget: how many.
        seed: of the generators that it draws from.

    Raises:
        RunError: the strategy itself failed.
    """
    tune: Any = importlib.import_module("kernel_tuner").tune_kernel
    budget = min(budget, int(table.present[case].sum()))
    random.seed(seed)
    np.random.seed(seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "cache.json"
        held = cache_file(table, case)
        path.write_text(json.dumps(held), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                results, _ = tune(
                    held["kernel_name"], "", held["problem_size"], [], held["tune_params"],
                    restrictions=restrictions(table, case) or None, cache=str(path),
                    simulation_mode=True, strategy=strategy, lang="Python", quiet=True,
                    strategy_options={"max_fevals": budget}, objective="time",
                    objective_higher_is_better=False,
                )  # fmt: skip
            except Exception as error:  # some strategies fail on spaces with gaps
                raise RunError(
                    f"Kernel Tuner's {strategy} failed on {table.task}, {table.cases[case]}, seed "
                    f"{seed}: {type(error).__name__}: {error}"
                ) from error
    found: dict[tuple[int, ...], None] = {}
    for result in results:
        choice = tuple(values.index(result[name]) for name, values in table.knobs.items())
        found[choice] = None
    return list(found)[:budget]
