"""Running an agent into a run folder, and resuming it.

A run is resumed by replay. Agent and environment are made anew with the same seed and go through
the recorded steps again, at no cost since the recorded outcomes are not evaluated again. So on the
simulated device a resumed run equals an uninterrupted one; on a GPU, where times vary, the
recorded part stays as it was and the rest is measured. An agent that does not repeat itself is
noticed, and refused, at the first action that differs.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from importlib import metadata
from typing import Any

import gymnasium as gym

from triton_gym.errors import InvalidOptionError, RunError
from triton_gym.outcome import to_json
from triton_gym.runs.folder import RunFolder, write_json
from triton_gym.runs.recording import Playback, Recorder, Watch
from triton_gym.runs.records import Config, Step


def execute(
    folder: RunFolder,
    *,
    steps: int | None = None,
    evaluator: Any = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Run the agent of a folder's config in its environment, from where the folder stands.

    Args:
        folder: new, or opened again.
        steps: take so many in all, instead of the config's number.
        evaluator: used in place of the environment's own.
        watch: see `Watch`.

    Returns:
        What `summary.json` holds.

    Raises:
        InvalidOptionError: there is no such agent or environment, or they do not fit.
        RunError: the agent does not repeat its recorded steps, or the disk does not take a step.
    """
    config = folder.config
    total = folder.goal(steps)
    agents = importlib.import_module("triton_gym.agents")
    maker = agents.load(config.agent)
    made = _environment(config)
    playback = Playback(evaluator or made.unwrapped.evaluator)  # type: ignore[attr-defined]
    made.unwrapped.evaluator = playback  # type: ignore[attr-defined]
    env = Recorder(made, folder, playback, watch)
    state = "interrupted"
    agent: Any = None
    try:
        agent = maker(env, seed=config.seed)
        if not hasattr(agent, "act") and not hasattr(agent, "train"):
            raise InvalidOptionError(
                f"agent={config.agent!r} made a {type(agent).__name__}, which has no method "
                "`act(self, observation, info)`."
            )
        env.reset(seed=config.seed)
        env.start()
        agents.play(agent, env, total, seed=config.seed, history=env.history())
        state = "finished"
    finally:
        env.close()
        summary = summarise(folder.steps, config, state, env.best)
        # A full disk that ended the run takes these neither, and is told already.
        with nullcontext() if state == "finished" else suppress(RunError, OSError):
            write_json(folder.path / "summary.json", summary)
            if isinstance(agent, agents.Saver):
                agent.save(folder.path)
    return summary


def summarise(
    steps: Sequence[Step], config: Config, state: str, best: Step | None
) -> dict[str, Any]:
    """How a run went: where it started, the best it found, and what became of its steps."""
    statuses: dict[str, int] = {}
    for step in steps[1:]:
        statuses[str(step.outcome.status)] = statuses.get(str(step.outcome.status), 0) + 1
    return {
        "state": state,
        "agent": config.agent,
        "env": config.env,
        "seed": config.seed,
        "steps": max(len(steps) - 1, 0),
        "seconds": sum(step.seconds for step in steps),
        "statuses": statuses,
        "start": _brief(steps[0]) if steps else None,
        "best": _brief(best) if best else None,
    }


def machine(device: str) -> dict[str, Any]:
    """The versions and the device that a run starts on."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("triton-gym", "torch", "triton", "gymnasium", "numpy", "stable-baselines3",
                 "transformers", "peft"):  # fmt: skip
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    about: dict[str, Any] = {"versions": versions, "system": platform.platform(), "device": device}
    if device.startswith("cuda"):
        import torch

        about["gpu"] = torch.cuda.get_device_name(int(device.partition(":")[2] or 0))
    return about


def _brief(step: Step) -> dict[str, Any]:
    return {"step": step.step, "reward": step.reward, **to_json(step.outcome)}


def _environment(config: Config) -> gym.Env[Any, Any]:
    try:
        env = gym.make(config.env, **config.options)
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise InvalidOptionError(f"{error} `triton-gym envs` lists what there is.") from None
    except TypeError as error:  # gymnasium passes unknown options on to the environment
        raise InvalidOptionError(f"{config.env} does not take these options: {error}") from None
    if not hasattr(env.unwrapped, "outcome") or not hasattr(env.unwrapped, "kernel"):
        raise InvalidOptionError(f"{config.env} is not an environment of triton-gym.")
    return env


def same(config: Config, wanted: Mapping[str, Any]) -> None:
    """Check that what the user asks for now is what the run was started with.

    Args:
        config: of the folder.
        wanted: what was asked for, by field of `Config`; `options` is compared key by key.

    Raises:
        RunError: something differs.
    """
    asked = dict(wanted)
    options = asked.pop("options", {})
    pairs = [(name, value, getattr(config, name)) for name, value in asked.items()]
    pairs += [(name, value, config.options.get(name)) for name, value in options.items()]
    different = [f"{n} was {old!r}, now {new!r}" for n, new, old in pairs if new != old]
    if different:
        raise RunError(
            f"The run cannot be resumed with another configuration: {'; '.join(different)}. "
            "Leave these options out, or start a new run."
        )
