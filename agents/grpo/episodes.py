"""Episodes of a policy: conversations with an environment, many at once.

A reply is evaluated in the environment's own `step`, in a thread, while others are still sampled.
So any environment with a `task`, a `kernel` and a `feedback` text in its observation will do.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triton_gym.errors import InvalidOptionError
from triton_gym.outcome import Status
from triton_gym.prompt import next_turn, opening, wants_edit

from ..policy.conversation import prompt_tokens
from ..policy.models import Policy
from ..policy.sampling import Reply, Sampler
from ..protocol import Environment
from ..sameness import normalised

Step = tuple[Any, float, bool, bool, dict[str, Any]]
_LAST_SHARE = 4
"""One episode in so many, at most, is sampled in the last of several parts."""
_LEAST_ROOM = 32
"""Tokens that must be left for a prompt."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group of episodes takes place."""

    env: str
    """Id."""
    seed: int
    """Of its reset: all episodes of a group start alike."""
    kernel: str = ""
    """To start from, in place of the environment's own."""


@dataclass(slots=True)
class Turn:
    """One reply and what became of it."""

    prompt: list[int]
    reply: Reply
    reward: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)
    unchanged: bool = False
    """Whether it left the kernel that it was shown as it was."""


@dataclass(slots=True)
class Episode:
    """One conversation about one task."""

    env: Environment
    place: Place
    task: str
    """Name of the environment's task after its reset."""
    group: int
    messages: list[dict[str, str]]
    turns: list[Turn] = field(default_factory=list)
    over: bool = False
    cut: bool = False
    """Whether it ended because its next prompt was too long for the model."""
    shown: str = ""
    """The kernel that the conversation ends with, normalised; empty if there is none."""

    def has(self, status: Status) -> bool:
        """Whether a reply ended with a status."""
        return any(turn.info.get("status") == status for turn in self.turns)


@dataclass(slots=True)
class Clock:
    """Seconds of a step, by what they went to."""

    sampling: float = 0.0
    waiting: float = 0.0
    """Evaluations are awaited: nothing is to sample, or they have the GPU."""
    tokens: int = 0
    """Sampled."""


class Stage:
    """Plays episodes.

    Args:
        policy: whose tokenizer and context are used.
        sampler: where replies come from.
        make: makes an environment of an id; they are reused.
        turns: most replies of an episode.
        longest: tokens of the longest reply.
        parts: see `RolloutSettings.parts`.
        threads: environments that step at the same time.
        credit_unchanged: see `RolloutSettings`.

    Raises:
        InvalidOptionError: the model's context leaves no room for a prompt.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        make: Callable[[str], Environment],
        *,
        turns: int,
        longest: int,
        parts: int,
        threads: int,
        credit_unchanged: bool = False,
    ) -> None:
        self.policy = policy
        self.sampler = sampler
        self.clock = Clock()
        self._make = make
        self._turns = turns
        self._parts = parts
        self._credit_unchanged = credit_unchanged
        self._room = policy.context - longest
        if self._room < _LEAST_ROOM:
            raise InvalidOptionError(
                f"{policy.name!r} has a context of {policy.context} tokens; replies of {longest} "
                f"leave {self._room} for the prompt. Lower sampling.longest."
            )
        self._idle: dict[str, list[Environment]] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="evaluate")

    def play(self, places: Sequence[Place], replies: int, seeds: Sequence[int]) -> list[Episode]:
        """Play `replies` episodes at each place.

        Args:
            places: one a group.
            replies: episodes of each.
            seeds: what the sampler's randomness comes from, e.g. run, step and attempt.

        Returns:
            The episodes, those of a group together and in the order of places.

        Raises:
            InvalidOptionError: a task alone is too long for the model.
        """
        episodes = self._open(places, replies)
        parts = _dealt(episodes, self._parts)
        ready = deque((number, 0) for number, part in enumerate(parts) if part)
        waiting: deque[tuple[int, int, list[Future[Step]]]] = deque()
        while ready or waiting:
            if not ready:
                number, turn, futures = waiting.popleft()
                self._settle(parts[number], futures)
                if turn + 1 < self._turns and any(not e.over for e in parts[number]):
                    ready.append((number, turn + 1))
                continue
            number, turn = ready.popleft()
            seed = np.random.SeedSequence([*seeds, number, turn]).generate_state(1, np.uint64)
            futures = self._turn(parts[number], int(seed[0]))
            waiting.append((number, turn, futures))
        for episode in episodes:
            self._idle.setdefault(episode.place.env, []).append(episode.env)
        return episodes

    def close(self) -> None:
        """Close the environments and the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for environments in self._idle.values():
            for env in environments:
                env.close()
        self._idle.clear()

    # -- one turn of one part ---------------------------------------------------------------------

    def _turn(self, part: list[Episode], seed: int) -> list[Future[Step]]:
        """Sample a reply for each episode that goes on, and start its evaluation."""
        going: list[tuple[Episode, list[int]]] = []
        for episode in part:
            if episode.over:
                continue
            tokens = prompt_tokens(self.policy.tokenizer, episode.messages, self._room)
            if tokens is None:
                self._too_long(episode)
            else:
                going.append((episode, tokens))
        if not going:
            return []
        started, waited = time.perf_counter(), self.sampler.waited_s
        futures: dict[int, Future[Step]] = {}
        for number, reply in self.sampler.stream([tokens for _, tokens in going], seed):
            episode, tokens = going[number]
            episode.turns.append(Turn(tokens, reply))
            self.clock.tokens += len(reply.tokens)
            futures[number] = self._pool.submit(_step, episode.env, reply.text)
        waited = self.sampler.waited_s - waited
        self.clock.sampling += time.perf_counter() - started - waited
        self.clock.waiting += waited
        return [futures[number] for number in range(len(going))]

    def _too_long(self, episode: Episode) -> None:
        if not episode.turns:
            raise InvalidOptionError(
                f"The task {episode.task!r} does not fit the {self._room} tokens that "
                f"{self.policy.name!r} has for a prompt. Lower sampling.longest, or take a model "
                "with a longer context."
            )
        episode.over = episode.cut = True

    def _settle(self, part: list[Episode], futures: list[Future[Step]]) -> None:
        """Take in what became of the replies."""
        started = time.perf_counter()
        results = [future.result() for future in futures]
        self.clock.waiting += time.perf_counter() - started
        going = [episode for episode in part if not episode.over]
        for episode, result in zip(going, results, strict=True):
            observation, reward, terminated, truncated, info = result
            turn = episode.turns[-1]
            turn.reward, turn.info = float(reward), dict(info)
            shown = _shown(observation, info)
            read = info.get("status") != Status.INVALID_ACTION
            turn.unchanged = read and bool(shown) and shown == episode.shown
            episode.shown = shown
            if turn.unchanged and not self._credit_unchanged:
                turn.reward = min(turn.reward, 0.0)
            episode.messages += [
                {"role": "assistant", "content": turn.reply.text},
                {"role": "user", "content": next_turn(observation)},
            ]
            episode.over = terminated or truncated or len(episode.turns) >= self._turns

    def _open(self, places: Sequence[Place], replies: int) -> list[Episode]:
        """Begin `replies` episodes at each place.

        The first of each group begins before the others: where a reset draws a task, they find it
        drawn.
        """
        begun = [
            self._pool.submit(_begin, self._environment(place), place, group)
            for group, place in enumerate(places)
        ]
        return [
            episode
            for group, (place, first) in enumerate(zip(places, begun, strict=True))
            for episode in (
                first.result(),
                *(_begin(self._environment(place), place, group) for _ in range(replies - 1)),
            )
        ]

    def _environment(self, place: Place) -> Environment:
        idle = self._idle.get(place.env)
        return idle.pop() if idle else self._make(place.env)


def _dealt(episodes: list[Episode], parts: int) -> list[list[Episode]]:
    """Episodes in parts that groups are spread over.

    Nothing hides the evaluations of the last part, so it has a quarter of them at most.
    """
    if parts == 1:
        return [episodes]
    every = max(parts, _LAST_SHARE)
    others = [e for number, e in enumerate(episodes) if (number + 1) % every]
    dealt = [others[number :: parts - 1] for number in range(parts - 1)]
    return [*dealt, episodes[every - 1 :: every]]


def _begin(env: Environment, place: Place, group: int) -> Episode:
    options = {"kernel": place.kernel} if place.kernel else None
    observation, info = env.reset(seed=place.seed, options=options)
    task = str(info.get("task", place.env))
    shown = _shown(observation, {}) if wants_edit(observation) else ""
    return Episode(env, place, task, group, opening(observation), shown=shown)


def _shown(observation: Any, info: Mapping[str, Any]) -> str:
    """The kernel that a conversation ends with. One that no reply could be read from shows it only
    where edits are asked for."""
    kernel = str(observation["kernel"])
    read = info.get("status") != Status.INVALID_ACTION or wants_edit(observation)
    return normalised(kernel) if kernel and read else ""


def _step(env: Environment, action: str) -> Step:
    observation, reward, terminated, truncated, info = env.step(action)
    return observation, float(reward), terminated, truncated, info


def transcripts(episodes: Sequence[Episode]) -> str:
    """Episodes as a person reads them; equal ones once."""
    return "\n\n---\n\n".join(dict.fromkeys(map(_transcript, episodes)))


def _transcript(episode: Episode) -> str:
    """With what is needed to see it again: the environment's id and seed, and every message."""
    parts = [f"# {episode.task}\n", f"`{episode.place.env}`, seed {episode.place.seed}\n"]
    replies = iter(episode.turns)
    for message in episode.messages:
        parts.append(f"**{message['role']}**\n\n{message['content']}\n")
        if message["role"] == "assistant":
            turn = next(replies)
            told = ("status", "speedup", "message")
            facts = ", ".join(f"{name}: {turn.info[name]}" for name in told if name in turn.info)
            parts.append(f"*reward {turn.reward:.3f}, {facts}*\n")
    return "\n".join(parts)
