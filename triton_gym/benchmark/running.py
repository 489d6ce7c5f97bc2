"""Runs of agents on recorded tables: in parallel, and gone on with where they were stopped.

A run is an agent, a task, a shape and a seed. Its line in `runs.jsonl` is written as soon as it is
over; a run that is there is not repeated.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from triton_gym.errors import InvalidOptionError, RunError, unknown
from triton_gym.runs.folder import write_whole
from triton_gym.tables.files import table_of, tables
from triton_gym.tables.split import SPLITS
from triton_gym.tuning.opening import recorded_path

LEAVE_ONE_OUT = "leave-one-out"
"""Every shape of a table is tried, by agents that learned on all its others."""
FAMILY = "family"
"""Test shapes of a table are tried, by agents that learned on all shapes of the tasks of other
families: a task of the same family is no unseen one."""
STEPS = 4
"""Steps for each unique evaluation of the budget: who repeats itself has no more."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run to make."""

    agent: str
    """A name, or `my_module:MyAgent`."""
    task: str
    case: int
    seed: int

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What tells it from others."""
        return (self.agent, self.task, self.case, self.seed)


@dataclass(frozen=True, slots=True)
class Settings:
    """What all runs of a benchmark share."""

    device: str
    """`recorded` or `recorded:PATH`."""
    budget: int
    """Unique evaluations of a run."""
    split: str
    """Of `tables.split.SPLITS`, or `LEAVE_ONE_OUT`, or `FAMILY`."""
    reward: str


Found = tuple[Run, list[float], list[int]]
"""A run, and of each of its unique evaluations in order the time (infinite for a failure) and the
configuration's place in the table."""


def traces_of(runs: Sequence[Run], settings: Settings) -> list[Found]:
    """What runs found.

    An agent that learns on other shapes first does so once for all of them.

    Args:
        runs: of one agent and one seed, which learn on the same shapes where they learn; see
            `_grouped`.
        settings: what they share.
    """
    from triton_gym import agents

    first = runs[0]
    maker = agents.load(first.agent)
    learns = isinstance(maker, agents.Pretrained)
    learned: dict[str, dict[str, Any]] = {}
    found: list[Found] = []
    for run in runs:
        train = train_split(settings.split, run.case)
        if learns and train not in learned:
            with _to_learn(run.task, settings, train) as env:
                learned[train] = {"learned": maker.pretrain(env, seed=run.seed)}
        with _opened(run.task, settings, tried_split(settings.split), held_out=True) as env:
            watched = Watched(env, run.case, settings.budget)
            agent = maker(watched, seed=run.seed, **learned.get(train, {}))
            try:
                agents.play(agent, watched, STEPS * settings.budget, seed=run.seed)
            except _Enough:
                pass
            found.append((run, watched.trace, watched.places))
    return found


def tried_split(split: str) -> str:
    """The split of a table that holds the shapes of a benchmark's `split`.

    Raises:
        InvalidOptionError: there is no such split.
    """
    if split in (LEAVE_ONE_OUT, FAMILY):
        return "all" if split == LEAVE_ONE_OUT else "test"
    if split not in SPLITS and not split.startswith("without:"):
        raise unknown("split", split, [*SPLITS, LEAVE_ONE_OUT, FAMILY, "without:N"])
    return split


def train_split(split: str, case: int) -> str:
    """The split that an agent may learn on before it is tried on a shape."""
    if split == LEAVE_ONE_OUT:
        return f"without:{case}"
    if split == FAMILY:
        return FAMILY
    return "train" if split == "test" else split


def families_of(device: str) -> dict[str, str]:
    """The family of each task with a table on a device; empty where its card does not say it."""
    path = recorded_path(device)
    return {name: table_of(name, path).card.get("family", "") for name in tables(path)}


def other_families(task: str, device: str) -> list[str]:
    """Tasks with a table on a device whose family is another.

    Raises:
        InvalidOptionError: there are none, or the task's table does not say its family.
    """
    families = families_of(device)
    own = families.get(task, "")
    others = [name for name, family in families.items() if family and family != own]
    if not own or not others:
        raise InvalidOptionError(
            f"The tables of {device!r} have no family for {task!r}, or none of another family."
        )
    return others


def _to_learn(task: str, settings: Settings, split: str) -> contextlib.closing[gym.Env[Any, Any]]:
    if split != FAMILY:
        return _opened(task, settings, split)
    return contextlib.closing(
        gym.make(
            "TritonTune-any-v0", device=settings.device, reward=settings.reward,
            tasks=other_families(task, settings.device), split="all", missing="nearest",
        )
    )  # fmt: skip


def _opened(
    task: str, settings: Settings, split: str, *, held_out: bool = False
) -> contextlib.closing[gym.Env[Any, Any]]:
    return contextlib.closing(
        gym.make(
            f"TritonTune-{task}-v0", device=settings.device, split=split, held_out=held_out,
            reward=settings.reward, max_turns=STEPS * settings.budget, missing="nearest",
        )
    )  # fmt: skip


class _Enough(Exception):
    """The budget is spent."""


class Watched(gym.Wrapper[Any, Any, Any, Any]):
    """An environment on one shape, which notes what is new and ends the run at its budget.

    Args:
        env: a tuning environment on a table.
        case: index of the shape.
        budget: unique evaluations.
    """

    def __init__(self, env: gym.Env[Any, Any], case: int, budget: int) -> None:
        super().__init__(env)
        self._case, self.budget = case, budget
        self._seen: set[int] = set()
        self.trace: list[float] = []
        """Times of what was new, infinite for a failure."""
        self.places: list[int] = []
        """Its place in the table."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset, on the one shape."""
        return self.env.reset(seed=seed, options={**(options or {}), "case": self._case})

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and note what is new."""
        result = self.env.step(action)
        info = result[-1]
        if info["index"] not in self._seen:
            self._seen.add(info["index"])
            self.places.append(int(info["index"]))
            self.trace.append(float(info["runtime_us"]) if info["correct"] else math.inf)
        if len(self.trace) >= self.budget:
            raise _Enough
        return result


class Journal:
    """The runs of a folder.

    Args:
        folder: made if it is not there.
        settings: what its runs share.

    Raises:
        RunError: the folder holds runs with other settings, or cannot be written.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.path = folder / "runs.jsonl"
        head = asdict(settings)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                write_whole(self.path, json.dumps(head) + "\n")
            text = self.path.read_text(encoding="utf-8")
            if not text.endswith("\n"):  # stopped within a line: the next one begins anew
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("\n")
            first, *lines = text.splitlines()
        except OSError as error:
            raise RunError(f"Cannot write the benchmark's folder {folder}: {error}.") from None
        if json.loads(first) != head:
            raise RunError(f"{folder} holds runs with other settings: {first}. Give another --out.")
        self.traces: dict[tuple[str, str, int, int], list[float]] = {}
        self.places: dict[tuple[str, str, int, int], list[int]] = {}
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # the line that was being written when the last one was stopped
            run = Run(**row["run"])
            self.traces[run.key] = [math.inf if us is None else us for us in row["trace"]]
            self.places[run.key] = row.get("places", [])

    def add(self, run: Run, trace: list[float], places: list[int]) -> None:
        """Note a run that is over."""
        self.traces[run.key], self.places[run.key] = trace, places
        told = [us if math.isfinite(us) else None for us in trace]
        with self.path.open("a", encoding="utf-8") as file:
            line = {"run": asdict(run), "trace": told, "places": places}
            file.write(json.dumps(line) + "\n")


def run_all(
    runs: Sequence[Run], settings: Settings, folder: Path, *, workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, whole: None, until: float = math.inf,
) -> Journal:  # fmt: skip
    """Make the runs that a folder lacks.

    Args:
        runs: all that it is to hold.
        settings: what they share.
        folder: where they are noted.
        workers: processes.
        progress: called with how many are there, and of how many.
        until: when to begin nothing more, by `time.monotonic`.

    Raises:
        InvalidOptionError: an agent or a table does not exist.
        RunError: see `Journal`.
    """
    from triton_gym import agents

    for name in {run.agent for run in runs}:
        agents.load(name)
    journal = Journal(folder, settings)
    left = [run for run in runs if run.key not in journal.traces]
    progress(len(runs) - len(left), len(runs))
    number = len(runs) - len(left)
    for group in _made(_grouped(left, settings), settings, workers):
        for run, trace, places in group:
            journal.add(run, trace, places)
            number += 1
            progress(number, len(runs))
        if time.monotonic() >= until:
            break
    return journal


def _grouped(runs: Sequence[Run], settings: Settings) -> list[list[Run]]:
    """Runs of one agent and seed that learn on the same shapes together, in order: those of a task,
    or of a family that is left out."""
    from triton_gym import agents

    pretrained = {name: isinstance(agents.load(name), agents.Pretrained) for name in
                  {run.agent for run in runs}}  # fmt: skip
    families: dict[str, str] = {}
    if settings.split == FAMILY and any(pretrained.values()):
        families = families_of(settings.device)
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        shared = families.get(run.task, "") if pretrained[run.agent] else ""
        groups.setdefault((run.agent, shared or run.task, run.seed), []).append(run)
    return list(groups.values())


def _made(groups: Sequence[list[Run]], settings: Settings, workers: int) -> Iterator[list[Found]]:
    if workers == 1:
        for group in groups:
            yield traces_of(group, settings)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(traces_of, group, settings) for group in groups]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def planned(
    agents: Sequence[str], cases: dict[str, int], seeds: int
) -> list[Run]:  # fmt: skip
    """Every agent on every shape of every task with every seed.

    Args:
        agents: names.
        cases: of each task how many shapes.
        seeds: how many, from 0.

    Raises:
        InvalidOptionError: there is nothing to run.
    """
    if not agents or not cases or seeds < 1:
        raise InvalidOptionError("A benchmark needs an agent, a task and a seed at least.")
    return [
        Run(agent, task, case, seed)
        for seed in range(seeds)
        for task, count in cases.items()
        for case in range(count)
        for agent in agents
    ]
