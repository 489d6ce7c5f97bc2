"""`TritonTune-<task>-v0`: choose the knobs of a kernel that is already right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from triton_gym.episode import (
    RENDER_MODES,
    TURNS,
    check_options,
    reset_options,
    show,
    time_limit,
    turns_of,
)
from triton_gym.errors import InvalidOptionError, unknown
from triton_gym.evaluation.service.options import BASELINES
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.outcome import Outcome, Status, TimeSource
from triton_gym.reward import Reward, finite, reward_named
from triton_gym.tables.table import Table
from triton_gym.task import Task
from triton_gym.tuning.choosing import Actions, Choice
from triton_gym.tuning.episode import Episode
from triton_gym.tuning.layout import LIMIT, Layout, Values
from triton_gym.tuning.rewards import TUNING_REWARDS, Standing
from triton_gym.tuning.world import Row, TableWorld, World, made_row

Evaluated = tuple[Values, float, bool, bool, dict[str, Any]]


class TuneEnv(gym.Env[Values, Any]):
    """Choose the knobs of a kernel that is already right.

    ## Description
    Every task has an expert kernel whose block sizes, warps and stages are module constants. A
    step evaluates a choice of them: on a device, or out of a table of recorded times
    (`device="recorded"`), where an episode draws one of the table's shapes.

    ## Action Space
    `action_mode="configuration"` (the default): `MultiDiscrete`, the index of each knob's value, in
    the order of `env.unwrapped.knobs`. `"index"`: `Discrete`, a configuration by number.
    `"step"`: `Discrete`, knob `action // 2` one value down (even) or up (odd).
    `action_masks()` says what is allowed now (sb3-contrib's MaskablePPO). Where several tasks share
    a space, an action that the episode's task lacks ends as `invalid_action`.

    ## Observation Space
    `Box`, float32: `env.unwrapped.layout.names` names every number; see `triton_gym.tuning.layout`.

    ## Rewards
    A name of `triton_gym.reward.REWARDS` or a function of an `Outcome`, or of
    `triton_gym.tuning.rewards`: `best`, `improvement`, `regret`.

    ## Starting State
    A random case and random knobs, not evaluated; `options={"knobs": {...}, "case": index}`.

    ## Episode End
    Truncates after `max_turns` steps, or after `max_episode_steps` of `gym.make` if that alone is
    given; after 8 otherwise. Never terminates. On the simulated device, whose outcomes are
    reproducible, an action that was evaluated since the last seed is not evaluated again.

    ## Arguments
    See `triton_gym.registration.make_tune_env`.

    ## Info
    The keys of an outcome, as everywhere, the value of each knob, and `index` (the configuration's
    number), `evaluations` (different configurations in this episode), `repeated`, `simulated_s`
    (what they would have taken on the device, in seconds), `turn`, `case`, `task`.

    ## Version History
    v0: first version. Before the first release: shape and device entered the observation, which
    was the knobs and the outcome's metrics alone.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        worlds: Sequence[World],
        layout: Layout,
        *,
        action_mode: str = "configuration",
        reward: str | Reward = "kevin",
        max_turns: int | None = None,
        render_mode: str | None = None,
        title: str = "",
    ) -> None:
        check_options(baseline=BASELINES[0], render_mode=render_mode)
        self._given_turns = turns_of(max_turns)
        self._worlds, self.layout = tuple(worlds), layout
        self.render_mode = render_mode
        self._title = title
        self._standing: Callable[[Standing], float] | None = None
        self._of_outcome: Reward = reward_named("kevin")
        if isinstance(reward, str) and reward in TUNING_REWARDS:
            self._standing = TUNING_REWARDS[reward]
            if reward == "regret" and any(math.isnan(w.optimum_us(0)) for w in worlds):
                raise InvalidOptionError(
                    "reward='regret' needs to know the optimum: device='recorded' does."
                )
        else:
            self._of_outcome = reward_named(reward)
        most = max(world.count(case) for world in worlds for case in range(len(world.cases)))
        sizes = [world.sizes for world in worlds]
        self._actions = Actions(action_mode, sizes, most, layout.knobs)
        self.action_space = self._actions.space
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (layout.length,), np.float32)
        self._every_reward: dict[tuple[str, int], dict[int, float]] = {}
        self._rewards: dict[int, float] = {}
        self._known: Mapping[Choice, Row] | None = None
        self._world = self._worlds[0]
        self._begin(0, tuple(0 for _ in self._world.sizes), self._given_turns or TURNS)

    # -- the episode --------------------------------------------------------------------------

    @property
    def knobs(self) -> Mapping[str, tuple[int, ...]]:
        """The knobs of this episode's task, and their values."""
        return self._world.knobs

    @property
    def values(self) -> dict[str, int]:
        """The current value of each knob."""
        chosen = zip(self.knobs.items(), self._episode.choice, strict=True)
        return {name: values[index] for (name, values), index in chosen}

    @property
    def kernel(self) -> str:
        """The expert's source with the current knobs."""
        return self._world.source(self._episode.choice)

    @property
    def evaluator(self) -> EvaluatorLike:
        """What evaluates a choice, or stands for a table."""
        return self._world.evaluator

    @evaluator.setter
    def evaluator(self, evaluator: EvaluatorLike) -> None:
        self._world.evaluator = evaluator

    @property
    def task(self) -> Task:
        """The task of this episode."""
        return self._world.task

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of the last step."""
        row = self._episode.row
        return row.outcome if row else None

    @property
    def case(self) -> Any:
        """The shape and dtype of this episode."""
        return self._world.cases[self._episode.case]

    @property
    def case_index(self) -> int:
        """Which of the task's or table's cases that is."""
        return self._episode.case

    @property
    def table(self) -> Table | None:
        """The recorded times of this episode's task; None on a device."""
        return self._world.table if isinstance(self._world, TableWorld) else None

    @property
    def tables(self) -> tuple[Table, ...]:
        """The recorded times of all tasks; none on a device."""
        return tuple(world.table for world in self._worlds if isinstance(world, TableWorld))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Values, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: decides task, case and starting knobs, and inputs on the simulated device.
            options: `knobs`, a mapping from knob to value; `case`, the index of one; `task`, the
                name of one where there are several.
        """
        super().reset(seed=seed)
        if seed is not None:
            for world in self._worlds:
                world.forget()
        chosen = reset_options(options, ["knobs", "case", "task"])
        self._world = self._drawn_world(chosen.get("task"))
        case = self._drawn_case(chosen.get("case"))
        start = self._world.numbered(case, int(self.np_random.integers(self._world.count(case))))
        choice = self._named(start, chosen.get("knobs", {}))
        observation = self._begin(case, choice, self._given_turns or time_limit() or TURNS)
        show(self.render_mode, self._shown())
        return observation, {
            "task": self._world.name, "device": self._world.device, "case": str(self.case),
        }  # fmt: skip

    def step(self, action: Any) -> Evaluated:
        """Evaluate a choice of knobs; `info` holds the outcome and the choice."""
        # What was asked before is looked up at once: a tenth of the checks' time.
        if self._known is not None and type(action) is np.ndarray and action.ndim == 1:
            row = self._known.get(tuple(action.tolist())) if action.dtype.kind in "iu" else None
            if row is not None:
                return self.settle(row)
        choice = self.choose(action)
        if choice is None:
            return self.settle(self._refused())
        return self.settle(self._world.row(self._episode.case, choice, self.draw_seed()))

    def choose(self, action: Any) -> Choice | None:
        """The choice that an action stands for; None for one that this episode's task lacks, of
        an action space that several tasks share.

        Raises:
            InvalidOptionError: the action is not in the space.
        """
        world, case = self._world, self._episode.case
        return self._actions.choice(
            action, self._episode.choice, world.sizes, world.count(case),
            lambda number: world.numbered(case, number),
        )  # fmt: skip

    def draw_seed(self) -> int:
        """The seed of the next evaluation; none is drawn where times are recorded."""
        if self._recorded:
            return 0
        return int(self.np_random.integers(1 << 62))

    def settle(self, row: Row) -> Evaluated:
        """What `step` returns for an evaluation."""
        episode = self._episode
        observation, info = episode.add(row)
        reward = self._rewards.get(row.place) if self._recorded else None
        if reward is None:
            reward = self._rewarded(row)
        if self.render_mode is not None:
            show(self.render_mode, self._shown())
        return observation, reward, False, episode.turn >= episode.max_turns, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions are allowed now, flat as sb3-contrib takes it."""
        count = self._world.count(self._episode.case)
        return self._actions.masks(self._episode.choice, self._world.sizes, count)

    def render(self) -> str | None:
        """The current knobs and what became of them, under `render_mode="ansi"`.

        Under `"human"` it was printed when it changed.
        """
        return self._shown() if self.render_mode == "ansi" else None

    def _shown(self) -> str:
        told = self.outcome.message if self.outcome else "not evaluated yet"
        title = self._title or self._world.name
        return f"{title} on {self.case}, turn {self._episode.turn}: {self.values}\n{told}"

    # -- its parts ----------------------------------------------------------------------------

    def _begin(self, case: int, choice: Choice, max_turns: int) -> Values:
        world = self._world
        self._episode = Episode(world, case, choice, self.layout, max_turns)
        self._recorded = world.device.startswith("recorded")
        plain = self._actions.mode == "configuration" and world.sizes == self._actions.widest
        self._known = world.known(case) if plain and isinstance(world, TableWorld) else None
        self._rewards = self._every_reward.setdefault((world.name, case), {})
        return self._episode.start(self.layout)

    def _rewarded(self, row: Row) -> float:
        """The reward of an evaluation; one of its outcome is found once for each row of a table."""
        if self._standing is not None:
            one = self._episode
            return self._standing(
                Standing(one.floor_us, one.optimum_us, one.before_us, one.best_us, row.time_us)
            )
        reward = finite(self._of_outcome(row.outcome), row.outcome)
        if self._recorded:
            self._rewards[row.place] = reward
        return reward

    def _refused(self) -> Row:
        """What an action comes to that this episode's task lacks: data, since the space has it."""
        outcome = Outcome(
            status=Status.INVALID_ACTION, time_source=TimeSource.RECORDED,
            message=f"{self._world.name} has no such configuration; see action_masks().",
        )  # fmt: skip
        episode = self._episode
        return made_row(
            self._world, episode.case, episode.choice, -1, len(self.layout.knobs), outcome, 0.0,
            self.values,
        )  # fmt: skip

    def _drawn_world(self, name: Any) -> World:
        if name is None:
            if len(self._worlds) == 1:
                return self._worlds[0]
            return self._worlds[int(self.np_random.integers(len(self._worlds)))]
        for world in self._worlds:
            if world.name == name:
                return world
        raise unknown("task", str(name), [world.name for world in self._worlds])

    def _drawn_case(self, index: Any) -> int:
        cases = self._world.cases
        if index is None:
            return int(self.np_random.integers(len(cases))) if len(cases) > 1 else 0
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(cases):
            raise InvalidOptionError(
                f"case={index!r} is none of the {len(cases)} cases: "
                f"{', '.join(f'{i}: {case}' for i, case in enumerate(cases))}."
            )
        return index

    def _named(self, start: Choice, given: Any) -> Choice:
        if not isinstance(given, Mapping):
            raise InvalidOptionError(
                f"knobs must map names to values; got {given!r}. Allowed: {dict(self.knobs)}."
            )
        choice = list(start)
        for name, value in given.items():
            if value not in self.knobs.get(name, ()) or isinstance(value, (bool, float)):
                raise InvalidOptionError(
                    f"{name}={value!r} is not a knob setting of {self._world.name}; "
                    f"allowed: {dict(self.knobs)}."
                )
            choice[list(self.knobs).index(name)] = self.knobs[name].index(value)
        return tuple(choice)
