"""Running an agent into a run folder, and resuming it.

A run is resumed by replay. Agent and environment are made anew with the same seed; as long as
there are recorded steps, the evaluator answers from them, and every action is compared with the
recorded one. What the agent learned, the kernel the environment holds and the state of both
random generators come out as they were, without any of them being stored. So on the simulated
device a resumed run equals an uninterrupted one; on a GPU, where times vary, the recorded part
is kept as it was and the rest is measured. An agent that does not repeat itself is noticed, and
refused, at the first action that differs.
"""

from __future__ import annotations

import importlib
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError, RunError
from triton_gym.reward import reward_named
from triton_gym.runs import Config, RunFolder, Step, outcome_fields, write_json

if TYPE_CHECKING:
    from triton_gym.device import Device
    from triton_gym.outcome import Outcome

Watch = Callable[[Step, Step], None]
"""Called after every step, recorded ones included, with it and with the best step so far."""


class Playback:
    """An evaluator that first repeats a recorded outcome, if it has been given one."""

    def __init__(self, evaluator: Any) -> None:
        self._evaluator = evaluator
        self.next: Outcome | None = None

    @property
    def device(self) -> Device:
        """The device that evaluations run on."""
        return cast("Device", self._evaluator.device)

    def describe(self) -> str:
        """The device in a word."""
        return str(self._evaluator.describe())

    def evaluate(self, task: Any, source: str, **options: Any) -> Outcome:
        """The recorded outcome, or a fresh evaluation."""
        if self.next is not None:
            outcome, self.next = self.next, None
            return outcome
        return cast("Outcome", self._evaluator.evaluate(task, source, **options))


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Writes every step of an environment to a run folder, and replays those that are there."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        folder: RunFolder,
        playback: Playback,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(env)
        self._folder, self._playback, self._watch = folder, playback, watch
        self._recorded = tuple(folder.steps)
        self._taken = 0
        self.best: Step | None = None
        self._best_kernel: str | None = None  # not on disk yet

    def history(self) -> list[Any]:
        """The recorded actions, as the environment takes them."""
        dtype = self.env.action_space.dtype
        return [
            np.array(step.action, dtype) if isinstance(step.action, list) else step.action
            for step in self._recorded[1:]
        ]

    def start(self) -> None:
        """Evaluate, as step 0, the kernel that the environment stands at after a reset."""
        if self._recorded:
            step = self._recorded[0]
        else:
            env: Any = self.env.unwrapped
            config = self._folder.config
            started = time.perf_counter()
            outcome = self._playback.evaluate(
                env.task,
                env.kernel,
                seed=config.seed if self._playback.device.simulated else None,
                baseline=config.options.get("baseline", "eager"),
            )
            reward = float(reward_named(config.options.get("reward", "kevin"))(outcome))
            seconds = time.perf_counter() - started
            step = Step(0, None, reward, False, False, seconds, {}, outcome)
            self._folder.write("start.py", env.kernel)
            self._folder.append(step)
        self._note(step)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step, or repeat the recorded one.

        Raises:
            RunError: the agent does something else than it did when the step was recorded.
        """
        self._taken += 1
        recorded = self._recorded[self._taken] if self._taken < len(self._recorded) else None
        plain = _plain(action)
        if recorded is not None and recorded.action != plain:
            raise RunError(
                f"{self._folder.path} cannot be resumed: at step {self._taken} the agent did not "
                "repeat what it did before. It must take all its randomness from its seed, or "
                "define `recall` (see triton_gym.agents.protocol)."
            )
        self._playback.next = recorded.outcome if recorded else None
        started = time.perf_counter()
        result = self.env.step(action)
        seconds = time.perf_counter() - started
        self._playback.next = None  # an action that was no kernel asked for no evaluation
        if recorded is not None:
            self._note(recorded)
            return result
        _, reward, terminated, truncated, info = result
        outcome: Outcome = cast("Any", self.env.unwrapped).outcome
        extra = {key: _plain(value) for key, value in info.items() if key not in outcome.info()}
        step = Step(
            self._taken, plain, float(reward), terminated, truncated, seconds, extra, outcome
        )
        self._folder.append(step)
        self._note(step)
        return result

    def _note(self, step: Step) -> None:
        if self.best is None or rank(step) > rank(self.best):
            self.best = step
            self._best_kernel = cast("Any", self.env.unwrapped).kernel
        # The file must not go back to older kernels while recorded steps are repeated.
        if self._best_kernel is not None and step.step + 1 >= len(self._recorded):
            self._folder.write("best.py", self._best_kernel)
            self._best_kernel = None
        if self._watch is not None:
            self._watch(step, self.best)


def rank(step: Step) -> tuple[bool, float, float]:
    """What makes one step better than another: correct, then its reward, then its time."""
    runtime = step.outcome.runtime_us
    return (
        step.outcome.correct,
        step.reward,
        -runtime if math.isfinite(runtime) else -math.inf,
    )


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
        evaluator: used in place of the shared one of the config's device.
        watch: see `Watch`.

    Returns:
        What `summary.json` holds.

    Raises:
        InvalidOptionError: there is no such agent or environment, or they do not fit.
        RunError: the agent does not repeat its recorded steps.
    """
    config = folder.config
    total = steps or config.steps
    if total < len(folder.steps) - 1:
        raise RunError(
            f"{folder.path} already has {len(folder.steps) - 1} steps; steps={total} is less."
        )
    agents = importlib.import_module("triton_gym.agents")
    maker = agents.load(config.agent)
    playback = Playback(evaluator or _evaluator(config))
    env = Recorder(_environment(config, playback), folder, playback, watch)
    state = "interrupted"
    agent: Any = None
    try:
        agent = maker(env, seed=config.seed)
        env.reset(seed=config.seed)
        env.start()
        agents.play(agent, env, total, seed=config.seed, history=env.history())
        state = "finished"
    finally:
        summary = summarise(folder.steps, config, state, env.best)
        write_json(folder.path / "summary.json", summary)
        if isinstance(agent, agents.Saver):
            agent.save(folder.path)
        env.close()
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
    for name in ("triton-gym", "torch", "triton", "gymnasium", "numpy", "stable-baselines3"):
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
    return {"step": step.step, "reward": step.reward, **outcome_fields(step.outcome)}


def _evaluator(config: Config) -> Any:
    from triton_gym.evaluation.pool import evaluator_for

    return evaluator_for(str(config.options.get("device", "auto")))


def _environment(config: Config, playback: Playback) -> gym.Env[Any, Any]:
    try:
        env = gym.make(config.env, evaluator=playback, **config.options)
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


def _plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
