"""Many tuning environments at once: on a table in numpy alone, on a device with shared workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from triton_gym.episode import TURNS, number_of_envs, turns_of
from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.outcome import NUMBERS, Outcome
from triton_gym.reward import Reward, finite, reward_named
from triton_gym.tables.table import STATUSES
from triton_gym.tuning.choosing import ACTION_MODES, Choice, action_space
from triton_gym.tuning.env import TuneEnv
from triton_gym.tuning.layout import LIMIT, WORST, Layout, Values
from triton_gym.tuning.rewards import FAILED_REGRET, TUNING_REWARDS
from triton_gym.tuning.world import EvaluatedWorld, TableWorld

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_MODES = tuple(mode for mode in ACTION_MODES if mode != "step")


class TableVectorEnv(gym.vector.VectorEnv[Values, Integers, Values]):
    """`num_envs` episodes on one table of recorded times, a step of all of them in numpy.

    As `TuneEnv` on a table, except that an `info` holds arrays and no messages. An environment
    whose episode is over is reset by the next step, which ignores its action
    (`AutoresetMode.NEXT_STEP`).

    Args:
        num_envs: how many.
        world: the table.
        layout: of an observation.
        action_mode: `configuration` or `index`.
        reward: as of `TuneEnv`.
        max_turns: steps of an episode.

    Raises:
        InvalidOptionError: an argument is wrong.
    """

    def __init__(
        self, num_envs: int, world: TableWorld, layout: Layout, *,
        action_mode: str = "configuration", reward: str | Reward = "kevin",
        max_turns: int | None = None,
    ) -> None:  # fmt: skip
        num_envs, max_turns = number_of_envs(num_envs), turns_of(max_turns) or TURNS
        if action_mode not in _MODES:
            raise unknown("action_mode of a vector environment", action_mode, _MODES)
        table, self._layout = world.table, layout
        self.num_envs, self._max_turns, self._world = num_envs, max_turns, world
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = None
        most = max(world.count(case) for case in range(len(world.cases)))
        self.single_action_space = action_space(action_mode, world.sizes, most)
        self.single_observation_space = gym.spaces.Box(-LIMIT, LIMIT, (layout.length,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._by_number = action_mode == "index"
        self._sizes = np.array(world.sizes)
        self._unsigned = self._sizes.astype(np.uint64)
        self._weights = np.cumprod([1, *world.sizes[::-1]])[-2::-1].astype(np.int64)
        self._space = math.prod(world.sizes)
        lookup = np.full((len(world.cases), self._space), -1, np.int64)
        tried, places = np.nonzero(table.present)
        lookup[tried, (table.choices @ self._weights)[places]] = places
        self._lookup = lookup.reshape(-1)  # -1 where a case lacks a configuration
        counts = [world.count(case) for case in range(len(world.cases))]
        self._counts = np.array(counts)
        self._listed = np.zeros((len(counts), most), np.int64)
        for case, count in enumerate(counts):
            self._listed[case, :count] = np.flatnonzero(table.present[case])
        self._width = len(table.choices)
        self._times = table.runtime_us
        self._contexts = np.stack([world.context(case) for case in range(len(counts))])
        self._floors = np.array([world.floor_us(case) for case in range(len(counts))])
        with np.errstate(divide="ignore"):
            scores = np.log(self._floors[:, None] / self._times)
            regrets = np.maximum(FAILED_REGRET, np.log(table.best_us[:, None] / self._times))
        self._scores = np.where(table.correct, scores, WORST).astype(np.float32)
        self._scaled = np.zeros((len(table.choices), len(layout.knobs)), np.float32)
        self._scaled[:, : len(world.sizes)] = table.choices / np.maximum(self._sizes - 1, 1)
        self._entries = np.concatenate(
            [
                np.broadcast_to(self._scaled, (*table.status.shape, len(layout.knobs))),
                self._scores[..., None],
                ~table.correct[..., None],
            ],
            axis=-1,
        ).astype(np.float32)
        self._entries = self._entries.reshape(-1, layout.entry)
        self._seconds = np.nan_to_num(
            sum(table.measures[n] for n in ("compile_s", "verification_s", "benchmark_s"))
        )
        self._numbers = np.stack([self._number(name) for name in NUMBERS], axis=-1)
        self._numbers = self._numbers.reshape(-1, len(NUMBERS))
        self._statuses = np.array([str(status) for status in STATUSES])[table.status]
        self._correct = np.isfinite(self._times)
        standing = isinstance(reward, str) and reward in TUNING_REWARDS
        self._improves = reward == "improvement"
        self._rewards = regrets if standing else self._of_outcomes(reward_named(reward))
        self._remembers = standing and reward != "regret"  # the reward is of all turns so far
        self._every = np.arange(num_envs)
        self._first = self._every * self._width  # of its cells in `_seen`, flat
        self._over = np.zeros(num_envs, np.bool_)
        self._case = np.zeros(num_envs, np.int64)
        self._row = np.zeros(num_envs, np.int64)  # where the case's rows begin in flat tables
        self._place = np.zeros(num_envs, np.int64)
        self._turn = np.zeros(num_envs, np.int64)
        self._best = np.full(num_envs, np.inf)
        self._evaluations = np.zeros(num_envs, np.int64)
        self._spent = np.zeros(num_envs)
        self._seen = np.zeros((num_envs, len(table.choices)), np.bool_)
        self._observations = np.zeros((num_envs, layout.length), np.float32)
        past, entry = layout.past, layout.entry
        self._knobs, self._numbered = slice(layout.context, layout.turn), slice(layout.turn, past)
        self._older, self._newer = slice(past, -entry), slice(past + entry, None)
        self._newest = slice(-entry, None)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Values, dict[str, Any]]:
        """Begin all episodes; one seed decides all of them."""
        super().reset(seed=seed)  # type: ignore[arg-type]
        if options:
            raise unknown("reset option", sorted(options)[0], [])
        self._over[:] = False
        self._begin(self._every)
        return self._observations.copy(), {}

    def step(self, actions: Any) -> tuple[Values, Any, Any, Any, dict[str, Any]]:
        """Evaluate a choice in each environment."""
        place = self._places(np.asarray(actions))
        reset, before = self._over, self._best
        ended = bool(reset.any())
        if ended:
            place = np.where(reset, self._place, place)
        row, cell = self._row + place, self._first + place
        time, repeated = self._times.take(row), self._seen.take(cell)
        new = ~repeated
        self._seen.put(cell, True)
        self._evaluations += new
        self._spent += new * self._seconds.take(row)
        self._turn += 1
        self._place, self._best = place, np.minimum(before, time)
        self._remember(row)
        over = self._turn >= self._max_turns
        if ended:  # what came of those that are reset is undone, but for their first observation
            over &= ~reset
            self._evaluations -= new & reset
            self._spent -= np.where(new & reset, self._seconds.take(row), 0.0)
            self._turn -= reset
            self._best = np.where(reset, before, self._best)
        rewards, info = self._rewarded(row, before), self._info(row, place, repeated)
        if ended:
            rewards[reset] = 0.0
            self._begin(np.flatnonzero(reset))
        self._over = over
        never = np.zeros(self.num_envs, np.bool_)
        return self._observations.copy(), rewards, never, over.copy(), info

    def action_masks(self) -> Flags:
        """(num_envs, N): which numbers name a configuration, under `action_mode="index"`."""
        space: Any = self.single_action_space
        return np.arange(int(space.n)) < self._counts[self._case][:, None]

    # -- its parts ----------------------------------------------------------------------------

    def _begin(self, which: Integers) -> None:
        layout, rng = self._layout, self.np_random
        self._case[which] = rng.integers(len(self._counts), size=len(which))
        self._row[which] = self._case[which] * self._width
        number = (rng.random(len(which)) * self._counts[self._case[which]]).astype(np.int64)
        self._place[which] = self._listed[self._case[which], number]
        self._turn[which], self._best[which], self._spent[which] = 0, np.inf, 0.0
        self._seen[which], self._evaluations[which] = False, 0
        fresh = np.zeros((len(which), layout.length), np.float32)
        fresh[:, : layout.context] = self._contexts[self._case[which]]
        fresh[:, layout.context : layout.turn] = self._scaled[self._place[which]]
        fresh[:, layout.turn + 1 : layout.turn + 3] = WORST
        self._observations[which] = fresh

    def _places(self, actions: npt.NDArray[Any]) -> Integers:
        shape = (self.num_envs,) if self._by_number else (self.num_envs, len(self._sizes))
        if actions.dtype.kind not in "iu" or actions.shape != shape:
            raise InvalidOptionError(
                f"actions must be whole numbers of shape {shape}; got {actions.dtype} of shape "
                f"{actions.shape}."
            )
        actions = actions.astype(np.int64, copy=False)
        if self._by_number:
            bad = (actions < 0) | (actions >= self._counts[self._case])
            if not bad.any():
                return np.asarray(self._listed[self._case, actions])
            places = self._listed[self._case, np.where(bad, 0, actions)]
        else:
            outside = actions.astype(np.uint64) >= self._unsigned  # what is below 0 is huge then
            codes = np.where(outside, 0, actions) if outside.any() else actions
            codes = self._case * self._space + codes @ self._weights
            places = self._lookup.take(codes.astype(np.int64, copy=False))
            bad = places < 0
            if outside.any():
                bad |= outside.any(1)
            elif not bad.any():
                return places
        bad &= ~self._over
        if bad.any():
            which = int(np.flatnonzero(bad)[0])
            if self._by_number:
                count = self._counts[self._case[which]]
                raise InvalidOptionError(
                    f"action {actions[which]} of environment {which} is not from 0 to {count - 1}."
                )
            self._world.table.place(int(self._case[which]), actions[which])
        return places

    def _remember(self, row: Integers) -> None:
        seen = self._observations
        found = self._entries.take(row, axis=0)
        scores = found[:, -2]
        seen[:, self._knobs] = found[:, :-2]
        turn = seen[:, self._numbered]  # turn, best, last
        np.divide(self._turn, self._max_turns, out=turn[:, 0], casting="same_kind")
        np.maximum(turn[:, 1], scores, out=turn[:, 1])
        turn[:, 2] = scores
        if self._layout.history:
            seen[:, self._older] = seen[:, self._newer]
            seen[:, self._newest] = found

    def _rewarded(self, row: Integers, before: Any) -> Any:
        if not self._remembers:
            return self._rewards.take(row)
        floor = self._floors[self._case]
        reached = np.minimum(1.0, floor / self._best)
        return reached - np.minimum(1.0, floor / before) if self._improves else reached

    def _of_outcomes(self, reward: Reward) -> npt.NDArray[np.float64]:
        """(S, C): the reward of every row."""
        table = self._world.table
        found: npt.NDArray[np.float64] = np.zeros(table.status.shape)
        for case, place in np.argwhere(table.present):
            outcome = table.outcome(int(case), int(place))
            found[case, place] = finite(reward(outcome), outcome)
        return found

    def _number(self, name: str) -> npt.NDArray[np.float64]:
        """(S, C): a number of every row's outcome."""
        table = self._world.table
        time = np.where(table.correct, table.measures["runtime_us"], np.nan)
        derived: dict[str, npt.NDArray[np.float64]] = {
            "runtime_us": time, "baseline_us": table.baseline_us[:, None] + 0 * time,
            "speedup": table.baseline_us[:, None] / time, "roofline": self._floors[:, None] / time,
            "gbps": table.moved_bytes[:, None] / time / 1e3,
            "tflops": table.flops[:, None] / time / 1e6,
        }  # fmt: skip
        if name in derived:
            return derived[name]
        if name in table.measures:
            return table.measures[name]
        return np.full(table.status.shape, np.nan)

    def _info(self, row: Integers, place: Integers, repeated: Flags) -> dict[str, Any]:
        return {
            "status": self._statuses.take(row), "correct": self._correct.take(row),
            **dict(zip(NUMBERS, self._numbers.take(row, axis=0).T, strict=True)),
            "turn": self._turn.copy(), "index": place.copy(),
            "evaluations": self._evaluations.copy(), "repeated": repeated,
            "simulated_s": self._spent.copy(), "case": self._case.copy(),
        }  # fmt: skip


class TuneVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """`num_envs` tuning environments whose evaluations run in parallel on one evaluator.

    Args:
        num_envs: how many.
        world: the task on its device, shared.
        layout: of an observation.
        options: of `TuneEnv`.
    """

    def __init__(
        self, num_envs: int, world: EvaluatedWorld, layout: Layout, **options: Any
    ) -> None:
        num_envs = number_of_envs(num_envs)
        self._world = world
        self.envs = [TuneEnv([world], layout, **options) for _ in range(num_envs)]
        first = self.envs[0]
        self.num_envs = num_envs
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = first.render_mode
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._over = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments; an integer seed gives environment i the seed `seed + i`."""
        seeds: Sequence[int | None]
        if isinstance(seed, int):
            seeds = [seed + index for index in range(self.num_envs)]
        else:
            seeds = seed if seed is not None else [None] * self.num_envs
        self._over[:] = False
        infos: dict[str, Any] = {}
        seen = []
        for index, (env, one) in enumerate(zip(self.envs, seeds, strict=True)):
            observation, info = env.reset(seed=one, options=options)
            seen.append(observation)
            infos = self._add_info(infos, info, index)
        return np.stack(seen), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Evaluate all choices; equal ones on a reproducible device are evaluated once.

        If that is interrupted, all of it is given up: no environment has taken a step.
        """
        given = list(actions)
        if len(given) != self.num_envs:
            raise InvalidOptionError(
                f"{len(given)} actions were given for {self.num_envs} environments."
            )
        seen, rewards = [], np.zeros(self.num_envs)
        truncated = np.zeros(self.num_envs, np.bool_)
        infos: dict[str, Any] = {}
        for index, (env, found) in enumerate(zip(self.envs, self._evaluate(given), strict=True)):
            if found is None:
                observation, info = env.reset()
            else:
                row = self._world.settled(env.case_index, *found)
                observation, rewards[index], _, truncated[index], info = env.settle(row)
            seen.append(observation)
            infos = self._add_info(infos, info, index)
        self._over = truncated
        return np.stack(seen), rewards, np.zeros_like(truncated), truncated.copy(), infos

    def _evaluate(self, actions: Sequence[Any]) -> list[tuple[Choice, Outcome] | None]:
        """Choice and outcome of each action; None where an episode is over."""
        # A world of its own has every action of its space: None is an environment to be reset.
        chosen = [
            None if over else env.choose(action)
            for env, action, over in zip(self.envs, actions, self._over, strict=True)
        ]
        states = [env.np_random.bit_generator.state for env in self.envs]
        begun: dict[Any, Future[Outcome]] = {}
        keys: list[Any] = []
        try:
            for index, (env, choice) in enumerate(zip(self.envs, chosen, strict=True)):
                alike = index if not self._world.evaluator.deterministic else env.case_index
                keys.append((alike, choice))
                seed = 0 if choice is None else env.draw_seed()
                if choice is not None and keys[-1] not in begun:
                    begun[keys[-1]] = self._world.submit(env.case_index, choice, seed)
            return [
                None if choice is None else (choice, begun[key].result())
                for choice, key in zip(chosen, keys, strict=True)
            ]
        except BaseException:
            for future in begun.values():
                future.cancel()
            for env, state in zip(self.envs, states, strict=True):
                env.np_random.bit_generator.state = state
            raise

    def close_extras(self, **_: Any) -> None:
        """End the environments; a shared evaluator stays."""
        for env in self.envs:
            env.close()
