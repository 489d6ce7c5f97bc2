"""What a search searches: choices of knobs, or versions of a kernel, under one set of verbs.

A candidate is hashable: a tuple of indices on `TritonTune`, a source on `TritonKernel`.
"""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from triton_gym.errors import InvalidOptionError

from .crossing import merged
from .edits import edit_between
from .mutation import mutate, neighbours
from .protocol import Environment

Candidate = Any


class Candidates(Protocol):
    """The candidates of one environment."""

    def current(self) -> Candidate:
        """The one that the environment holds now."""

    def sample(self, origin: Candidate, rng: np.random.Generator) -> Candidate:
        """One drawn at random; those of kernels lie around `origin`."""

    def mutate(self, candidate: Candidate, rng: np.random.Generator) -> Candidate:
        """A neighbour."""

    def neighbours(self, candidate: Candidate) -> list[Candidate]:
        """All that one change leads to, near ones first."""

    def cross(self, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate:
        """A child of two."""

    def merge(self, origin: Candidate, one: Candidate, other: Candidate) -> Candidate:
        """What two have changed of `origin`; `one` where that cannot be said."""

    def action(self, candidate: Candidate) -> Any:
        """The action that submits it, in the state that the environment is in."""


def candidates_of(env: Environment) -> Candidates:
    """The candidates of an environment.

    Raises:
        InvalidOptionError: it is not one of triton-gym's.
    """
    if isinstance(env.action_space, gym.spaces.MultiDiscrete):
        return Choices(env)
    if isinstance(env.action_space, gym.spaces.Text) and hasattr(env.unwrapped, "kernel"):
        return Kernels(env)
    raise InvalidOptionError(
        f"This agent searches TritonKernel and TritonTune environments; {env} has actions "
        f"{env.action_space}."
    )


class Choices:
    """Choices of a `TritonTune` environment: the index of each knob's value."""

    def __init__(self, env: Environment) -> None:
        space = env.action_space
        if not isinstance(space, gym.spaces.MultiDiscrete):
            raise InvalidOptionError(f"Expected MultiDiscrete actions; got {space}.")
        self._env = env
        self._sizes = [int(n) for n in space.nvec]

    def current(self) -> Candidate:
        """The knobs that the environment stands at, from its `knobs` and `values`."""
        task: Any = self._env.unwrapped
        return tuple(task.knobs[name].index(value) for name, value in task.values.items())

    def sample(self, origin: Candidate, rng: np.random.Generator) -> Candidate:
        """Uniform over all choices."""
        return tuple(int(rng.integers(n)) for n in self._sizes)

    def mutate(self, candidate: Candidate, rng: np.random.Generator) -> Candidate:
        """One knob changed, mostly to a neighbouring value: the values are ordered."""
        changed = list(candidate)
        movable = [i for i, n in enumerate(self._sizes) if n > 1]
        if not movable:
            return tuple(changed)
        knob = int(rng.choice(movable))
        near = [v for v in (changed[knob] - 1, changed[knob] + 1) if 0 <= v < self._sizes[knob]]
        others = [v for v in range(self._sizes[knob]) if v != changed[knob]]
        changed[knob] = int(rng.choice(near if rng.random() < 0.7 else others))
        return tuple(changed)

    def neighbours(self, candidate: Candidate) -> list[Candidate]:
        """Every knob by itself at each of its other values."""
        found = [
            (abs(value - at), knob, value)
            for knob, at in enumerate(candidate)
            for value in range(self._sizes[knob])
            if value != at
        ]
        return [
            (*candidate[:knob], value, *candidate[knob + 1 :]) for _, knob, value in sorted(found)
        ]

    def cross(self, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate:
        """Each knob from either parent."""
        return tuple(a if rng.random() < 0.5 else b for a, b in zip(one, other, strict=True))

    def merge(self, origin: Candidate, one: Candidate, other: Candidate) -> Candidate:
        """Each knob from the one that changed it."""
        knobs = zip(origin, one, other, strict=True)
        return tuple(b if a == at else a for at, a, b in knobs)

    def action(self, candidate: Candidate) -> Any:
        """The indices as an array."""
        return np.array(candidate, np.int64)


class Kernels:
    """Versions of the kernel of a `TritonKernel` environment, as modules or as edits."""

    def __init__(self, env: Environment) -> None:
        self._env: Any = env.unwrapped
        self._edits = _action_mode(env) == "edit"

    def current(self) -> Candidate:
        """The environment's kernel, whole: its observation shows printable ASCII only."""
        return str(self._env.kernel)

    def sample(self, origin: Candidate, rng: np.random.Generator) -> Candidate:
        """`origin` after one to four random changes."""
        for _ in range(int(rng.integers(1, 5))):
            origin = mutate(origin, rng)
        return origin

    def mutate(self, candidate: Candidate, rng: np.random.Generator) -> Candidate:
        """One change, and a further one with a chance of 0.3."""
        candidate = mutate(candidate, rng)
        while rng.random() < 0.3:
            candidate = mutate(candidate, rng)
        return candidate

    def neighbours(self, candidate: Candidate) -> list[Candidate]:
        """Every site by itself with each of its options."""
        return list(neighbours(candidate))

    def cross(self, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate:
        """The first parent: sources cannot be mixed line by line and stay right."""
        return one

    def merge(self, origin: Candidate, one: Candidate, other: Candidate) -> Candidate:
        """Named numbers from the one that changed them; the first if more than these differ."""
        found = merged(origin, one, other)
        return one if found is None else found

    def action(self, candidate: Candidate) -> Any:
        """The module, or the edit that leads to it from the environment's kernel."""
        return edit_between(self.current(), candidate) if self._edits else candidate


def _action_mode(env: Environment) -> str:
    mode = getattr(env.unwrapped, "action_mode", None)
    if mode is None and env.spec is not None:
        mode = env.spec.kwargs.get("action_mode")
    return str(mode or "kernel")
