"""Agents that carry what was recorded of other shapes to a new one.

`average` tries configurations in the order of their mean on the train shapes; `nearest` in the
order that they have on the train shape that is most alike; `trees` by a model of boosted trees,
which it corrects by what it finds. `triton-gym bench` lets them learn on the split's train shapes;
`trees` also on other tasks' (`--split family`), by the features that all tasks share.
"""

from __future__ import annotations

import importlib
import math
from typing import Any, ClassVar

import numpy as np

from triton_gym.errors import InvalidOptionError
from triton_gym.tables.table import Table

from .launch_features import launch_features, launches
from .protocol import Environment
from .shape_features import features, relative_times, times_over_best
from .spaces import Choice, every_choice, scaled_choices

ENSEMBLE = 4
"""Models, each of a bootstrap sample: where they differ, little is known."""
NOISE = 0.02
"""Relative noise of times."""
OWN, FOREIGN = (0.5, NOISE), (1.2, 0.4)
"""Of the process that corrects the model, where it learned on shapes of the same task and where on
other tasks' alone: length over scaled knobs, and the least error of the model that is thought of
(log of time). Chosen on train shapes, each family by a model of the others."""
LIKE = 0.8
"""Length over what launches come to, each number in its standard deviations over the shape's
configurations, where the model learned on other tasks: it may be wrong about a kind of launch, to
which other knobs lead as well."""
SAME = 1e-9
"""Standard deviation of a number that all configurations share, but for rounding."""


class Transfer:
    """An agent with an order of the configurations, best first.

    Args:
        env: `TritonTune` on a recorded table.
        seed: of what is left to chance.
        learned: what `pretrain` returned.

    Raises:
        InvalidOptionError: there is no table, or nothing was learned.
    """

    numeric: ClassVar[bool] = True

    def __init__(self, env: Environment, *, seed: int, learned: Any = None) -> None:
        if learned is None:
            raise InvalidOptionError(
                f"{type(self).__name__} learns on other shapes first: use `triton-gym bench`, or "
                "give learned=pretrain(env of the train shapes, seed=...)."
            )
        self._env, self._learned = env, learned
        self._scores: Any = None
        self._left: Any = None
        self._choices: list[Choice] = []
        self._at = 0

    @classmethod
    def pretrain(cls, env: Environment, *, seed: int) -> Any:
        """What is learned of the train shapes; see `Pretrained`."""
        return recorded(env)

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The best that was not tried yet."""
        if self._scores is None:
            self._choices = every_choice(self._env)
            self._left = np.ones(len(self._choices), np.bool_)
            self._scores = self.scored(recorded(self._env), self._case)
        if not self._left.any():
            self._left[:] = True
        self._at = int(np.argmin(np.where(self._left, self.corrected(), np.inf)))
        self._left[self._at] = False
        return np.array(self._choices[self._at], np.int64)

    def scored(self, table: Table, case: int) -> Any:
        """(C,): expected log time of each configuration of the shape, by what was learned."""
        raise NotImplementedError

    def corrected(self) -> Any:
        """The same after what was found on the shape."""
        return self._scores

    @property
    def _case(self) -> int:
        tuning: Any = self._env.unwrapped
        return int(tuning.case_index)

    def _of(self, learned: Table, values: Any) -> Any:
        """Values of the learned table's configurations in the order of the shape's own; the worst
        for those that it does not hold."""
        worst = np.nanmax(values) + 1.0
        filled = np.where(np.isnan(values), worst, values)
        return np.array(
            [filled[learned.places[c]] if c in learned.places else worst for c in self._choices]
        )


class BestOnAverage(Transfer):
    """The mean of relative log times over the train shapes."""

    def scored(self, table: Table, case: int) -> Any:
        """See `Transfer`."""
        learned: Table = self._learned
        shapes = np.array([relative_times(learned, i) for i in range(len(learned.cases))])
        known = ~np.isnan(shapes)
        total = np.where(known, shapes, 0.0).sum(0)
        mean = np.where(known.any(0), total / np.maximum(known.sum(0), 1), math.nan)
        return self._of(learned, mean)


class NearestShape(Transfer):
    """The train shape whose sizes' logarithms and dtype are most alike."""

    def scored(self, table: Table, case: int) -> Any:
        """See `Transfer`."""
        learned: Table = self._learned
        here = _place(table, case)
        apart = [np.abs(_place(learned, i) - here).sum() for i in range(len(learned.cases))]
        return self._of(learned, relative_times(learned, int(np.argmin(apart))))


class BoostedTrees(Transfer):
    """Boosted trees on knobs, shape and what follows from both (extra `bench`).

    They learn the log of a time over its shape's best, cut where it no longer matters.
    On the shape itself their error is modelled by a Gaussian process over the knobs, so that what
    was found there counts for what is alike; where the trees learned on other tasks, half of it is
    over what launches come to. The next is the least expected time, less one standard deviation of
    the ensemble and the process together.
    """

    @classmethod
    def pretrain(cls, env: Environment, *, seed: int) -> Any:
        """The models."""
        try:
            ensemble: Any = importlib.import_module("sklearn.ensemble")
            threads: Any = importlib.import_module("threadpoolctl")
        except ModuleNotFoundError:
            raise InvalidOptionError(
                "trees needs scikit-learn: pip install 'triton-gym[bench]'."
            ) from None
        tables, rng = recorded_tables(env), np.random.default_rng(seed)
        read = launch_features if len(tables) > 1 else features
        shapes = [(table, case) for table in tables for case in range(len(table.cases))]
        parts = [read(table, case) for table, case in shapes]
        found = [times_over_best(table, case) for table, case in shapes]
        inputs, wanted = np.concatenate(parts), np.concatenate(found)
        known = np.flatnonzero(~np.isnan(wanted))
        models = []
        for number in range(ENSEMBLE):
            drawn = rng.choice(known, len(known))
            model = ensemble.HistGradientBoostingRegressor(
                max_iter=80, learning_rate=0.1, max_leaf_nodes=10, min_samples_leaf=5,
                early_stopping=False, random_state=1000 * seed + number,
            )  # fmt: skip
            with threads.threadpool_limits(1):  # they are small: threads would wait for each other
                models.append(model.fit(inputs[drawn], wanted[drawn]))
        return read, models

    def __init__(self, env: Environment, *, seed: int, learned: Any = None) -> None:
        super().__init__(env, seed=seed, learned=learned)
        self._spread: Any = None
        self._covariance: Any = None
        self._tried: list[int] = []
        self._costs: list[float] = []

    def scored(self, table: Table, case: int) -> Any:
        """See `Transfer`."""
        held = [table.places[choice] for choice in self._choices]
        read, models = self._learned
        inputs = read(table, case)[held]
        length, least = FOREIGN if read is launch_features else OWN
        threads: Any = importlib.import_module("threadpoolctl")
        with threads.threadpool_limits(1):
            told = np.array([model.predict(inputs) for model in models])
        like = alike(scaled_choices(self._env, self._choices) / length)
        if read is launch_features:
            launch = np.stack(list(launches(table, case).values()), axis=1)[held]
            spread = launch.std(0)
            varied = spread > SAME
            apart = ((launch - launch.mean(0)) / spread.clip(SAME))[:, varied]
            like = (like + alike(apart / LIKE / math.sqrt(max(varied.sum(), 1)))) / 2
        self._spread = np.maximum(told.std(0), least)
        self._covariance = self._spread[:, None] * self._spread[None, :] * like
        return told.mean(0)

    def learn(
        self, action: Any, observation: Any, reward: float, terminated: bool, truncated: bool,
        info: dict[str, Any],
    ) -> None:  # fmt: skip
        """Note the logarithm of the time; failures are not asked for again."""
        if info["correct"]:
            self._tried.append(self._at)
            self._costs.append(math.log(float(info["runtime_us"])))

    def corrected(self) -> Any:
        """See `Transfer`: the posterior's mean, less its standard deviation."""
        tried = self._tried
        if not tried:
            return self._scores
        error = np.array(self._costs) - self._scores[tried]
        error = error - error.mean()  # the level of the shape's times is of no account
        among = self._covariance[np.ix_(tried, tried)] + NOISE**2 * np.eye(len(tried))
        toward = self._covariance[:, tried]
        gain = np.linalg.solve(among, toward.T)
        mean = self._scores + error @ gain
        variance = np.maximum(self._spread**2 - (toward * gain.T).sum(1), 0.0)
        return mean - np.sqrt(variance)


def alike(points: Any) -> Any:
    """(C, C): exp(−d² / 2) of the distances d between points (C, D)."""
    apart = ((points[:, None, :] - points[None, :, :]) ** 2).sum(-1)
    return np.exp(-apart / 2)


def recorded(env: Environment) -> Table:
    """The table of an environment's shapes.

    Raises:
        InvalidOptionError: it has none, or those of several tasks.
    """
    table = getattr(env.unwrapped, "table", None)
    if not isinstance(table, Table):
        raise InvalidOptionError(
            "This agent learns from recorded tables: device='recorded' or 'recorded:PATH'."
        )
    if len(recorded_tables(env)) > 1:
        raise InvalidOptionError(
            "This agent compares configurations of one task; it cannot learn on several."
        )
    return table


def recorded_tables(env: Environment) -> list[Table]:
    """The tables of all tasks of an environment.

    Raises:
        InvalidOptionError: it has none.
    """
    found = list(getattr(env.unwrapped, "tables", ()))
    if not found:
        raise InvalidOptionError(
            "This agent learns from recorded tables: device='recorded' or 'recorded:PATH'."
        )
    return found


def _place(table: Table, case: int) -> Any:
    one = table.cases[case]
    width = {"float64": 3.0, "float32": 2.0}.get(one.dtype, 1.0)
    return np.array([*(math.log2(size) for size in one.sizes.values()), width])
