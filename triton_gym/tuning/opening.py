"""From a task and a device to a tuning environment."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

from triton_gym.device import GPUS, gpu_matching
from triton_gym.episode import check_options
from triton_gym.errors import InvalidOptionError, InvalidTaskError, unknown
from triton_gym.evaluation.service.pool import chosen_evaluator
from triton_gym.evaluation.service.protocol import EvaluatorLike
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.tables import split as splits
from triton_gym.tables.files import table_of, tables
from triton_gym.tables.table import Table
from triton_gym.task import Task
from triton_gym.tuning.env import TuneEnv
from triton_gym.tuning.layout import Layout, padded
from triton_gym.tuning.vector import TableVectorEnv, TuneVectorEnv
from triton_gym.tuning.world import EvaluatedWorld, TableWorld

RECORDED = "recorded"
HISTORY = 8
"""Evaluations that an observation holds, unless given."""


def is_recorded(device: str) -> bool:
    """Whether a device is a table of recorded times."""
    return device == RECORDED or device.startswith(f"{RECORDED}:")


def recorded_path(device: str) -> str | None:
    """The file or folder in `recorded:PATH`; None for what ships with the package."""
    return device.partition(":")[2] or None


def tune_env(
    task: Task, *, device: str = "auto", history: int = HISTORY, split: str = "complete",
    held_out: bool = False, missing: str = "error", baseline: str = "eager",
    limits: Limits | None = None, evaluator: EvaluatorLike | str | None = None,
    store: str | os.PathLike[str] | None = None, **options: Any,
) -> TuneEnv:  # fmt: skip
    """A `TritonTune` environment of one task.

    Args:
        task: with knobs.
        device: as of `Evaluator`, or `recorded` or `recorded:PATH` (a table's file, or a folder).
        history: evaluations that an observation holds.
        split: which shapes of a table: `complete`, `all`, `train`, `test`, `inside`, `largest`.
        held_out: of `inside` and `largest`, those to test on.
        missing: what becomes of a configuration that a table lacks: `error` or `nearest`.
        baseline, limits, evaluator, store: of the evaluations, where there are any.
        options: of `TuneEnv`: `action_mode`, `reward`, `max_turns`, `render_mode`.

    Raises:
        InvalidOptionError, InvalidTaskError, DeviceError: an argument is wrong.
    """
    if is_recorded(device):
        _no_evaluator(evaluator, store)
        world = table_world(task, device, history, split, held_out, missing)
        _checked(options)
        return TuneEnv([world], world._layout, title=task.title, **options)
    _no_table(device, split=split, held_out=held_out, missing=missing)
    live, layout = _evaluated(task, device, history, baseline, limits, evaluator, store)
    _checked(options)
    return TuneEnv([live], layout, title=task.title, **options)


def tune_any_env(
    load: Any, *, device: str = RECORDED, tasks: Sequence[str] = (), history: int = HISTORY,
    split: str = "complete", held_out: bool = False, missing: str = "error", **options: Any,
) -> TuneEnv:  # fmt: skip
    """A `TritonTune` environment that draws task and shape at each reset, from recorded tables.

    Args:
        load: from a name to a task.
        device: `recorded` or `recorded:PATH`.
        tasks: names; all that have a table by default. They share a padded layout.
        history, split, held_out, missing, options: as of `tune_env`.

    Raises:
        InvalidOptionError: an argument is wrong.
    """
    if not is_recorded(device):
        raise InvalidOptionError(
            f"TritonTune-any is recorded; got device={device!r}. Allowed: 'recorded', "
            "'recorded:PATH'."
        )
    known = tables(recorded_path(device))
    chosen = [_chosen(table_of(name, recorded_path(device)), split, held_out)
              for name in tasks or known]  # fmt: skip
    layout = Layout(
        padded([tuple(t.cases[0].sizes) for t in chosen]), padded([tuple(t.knobs) for t in chosen]),
        history,
    )  # fmt: skip
    worlds = [TableWorld(table, layout, load(table.task), missing=missing) for table in chosen]
    _checked(options)
    return TuneEnv(worlds, layout, **options)


def tune_vector_env(
    num_envs: int, task: Task, *, device: str = "auto", history: int = HISTORY,
    split: str = "complete", held_out: bool = False, missing: str = "error",
    baseline: str = "eager",
    limits: Limits | None = None, evaluator: EvaluatorLike | str | None = None,
    store: str | os.PathLike[str] | None = None, **options: Any,
) -> TableVectorEnv | TuneVectorEnv:  # fmt: skip
    """Many at once; arguments as of `tune_env`."""
    if is_recorded(device):
        _no_evaluator(evaluator, store)
        if missing != "error":
            raise InvalidOptionError("A vector environment on a table takes missing='error' only.")
        world = table_world(task, device, history, split, held_out, missing)
        _checked(options, TableVectorEnv)
        return TableVectorEnv(num_envs, world, world._layout, **options)
    _no_table(device, split=split, held_out=held_out, missing=missing)
    live, layout = _evaluated(task, device, history, baseline, limits, evaluator, store)
    _checked(options)
    return TuneVectorEnv(num_envs, live, layout, title=task.title, **options)


def recorded_table(task: str, device: str) -> Table:
    """The whole table of a task on a device `recorded` or `recorded:PATH`.

    Raises:
        InvalidOptionError: the device is none of these, or has no table of the task.
    """
    if not is_recorded(device):
        raise InvalidOptionError(
            f"device={device!r} is not recorded. Allowed: 'recorded', 'recorded:PATH'."
        )
    return table_of(task, recorded_path(device))


def table_world(
    task: Task, device: str, history: int, split: str, held_out: bool, missing: str
) -> TableWorld:
    """The table of a task, as far as a split has it.

    Raises:
        InvalidOptionError: there is none, or the split holds no case.
    """
    table = _chosen(table_of(task.name, recorded_path(device)), split, held_out)
    layout = Layout(tuple(table.cases[0].sizes), tuple(table.knobs), history)
    return TableWorld(table, layout, task, missing=missing)


def _chosen(table: Any, split: str, held_out: bool) -> Any:
    cases = splits.chosen(table, split, held_out=held_out)
    if not cases:
        raise InvalidOptionError(f"split={split!r} holds no case of {table.task!r}.")
    return table.only(cases)


def _checked(options: Mapping[str, Any], made: type[Any] = TuneEnv) -> None:
    """Check that a class of environments takes these arguments.

    Raises:
        InvalidOptionError: it does not take one; the message suggests the nearest that it takes.
    """
    own = set(inspect.signature(made).parameters) - {
        "worlds", "world", "layout", "title", "num_envs",
    }  # fmt: skip
    names = sorted(own | (set(inspect.signature(tune_env).parameters) - {"task", "options"}))
    for name in options:
        if name not in own:
            raise unknown("argument", name, [*names, "max_episode_steps"])


_OF_TABLES = {"split": "complete", "held_out": False, "missing": "error"}


def _no_table(device: str, **given: Any) -> None:
    """Refuse what chooses from a recorded table where there is none."""
    for name, value in given.items():
        if value != _OF_TABLES[name]:
            raise InvalidOptionError(
                f"{name}={value!r} is about recorded tables, and device={device!r} has none. "
                "Leave it away, or take device='recorded'."
            )


def _no_evaluator(evaluator: Any, store: Any) -> None:
    if evaluator is not None or store is not None:
        raise InvalidOptionError("device='recorded' evaluates nothing: no evaluator, no store.")


def _evaluated(
    task: Task, device: str, history: int, baseline: str, limits: Limits | None,
    evaluator: EvaluatorLike | str | None, store: Any,
) -> tuple[EvaluatedWorld, Layout]:  # fmt: skip
    if not task.knobs:
        raise InvalidTaskError(f"Task {task.name!r} declares no knobs, so it cannot be tuned.")
    check_options(baseline=baseline, render_mode=None, limits=limits)
    evaluator = chosen_evaluator(evaluator, device, store)
    layout = Layout(tuple(task.bench[0].sizes), tuple(task.knobs), history)
    gpu = GPUS.get(evaluator.device.which) or gpu_matching(_hardware(evaluator)) or GPUS["h100"]
    world = EvaluatedWorld(task, evaluator, layout, gpu, baseline=baseline, limits=limits)
    return world, layout


def _hardware(evaluator: Any) -> str:
    """The model of an evaluator's device; empty for one that does not say."""
    return str(evaluator.hardware()) if hasattr(evaluator, "hardware") else ""
