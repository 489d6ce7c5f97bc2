"""`TritonTune-<task>-v0`: choose the knobs of a kernel that is already right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

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
from triton_gym.tuning.choosing import (
    ACTION_MODES,
    Choice,
    action_space,
    stepped,
    whole_number,
    whole_numbers,
)
from triton_gym.tuning.layout import LIMIT, WORST, Layout, Values
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
        if action_mode not in ACTION_MODES:
            raise unknown("action_mode", action_mode, ACTION_MODES)
        check_options(baseline=BASELINES[0], render_mode=render_mode)
        self._given_turns = turns_of(max_turns)
        self._worlds, self.layout = tuple(worlds), layout
        self.render_mode = render_mode
        self._action_mode, self._title = action_mode, title
        self._max_turns = self._given_turns or TURNS
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
        widest = [0] * len(layout.knobs)
        for world in worlds:
            for place, size in enumerate(world.sizes):
                widest[place] = max(widest[place], size)
        most = max(world.count(case) for world in worlds for case in range(len(world.cases)))
        self._widest = tuple(widest)
        self.action_space = action_space(action_mode, widest, most)
        self.observation_space = gym.spaces.Box(-LIMIT, LIMIT, (layout.length,), np.float32)
        self._choosers: dict[str, Callable[[Any], Choice | None]] = {
            "configuration": self._configuration, "index": self._index, "step": self._stepped,
        }  # fmt: skip
        self._choose = self._choosers[action_mode]
        self._world, self._case = self._worlds[0], 0
        self._choice: Choice = tuple(0 for _ in self._world.sizes)
        self._seen: set[Choice] = set()
        self._observation = np.zeros(layout.length, np.float32)
        self._row: Row | None = None
        self._every_reward: dict[tuple[str, int], dict[int, float]] = {}
        self._rewards: dict[int, float] = {}
        self._places = layout.context, layout.turn, layout.past, layout.entry
        self._turn, self._spent_s = 0, 0.0
        self._best_us, self._best = math.inf, WORST
        self._known: Mapping[Choice, Row] | None = None
        self._begin()

    # -- the episode --------------------------------------------------------------------------

    @property
    def knobs(self) -> Mapping[str, tuple[int, ...]]:
        """The knobs of this episode's task, and their values."""
        return self._world.knobs

    @property
    def values(self) -> dict[str, int]:
        """The current value of each knob."""
        chosen = zip(self.knobs.items(), self._choice, strict=True)
        return {name: values[index] for (name, values), index in chosen}

    @property
    def kernel(self) -> str:
        """The expert's source with the current knobs."""
        return self._world.source(self._choice)

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
        return self._row.outcome if self._row else None

    @property
    def case(self) -> Any:
        """The shape and dtype of this episode."""
        return self._world.cases[self._case]

    @property
    def case_index(self) -> int:
        """Which of the task's or table's cases that is."""
        return self._case

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
        self._max_turns = self._given_turns or time_limit() or TURNS
        if seed is not None:
            for world in self._worlds:
                world.forget()
        chosen = reset_options(options, ["knobs", "case", "task"])
        self._world = self._drawn_world(chosen.get("task"))
        self._case = self._drawn_case(chosen.get("case"))
        start = self._world.numbered(
            self._case, int(self.np_random.integers(self._world.count(self._case)))
        )
        self._choice = self._named(start, chosen.get("knobs", {}))
        self._begin()
        show(self.render_mode, self._shown())
        return self._observation.copy(), {
            "task": self._world.name, "device": self._world.device, "case": str(self.case),
        }  # fmt: skip

    def step(self, action: Any) -> Evaluated:
        """Evaluate a choice of knobs; `info` holds the outcome and the choice."""
        if (
            self._known is not None
            and type(action) is np.ndarray
            and action.ndim
            and action.dtype.kind == "i"
        ):
            # What was asked before is looked up at once: a tenth of the checks' time.
            row = self._known.get(tuple(action.tolist()))
            if row is not None:
                return self.settle(row)
        choice = self._choose(action)
        if choice is None:
            return self.settle(self._refused())
        return self.settle(self._world.row(self._case, choice, self.draw_seed()))

    def choose(self, action: Any) -> Choice | None:
        """The choice that an action stands for; None for one that this episode's task lacks, of
        an action space that several tasks share.

        Raises:
            InvalidOptionError: the action is not in the space.
        """
        return self._choose(action)

    def draw_seed(self) -> int:
        """The seed of the next evaluation; none is drawn where times are recorded."""
        if self._recorded:
            return 0
        return int(self.np_random.integers(1 << 62))

    def settle(self, row: Row) -> Evaluated:
        """What `step` returns for an evaluation."""
        self._turn += 1
        choice = row.choice
        repeated = choice in self._seen
        if not repeated and row.place >= 0:
            self._seen.add(choice)
            self._spent_s += row.seconds
        self._choice, self._row = choice, row
        before = self._best_us
        if row.time_us < before:
            self._best_us, self._best = row.time_us, row.score
        self._remember(row)
        if self._standing is not None:
            standing = Standing(self._floor, self._optimum, before, self._best_us, row.time_us)
            reward = self._standing(standing)
        else:
            reward = self._rewarded(row)
        info = {
            **row.info, "turn": self._turn, "index": row.place, "evaluations": len(self._seen),
            "repeated": repeated, "simulated_s": self._spent_s, "case": self._told,
            "task": self._world.name,
        }  # fmt: skip
        if self.render_mode is not None:
            show(self.render_mode, self._shown())
        return self._observation.copy(), reward, False, self._turn >= self._max_turns, info

    def action_masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which actions are allowed now, flat as sb3-contrib takes it."""
        sizes = self._world.sizes
        if self._action_mode == "index":
            space: Any = self.action_space
            return np.arange(int(space.n)) < self._world.count(self._case)
        if self._action_mode == "step":
            allowed = np.zeros(2 * len(self._widest), np.bool_)
            for knob, size in enumerate(sizes):
                allowed[2 * knob] = self._choice[knob] > 0
                allowed[2 * knob + 1] = self._choice[knob] < size - 1
            return allowed if allowed.any() else np.ones_like(allowed)
        padded = [*sizes, *[1] * (len(self._widest) - len(sizes))]
        return np.concatenate(
            [np.arange(most) < size for most, size in zip(self._widest, padded, strict=True)]
        )

    def render(self) -> str | None:
        """The current knobs and what became of them, under `render_mode="ansi"`.

        Under `"human"` it was printed when it changed.
        """
        return self._shown() if self.render_mode == "ansi" else None

    def _shown(self) -> str:
        told = self._row.outcome.message if self._row else "not evaluated yet"
        title = self._title or self._world.name
        return f"{title} on {self.case}, turn {self._turn}: {self.values}\n{told}"

    # -- its parts ----------------------------------------------------------------------------

    def _begin(self) -> None:
        world, case, layout = self._world, self._case, self.layout
        self._recorded = world.device.startswith("recorded")
        self._floor, self._optimum = world.floor_us(case), world.optimum_us(case)
        self._told = str(world.cases[case])
        plain = self._action_mode == "configuration" and len(world.sizes) == len(self._widest)
        self._known = world.known(case) if plain and isinstance(world, TableWorld) else None
        self._turn, self._spent_s = 0, 0.0
        self._best_us, self._best = math.inf, WORST
        self._seen.clear()
        self._row = None
        self._rewards = self._every_reward.setdefault((world.name, case), {})
        seen = self._observation
        seen.fill(0.0)
        seen[: layout.context] = world.context(case)
        for place, (index, size) in enumerate(zip(self._choice, world.sizes, strict=True)):
            seen[layout.context + place] = index / max(size - 1, 1)
        seen[layout.turn + 1 : layout.turn + 3] = WORST

    def _remember(self, row: Row) -> None:
        seen = self._observation
        context, turn, past, entry = self._places
        seen[context:turn] = row.knobs
        seen[turn] = self._turn / self._max_turns
        seen[turn + 1] = self._best
        seen[turn + 2] = row.score
        if self.layout.history:
            seen[past:-entry] = seen[past + entry :]
            seen[-entry:] = row.entry

    def _rewarded(self, row: Row) -> float:
        """The reward of an outcome, found once for each row of a table."""
        if not self._recorded:
            return finite(self._of_outcome(row.outcome), row.outcome)
        if row.place not in self._rewards:
            self._rewards[row.place] = finite(self._of_outcome(row.outcome), row.outcome)
        return self._rewards[row.place]

    def _configuration(self, action: Any) -> Choice | None:
        sizes = self._world.sizes
        choice = whole_numbers(action, self._widest, self.layout.knobs)
        own = choice[: len(sizes)]  # of padded knobs the rest counts nothing
        return own if all(map(int.__lt__, own, sizes)) else None

    def _index(self, action: Any) -> Choice | None:
        space: Any = self.action_space
        number = whole_number(action, int(space.n), f"a configuration of {self._world.name}")
        if number >= self._world.count(self._case):
            return None
        return self._world.numbered(self._case, number)

    def _stepped(self, action: Any) -> Choice | None:
        sizes = self._world.sizes
        number = whole_number(action, 2 * len(self._widest), "a knob's step down or up")
        return stepped(self._choice, number, sizes) if number < 2 * len(sizes) else None

    def _refused(self) -> Row:
        """What an action comes to that this episode's task lacks: data, since the space has it."""
        outcome = Outcome(
            status=Status.INVALID_ACTION, time_source=TimeSource.RECORDED,
            message=f"{self._world.name} has no such configuration; see action_masks().",
        )  # fmt: skip
        return made_row(
            self._choice, -1, self._world.sizes, len(self.layout.knobs), self._floor, outcome, 0.0,
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
